"""What no file may ever make Python do, the package cannot do: held against its syntax trees.

No unpickling, no code from text, no import by a name that is not written out, no other program.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "textgen"
MODULES = {
    "cloudpickle", "code", "codeop", "copyreg", "cPickle", "dill", "joblib", "marshal",
    "pickle", "pickletools", "pty", "runpy", "shelve", "subprocess", "yaml", "zipimport",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
# Whatever their arguments are; some could be told to load no pickle, and none is needed.
FUNCTIONS = {
    "numpy.load", "np.load", "numpy.fromregex", "torch.load", "torch.jit.load", "torch.hub.load",
    "torch.package.PackageImporter", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv",
    "pydoc.locate", "importlib.reload", "sys.path.append", "sys.path.insert",
}  # fmt: skip
MADE_NAME = "an import by a name that is not written out"
# The names that `import textgen` offers, each found by a table of the same file; pip, which
# downloads a wheel of a corpus and does not install it; and Python itself, with programs that stand
# in the module.
EXCEPTIONS = {
    "__init__.py": MADE_NAME,
    "data/download.py": "subprocess",
    "data/workers.py": "subprocess",
}


def dotted(node):
    """The name of a function as it is written, "" for what has none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(tree):
    """(line, what) of everything banned in a module."""
    # `textgen eval` is a module, which the table of commands names.
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = {a.name for node in imports if node.module == "textgen.cli" for a in node.names}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        banned = [name for name in names if name.split(".")[0] in MODULES or name in FUNCTIONS]
        yield from ((node.lineno, name) for name in banned)
        if isinstance(node, ast.Name) and node.id in BUILTINS - own:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and dotted(node) in FUNCTIONS:
            yield node.lineno, dotted(node)
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in calls(node))


def calls(node):
    """What is banned of a call: imports by a name that is made, and pickles by an argument."""
    is_import = dotted(node.func).split(".")[-1] == "import_module"
    if is_import and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield MADE_NAME
    for keyword in node.keywords:
        if keyword.arg in ("allow_pickle", "trust_remote_code"):
            yield keyword.arg
        if keyword.arg == "shell" and not is_false(keyword.value):
            yield keyword.arg


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_the_package_runs_nothing_that_a_file_says(path):
    allowed = EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix())
    found = offences(ast.parse(path.read_text("utf-8")))
    assert [(line, what) for line, what in found if what != allowed] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "read = torch.load",
        "np.load(path)",
        "numpy.load(path, allow_pickle=False)",
        "np.save(path, array, allow_pickle=True)",
        "eval(text)",
        "run = exec",
        "__import__(name)",
        "importlib.import_module(settings['cell'])",
        "import_module(name)",
        "os.system(command)",
        "import subprocess",
        "run(command, shell=True)",
    ],
)
def test_the_ban_notices(code):
    assert [*offences(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    ["model.eval()", "re.compile(text)", "importlib.import_module('zstandard')", "json.load(f)"],
)
def test_the_ban_leaves_the_rest(code):
    assert not [*offences(ast.parse(code))]
