"""The structure: docs/walk.md, and what it promises, held against every import of the package.

Five rules: the order of the walk, faces, torch, lightness, and module names that no face exports.
"""

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "textgen"
# Not the code that an exported model brings along, which belongs to another package.
FILES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py" and path.parent.name != "templates"
)
MODULES = [path for path in FILES if path.name != "__init__.py"]
FACES = [path for path in PACKAGE.glob("*/__init__.py")]
SUBPACKAGES = {path.parent.name for path in FACES}
# Underscore names of NamedTuples, of os and of the library that filters are compared with.
NOT_OURS = {"_replace", "_asdict", "_destroy", "_fields", "_exit", "_get_logits_processor"}
TORCH = {"nn", "training"}  # subpackages that may import torch


def walk():
    """The rooms of docs/walk.md in order, and the modules of each in order.

    The table that readers see is the one that is enforced.
    """
    rooms = {}
    for line in (ROOT / "docs" / "walk.md").read_text("utf-8").splitlines():
        if heading := re.fullmatch(r"### `(\w+)/?`(?:, `(\w+)`)?", line):
            names = [name for name in heading.groups() if name]
            rooms |= {name: [] for name in names}
        elif row := re.match(r"\| `(\w+)` \|", line):
            rooms[names[-1]].append(row[1])
    return rooms


WALK = walk()
ORDER = list(WALK)


def place(path):
    """The subpackage of a file, "" at the top, and its module, "" for a face."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    folder, name = parts if len(parts) == 2 else ("", parts[0])
    return folder, "" if name == "__init__" else name


def imports(tree):
    """(module, name) of each import of textgen's, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "textgen":
                    yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            if node.module.split(".")[0] == "textgen":
                for alias in node.names:
                    yield node.module, alias.name


def is_module(folder, name):
    return (PACKAGE / folder / f"{name}.py").exists()


def faults(path, tree):
    """What a file imports against the order or past a face, one line each."""
    folder, own = place(path)
    room = folder or own
    for module, name in imports(tree):
        parts = module.split(".")[1:]
        target = parts[0] if parts else name
        if target not in ORDER:
            yield f"{module} {name}: not a room of the walk"
        elif not room:
            continue  # the top hands everything on
        elif target == room:
            inner = parts[1] if len(parts) > 1 else name
            if not is_module(folder, inner):
                yield f"{module} {name}: the own face"
            elif own and WALK[room].index(inner) >= WALK[room].index(own):
                yield f"{module} {name}: not above {own}"
        elif ORDER.index(target) > ORDER.index(room):
            yield f"{module} {name}: above the order"
        elif len(parts) > 1:
            yield f"{module} {name}: past a face"


@functools.cache
def parsed(path):
    return ast.parse(path.read_text("utf-8"))


def named(path):
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_place_in_the_walk():
    found = {folder: set() for folder in SUBPACKAGES}
    top = set()
    for folder, name in map(place, MODULES):
        (found[folder] if folder else top).add(name)
    assert set(ORDER) == SUBPACKAGES | top
    assert {room: set(WALK[room]) for room in SUBPACKAGES} == found


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_follow_the_walk_and_go_through_faces(path):
    assert not list(faults(path, parsed(path)))


@pytest.mark.parametrize(
    "code, fault",
    [
        ("def f():\n    from textgen.cli import main", "above the order"),
        ("if TYPE_CHECKING:\n    from textgen.training import train", "above the order"),
        ("from textgen.files.atomic import write_atomically", "past a face"),
        ("from textgen.data import Corpus", "the own face"),
        ("from textgen.data.dataset import Dataset", "not above source"),
        ("from textgen.nothing import x", "not a room"),
    ],
)
def test_the_check_sees_what_breaks_a_rule(code, fault):
    (found,) = faults(PACKAGE / "data" / "source.py", ast.parse(code))
    assert fault in found


@pytest.mark.parametrize("path", FACES, ids=named)
def test_a_face_only_hands_on(path):
    tree = parsed(path)
    assert ast.get_docstring(tree)
    names = []
    for node in tree.body[1:]:
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names)
            names += [alias.name for alias in node.names]
        else:
            assert isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
            assert sorted(ast.literal_eval(node.value)) == sorted(names)


@pytest.mark.parametrize("path", FACES, ids=named)
def test_no_module_bears_the_name_of_something_that_its_face_exports(path):
    face = importlib.import_module(f"textgen.{path.parent.name}")
    assert not [name for name in face.__all__ if is_module(path.parent.name, name)]


@pytest.mark.parametrize("path", FACES, ids=named)
def test_a_face_exports_what_somebody_outside_uses(path):
    """A name that only its own subpackage and tests use stays inside."""
    folder = path.parent.name
    used = {name for file in FILES if place(file)[0] != folder for _, name in imports(parsed(file))}
    face = importlib.import_module(f"textgen.{folder}")
    assert set(face.__all__) <= used | {"main"}


def names_of(statement):
    """The public names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name} - {name for name in [statement.name] if name[0] == "_"}
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return set()
    return {node.id for target in targets for node in ast.walk(target) if type(node) is ast.Name}


def test_no_name_lives_in_two_modules_with_two_meanings():
    homes = {}
    for path in MODULES:
        for name in set().union(*map(names_of, parsed(path).body)):
            homes.setdefault(name, []).append(named(path))
    twice = {name for name, paths in homes.items() if len(paths) > 1}
    assert twice == {"add_arguments", "run"}, "of the commands, where they mean the same"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_torch_is_imported_by_nn_and_training_only(path):
    tree = parsed(path)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) or is_for_types(function)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if place(path)[0] in TORCH or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        assert not any(name.split(".")[0] == "torch" for name in names)
        reached = {name.removeprefix("textgen.").split(".")[0] for name in names}
        assert id(node) in inside or not reached & TORCH


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def modules_after(code):
    code += "\nimport sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_textgen_imports_neither_numpy_nor_torch():
    assert not {"numpy", "torch"} & modules_after("import textgen")


@pytest.mark.parametrize("words", [["--help"], ["sample", "--help"], ["train", "--help"]])
def test_help_imports_neither_numpy_nor_torch(words):
    loaded = modules_after(f"from textgen.cli import main\nmain({words})")
    assert not {"numpy", "torch", "sentencepiece", "tqdm"} & loaded


def test_loading_and_sampling_need_no_torch():
    assert "torch" not in modules_after("import textgen\ntextgen.load, textgen.TextModel")


def test_whatever_does_not_train_needs_no_torch():
    names = sorted(SUBPACKAGES - TORCH)
    code = "import importlib\n" + "\n".join(
        f"importlib.import_module('textgen.{n}')" for n in names
    )
    assert "torch" not in modules_after(code)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_public_names_are_documented_and_annotated(path):
    tree = parsed(path)
    assert ast.get_docstring(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in tree.body + [node for one in classes for node in one.body]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, node.name


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_that_can_run_code_from_a_file_is_used(path):
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            assert not forbidden & {alias.name for alias in node.names}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "np.load", "yaml.load"), called


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/*.py")), ids=lambda path: path.stem)
def test_tests_reach_for_no_underscore_name(path):
    """Behaviour is tested through public names; renaming a helper breaks no test."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            assert own or node.attr in NOT_OURS, node.attr
        if isinstance(node, ast.ImportFrom) and node.module.startswith("textgen"):
            assert not any(re.match(r"_[a-z]", alias.name) for alias in node.names)
