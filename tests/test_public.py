"""What `import textgen` offers, and what it costs."""

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

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


# Types: what an editor completes, and what mypy refuses

ROOT = Path(__file__).parent.parent
CALLS = ROOT / "tests" / "typed_calls.py"
# What a keyword takes where the config holds a tuple.
WIDER = {
    tuple[str, ...]: Sequence[str],
    float | tuple[float, float]: float | Sequence[float],
}


@pytest.mark.parametrize(
    ("options", "config", "apart"),
    [
        (textgen.SampleOptions, textgen.SampleConfig, {"prime"}),
        (textgen.TrainOptions, textgen.TrainConfig, set()),
    ],
)
def test_the_keywords_are_the_fields_of_the_config(options, config, apart):
    hints = typing.get_type_hints(config)
    fields = {one.name: hints[one.name] for one in dataclasses.fields(config)}
    expected = {name: WIDER.get(hint, hint) for name, hint in fields.items() if name not in apart}
    assert typing.get_type_hints(options) == expected
    assert not options.__required_keys__


def test_keywords_override_a_config():
    config = textgen.SampleConfig.of(textgen.SampleConfig(length=7, top_k=3), top_k=None, stop="a")
    assert config == textgen.SampleConfig(length=7, stop=("a",))
    config = textgen.TrainConfig.of(textgen.TrainConfig(hidden=7, steps=3), hidden=8)
    assert config == textgen.TrainConfig(hidden=8, steps=3)


def test_a_misspelt_keyword_of_train_gets_a_suggestion():
    with pytest.raises(textgen.UsageError, match=r"--minute: .*did you mean minutes\?"):
        textgen.train("corpus.txt", minute=1)


def expected_of_mypy():
    """What mypy must say by line: an error with some words, or a type."""
    lines = enumerate(CALLS.read_text("utf-8").splitlines(), 1)
    found = ((number, re.search(r"  # (error|reveals): (.*)", line)) for number, line in lines)
    return {number: match.groups() for number, match in found if match}


@pytest.mark.slow
def test_mypy_takes_right_calls_and_refuses_wrong_ones():
    pytest.importorskip("mypy", reason="mypy is in the extra dev")
    command = ["mypy", "--strict", "--no-error-summary", "--no-pretty", str(CALLS)]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    said = {}
    for line in done.stdout.splitlines():
        match = re.match(r".*typed_calls\.py:(\d+): (error|note): (.*)", line)
        assert match, line + done.stderr
        number, kind, message = match.groups()
        if kind == "error":
            said[int(number)] = "error", message
        elif "Revealed type" in message:
            said[int(number)] = "reveals", message.replace("builtins.", "")
    expected = expected_of_mypy()
    assert said.keys() == expected.keys()
    for number, (kind, words) in expected.items():
        assert said[number][0] == kind
        assert (words if kind == "error" else f'is "{words}"') in said[number][1]
