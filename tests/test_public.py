"""What `import textgen` offers, and what it costs."""

import inspect
import subprocess
import sys
import typing

import pytest

import textgen


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
    public = {name: getattr(textgen, name) for name in textgen.__all__}
    # What needs torch is imported for types alone, so the annotations are looked up here.
    returned = classes_in(typing.get_type_hints(call, localns=public)["return"])
    ours = {one for one in returned if one.__module__.split(".")[0] == "textgen"}
    assert ours <= set(public.values())


def test_train_is_a_function_even_after_its_module_was_imported():
    from textgen.training import loop

    assert textgen.train is loop.train


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(textgen, "nonsense")
