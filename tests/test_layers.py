"""The structure: which module may import which, and how long things may grow."""

import ast
import itertools
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "textgen"

# The table that readers see is the one that is enforced.
WALK = (PACKAGE.parent / "docs" / "walk.md").read_text("utf-8")
ORDER = re.findall(r"^\| `(\w+)` \|", WALK, re.M)
NO_TORCH = ORDER[: ORDER.index("device")]

FILES = sorted(path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def imported(path):
    """Every textgen module that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "textgen" and len(parts) > 1 and parts[1] in ORDER:
                found.add(parts[1])
    return found


def test_every_module_has_its_place_in_the_walk():
    assert sorted(path.stem for path in FILES) == sorted(ORDER)


@pytest.mark.parametrize("before, name", [*itertools.pairwise(["", *ORDER])])
def test_a_module_says_where_it_stands(before, name):
    words = f"In the walk after `{before}`" if before else "First in the walk"
    doc = ast.get_docstring(ast.parse((PACKAGE / f"{name}.py").read_text("utf-8")))
    assert words in doc.replace("\n", " ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_module_imports_only_what_stands_above_it(path):
    above = set(ORDER[: ORDER.index(path.stem)])
    assert imported(path) <= above


def test_the_check_sees_imports_inside_functions_and_under_type_checking(tmp_path):
    source = (
        "def f():\n    from textgen.cli import main\nif TYPE_CHECKING:\n    import textgen.model\n"
    )
    (tmp_path / "x.py").write_text(source)
    assert imported(tmp_path / "x.py") == {"cli", "model"}


@pytest.mark.parametrize("name", NO_TORCH)
def test_what_samples_does_not_import_torch(name):
    tree = ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not any(word.split(".")[0] == "torch" for word in names), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_modules_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 42, f"{path.stem}.{node.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_public_names_are_documented_and_annotated(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in tree.body + [node for one in classes for node in one.body]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.stem}.{node.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, f"{path.stem}.{node.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_that_can_run_code_from_a_file_is_used(path):
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not forbidden & {alias.name for alias in node.names}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "np.load", "yaml.load"), called
