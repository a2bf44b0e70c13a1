"""What `import textgen` offers, and what it costs."""

import inspect
import subprocess
import sys
import typing

import pytest

import textgen


def modules_after(code):
    code += "\nimport sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_all_names_are_there_and_documented():
    for name in textgen.__all__:
        value = getattr(textgen, name)
        assert name == "__version__" or value.__doc__, name
    assert len(set(textgen.__all__)) == len(textgen.__all__)


def test_names_are_listed_before_they_are_loaded():
    code = "import textgen; print(*dir(textgen))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(textgen.__all__) <= set(done.stdout.split())


def classes_in(hint):
    """Return the classes that an annotation names, those inside of others too."""
    parts = typing.get_args(hint)
    return {hint} if isinstance(hint, type) and not parts else set().union(*map(classes_in, parts))


def public_callables():
    yield from (textgen.load, textgen.train, textgen.evaluate, textgen.adapt)
    for name, value in inspect.getmembers(textgen.TextModel):
        if not name.startswith("_"):
            yield value.fget if isinstance(value, property) else value


@pytest.mark.parametrize("call", list(public_callables()), ids=lambda call: call.__qualname__)
def test_what_is_returned_can_be_named(call):
    returned = classes_in(typing.get_type_hints(call)["return"])
    ours = {one for one in returned if one.__module__.split(".")[0] == "textgen"}
    assert ours <= {getattr(textgen, name) for name in textgen.__all__}


def test_train_is_a_function_even_after_its_module_was_imported():
    from textgen import training

    assert textgen.train is training.train


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(textgen, "nonsense")


def test_importing_textgen_imports_neither_numpy_nor_torch():
    assert not {"numpy", "torch"} & modules_after("import textgen")


def test_help_imports_neither_numpy_nor_torch():
    for words in (["--help"], ["sample", "--help"], ["train", "--help"]):
        loaded = modules_after(f"from textgen.cli import main\nmain({words})")
        assert not {"numpy", "torch", "sentencepiece", "tqdm"} & loaded


def test_loading_and_sampling_need_no_torch():
    assert "torch" not in modules_after(
        "import textgen\ntextgen.load, textgen.TextModel, textgen.Text, textgen.Score"
    )
