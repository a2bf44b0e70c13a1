"""Dynamic evaluation and a model that leans towards a text, by library and by command line."""

import json
import math
import shutil

import numpy as np
import pytest
from factories import assert_equal_tensors, call

import textgen
from textgen.checkpoint import training_text
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import TextError, UsageError
from textgen.evaluation import dynamic as dynamic_module
from textgen.evaluation import evaluator
from textgen.nn.dynamic import AdaptationRule

pytestmark = pytest.mark.usefixtures("one_core")

LINE = "It was a bright cold day in April, and the clocks were striking thirteen.\n"
TEXT = "".join(f"{i * 7919 % 1000}. {LINE[i % 30 :]}" for i in range(24))
OTHER = "thirteen April clocks " * 25
TINY = {"hidden": 8, "embedding": 4, "batch": 2, "window": 16, "threads": 1, "steps": 20}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run that nobody changes, beside its text."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "corpus.txt").write_text(TEXT)
    (folder / "other.txt").write_text(OTHER)
    run = folder / "checkpoints" / "run"
    textgen.train(folder / "corpus.txt", out=str(run), lr=0.02, **TINY)
    return folder


@pytest.fixture
def home(finished, tmp_path, monkeypatch):
    """A copy of it as the current folder; the run still knows the text where it was trained."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The ids that a rule is chosen on, as a list of calls; the rule is always the same."""
    calls = []

    def choose(model, ids, counts):
        calls.append(ids)
        return AdaptationRule(0.002, 0.02)

    monkeypatch.setattr(dynamic_module, "choose_rule", choose)
    return calls


RUN = "checkpoints/run"


def encoded(text):
    return Checkpoint.load(evaluator.runs.find_checkpoint(RUN)).tokenizer.encode(text, "replace")


def part_of(name):
    n = len(TEXT)
    cuts = {"train": (0, 90), "val": (90, 95), "test": (95, 100)}[name]
    return TEXT[n * cuts[0] // 100 : n * cuts[1] // 100]


class TestDynamic:
    def test_the_static_figures_stay_and_four_more_come(self, home, capsys, monkeypatch):
        monkeypatch.setattr(dynamic_module, "TAIL", 300)
        words = ["eval", RUN, "other.txt", "--json"]
        static = json.loads(call(capsys, *words)[1])
        code, out, err = call(capsys, *words, "--dynamic")
        dynamic = json.loads(out)
        assert (code, err) == (0, "")
        assert {name: dynamic.pop(name) for name in static} == static
        nats = dynamic["dynamic_nats_per_char"]
        assert dynamic.keys() == {
            *("dynamic_nats_per_char", "dynamic_bits_per_char", "dynamic_lr", "dynamic_decay"),
        }
        assert dynamic["dynamic_bits_per_char"] == pytest.approx(nats / math.log(2))
        assert nats < static["nats_per_char"]  # of a text that repeats itself

    def test_the_figures_are_printed_without_json_too(self, home, capsys, asked):
        out = call(capsys, "eval", RUN, "other.txt", "--dynamic")[1]
        printed = dict(line.split() for line in out.splitlines())
        assert float(printed["dynamic_lr"]) == 0.002
        assert float(printed["dynamic_decay"]) == 0.02
        assert float(printed["dynamic_nats_per_char"]) < float(printed["nats_per_char"])

    def test_without_it_no_dynamic_figure_is_named(self, home):
        result = textgen.evaluate(RUN, "other.txt")
        assert result.dynamic_nats_per_char is None
        assert not [name for name in result.to_json() if "dynamic" in name]

    def test_the_figure_is_that_of_the_rule_it_names(self, home, asked, monkeypatch):
        first = textgen.evaluate(RUN, "other.txt", dynamic=True)
        assert (first.dynamic_lr, first.dynamic_decay) == (0.002, 0.02)
        monkeypatch.setattr(dynamic_module, "choose_rule", lambda *_: AdaptationRule(1e-12, 0.0))
        still = textgen.evaluate(RUN, "other.txt", dynamic=True)
        assert still.dynamic_nats_per_char == pytest.approx(still.nats_per_char, rel=1e-6)
        assert first.dynamic_nats_per_char != pytest.approx(still.nats_per_char, rel=1e-3)

    @pytest.mark.parametrize("protocol", ["nanogpt", "streamed"])
    def test_other_protocols_are_refused(self, home, capsys, protocol):
        words = ["eval", RUN, "corpus.txt", "--dynamic", "--protocol", protocol]
        code, out, err = call(capsys, *words)
        assert (code, out) == (2, "")
        assert "--dynamic" in err and "--protocol stateful" in err and err.count("\n") == 1
        with pytest.raises(UsageError):
            textgen.evaluate(RUN, "corpus.txt", protocol=protocol, dynamic=True)

    @pytest.mark.parametrize("tail", [70, 10_000])
    @pytest.mark.parametrize("words", [("val", None), ("test", None), (None, "other.txt")])
    def test_the_rule_is_chosen_on_the_end_of_the_training_part(
        self, home, asked, monkeypatch, words, tail
    ):
        monkeypatch.setattr(dynamic_module, "TAIL", tail)
        part, text = words
        textgen.evaluate(RUN, text, part, dynamic=True)
        (ids,) = asked
        assert np.array_equal(ids, encoded(part_of("train")[-tail:]))

    @pytest.mark.parametrize("words", [("train", None), (None, "corpus.txt")])
    def test_the_rule_is_never_chosen_on_what_is_reported(self, home, asked, words):
        part, text = words
        assert textgen.evaluate(RUN, text, part, dynamic=True).dynamic_lr == AdaptationRule().lr
        assert not asked

    @pytest.mark.slow
    def test_the_rule_does_not_depend_on_the_part_that_is_reported(self, home, monkeypatch):
        rules = []
        choose = dynamic_module.choose_rule

        def noted(*arguments):
            rules.append(choose(*arguments))
            return rules[-1]

        monkeypatch.setattr(dynamic_module, "choose_rule", noted)
        monkeypatch.setattr(dynamic_module, "TAIL", 300)
        for part in ("val", "test"):
            textgen.evaluate(RUN, part=part, dynamic=True)
        assert len(rules) == 2 and rules[0] == rules[1]

    def test_a_text_that_is_named_with_its_part_gives_the_rule(self, home, asked):
        shutil.copy(f"{RUN}/best.safetensors", "alone.safetensors")
        textgen.evaluate("alone.safetensors", "corpus.txt", "test", dynamic=True)
        assert np.array_equal(asked[0], encoded(part_of("train")))

    def test_a_run_with_a_text_of_its_own_to_validate_on_has_all_of_its_text(
        self, home, asked, monkeypatch
    ):
        monkeypatch.setattr(dynamic_module, "TAIL", 100)
        textgen.train("corpus.txt", out="checkpoints/two", val="other.txt", **TINY | {"steps": 1})
        textgen.evaluate("checkpoints/two", part="val", dynamic=True)
        assert np.array_equal(asked[0], encoded(TEXT[-100:]))

    def test_a_checkpoint_whose_text_is_gone_learns_by_the_default_rule(self, home, asked):
        textgen.train("corpus.txt", out="checkpoints/moved", **TINY | {"steps": 1})
        (home / "corpus.txt").unlink()
        shutil.copy(f"{RUN}/best.safetensors", "alone.safetensors")
        for path in ("checkpoints/moved", "alone.safetensors"):
            result = textgen.evaluate(path, "other.txt", dynamic=True)
            assert (result.dynamic_lr, result.dynamic_decay) == (
                AdaptationRule().lr,
                AdaptationRule().decay,
            )
        assert asked == []

    def test_a_text_that_has_changed_chooses_nothing(self, home, asked):
        textgen.train("corpus.txt", out="checkpoints/changed", **TINY | {"steps": 1})
        (home / "corpus.txt").write_text(OTHER)
        result = textgen.evaluate("checkpoints/changed", "other.txt", dynamic=True)
        assert result.dynamic_lr == AdaptationRule().lr
        assert asked == []

    def test_a_text_of_one_character_is_measured(self, home, asked):
        (home / "one.txt").write_text("a")
        result = textgen.evaluate(RUN, "one.txt", dynamic=True)
        assert result.dynamic_nats_per_char == result.nats_per_char

    def test_a_run_without_ngrams_is_measured_too(self, home, asked):
        textgen.train("corpus.txt", out="checkpoints/alone", ngrams=1, **TINY | {"steps": 1})
        result = textgen.evaluate("checkpoints/alone", "other.txt", dynamic=True)
        assert result.dynamic_nats_per_char < result.nats_per_char

    def test_measuring_changes_no_file(self, home, asked):
        before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        textgen.evaluate(RUN, "other.txt", dynamic=True)
        assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


class TestAdaptive:
    def test_what_repeats_is_predicted_better_once_it_was_read(self, home):
        (home / "again.txt").write_text("zebra quagga okapi. " * 40)
        result = textgen.evaluate(RUN, "again.txt", adaptive=True)
        static = textgen.evaluate(RUN, "again.txt")
        assert result.nats_per_char == pytest.approx(static.nats_per_char, abs=1e-5)
        assert result.adaptive_nats_per_char < 0.5 * result.nats_per_char
        assert result.dynamic_nats_per_char is None

    def test_the_network_learns_too_if_asked(self, home, monkeypatch):
        monkeypatch.setattr(dynamic_module, "choose_rule", lambda *_: AdaptationRule(0.02, 0.0))
        both = textgen.evaluate(RUN, "other.txt", adaptive=True, dynamic=True)
        alone = textgen.evaluate(RUN, "other.txt", adaptive=True)
        assert both.adaptive_nats_per_char is both.dynamic_nats_per_char is None
        assert both.adaptive_dynamic_nats_per_char != alone.adaptive_nats_per_char
        assert both.adaptive_dynamic_nats_per_char < both.nats_per_char
        assert both.dynamic_lr == 0.02

    def test_the_command_line_prints_both_figures(self, home, capsys):
        code, out, _ = call(capsys, "eval", RUN, "other.txt", "--adaptive", "--json")
        found = json.loads(out)
        assert code == 0
        assert found["adaptive_nats_per_char"] < found["nats_per_char"]
        bits = found["adaptive_nats_per_char"] / math.log(2)
        assert found["adaptive_bits_per_char"] == pytest.approx(bits)

    def test_a_network_alone_has_nothing_that_adapts(self, home, capsys):
        textgen.train("corpus.txt", out="checkpoints/bare", ngrams=1, **TINY | {"steps": 1})
        code, _, err = call(capsys, "eval", "checkpoints/bare", "other.txt", "--adaptive")
        assert code == 2 and "network alone" in err

    def test_random_windows_are_not_read_in_order(self, home, capsys):
        words = ("eval", RUN, "other.txt", "--adaptive", "--protocol", "nanogpt")
        code, _, err = call(capsys, *words)
        assert code == 2 and "--adaptive" in err


class TestAdapt:
    WORDS = ("sample", RUN, "--length", 120, "--seed", 1, "--temperature", 1)

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(dynamic_module, "choose_rule", lambda *_: AdaptationRule(0.02, 1e-3))

    def test_the_text_that_is_written_leans_towards_the_one_that_was_read(self, home, capsys):
        _, before, _ = call(capsys, *self.WORDS)
        code, after, err = call(capsys, *self.WORDS, "--adapt", "other.txt")
        assert code == 0 and len(after) == 120
        assert after != before
        model, _ = textgen.adapt(RUN, "other.txt")
        assert model.score(OTHER).nats_per_char < textgen.load(RUN).score(OTHER).nats_per_char
        first, second = err.splitlines()
        assert first == "textgen: learnt from other.txt at rate 0.02, decay 0.001"
        assert second.startswith(f"textgen: {RUN}/best.safetensors, seed 1")

    def test_nothing_is_saved(self, home, capsys):
        before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        first = call(capsys, *self.WORDS, "--adapt", "other.txt")[1]
        assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
        assert call(capsys, *self.WORDS, "--adapt", "other.txt")[1] == first
        assert call(capsys, *self.WORDS)[1] == call(capsys, *self.WORDS)[1] != first

    def test_library_and_command_line_write_the_same(self, home, capsys):
        model, rule = textgen.adapt(RUN, "other.txt")
        assert rule == AdaptationRule(0.02, 1e-3)
        text = model.sample(length=120, seed=1, temperature=1.0)
        assert call(capsys, *self.WORDS, "--adapt", "other.txt")[1] == text

    def test_the_ngrams_count_the_text_too(self, home):
        model, _ = textgen.adapt(RUN, "other.txt")
        own = textgen.load(RUN).checkpoint
        assert not np.array_equal(model.checkpoint.mixing, own.mixing)
        added = len(model.checkpoint.ngrams.contexts) - len(own.ngrams.contexts)
        assert added == 2 * len(OTHER)
        assert model.checkpoint.model == own.model
        assert any(
            not np.array_equal(array, own.weights[name])
            for name, array in model.checkpoint.weights.items()
        )

    def test_characters_that_the_model_lacks_are_read_as_unknown(self, home):
        (home / "strange.txt").write_text("ħ" + OTHER + "\U0001f600")
        model, _ = textgen.adapt(RUN, "strange.txt")
        assert model.tokenizer.alphabet == textgen.load(RUN).tokenizer.alphabet

    def test_a_text_of_one_character_teaches_the_network_nothing(self, home):
        (home / "one.txt").write_text("a")
        model, _ = textgen.adapt(RUN, "one.txt")
        own = textgen.load(RUN).checkpoint
        assert_equal_tensors(model.checkpoint.weights, own.weights)
        assert len(model.checkpoint.ngrams.contexts) == len(own.ngrams.contexts) + 2

    @pytest.mark.parametrize("name, words", [("missing.txt", "no such file"), ("none", "no file")])
    def test_a_text_that_is_not_there_is_an_error_of_one_line(self, home, capsys, name, words):
        (home / "none").mkdir()
        code, out, err = call(capsys, *self.WORDS, "--adapt", name)
        assert (code, out) == (3, "")
        assert err.startswith(f"textgen: error: {name}") and words in err
        assert err.count("\n") == 1
        with pytest.raises(TextError):
            textgen.adapt(RUN, name)

    def test_an_empty_text_is_an_error(self, home, capsys):
        (home / "empty.txt").touch()
        code, _, err = call(capsys, *self.WORDS, "--adapt", "empty.txt")
        assert code == 3 and "empty" in err

    def test_a_missing_checkpoint_is_an_error(self, home, capsys):
        code, _, err = call(capsys, "sample", "missing", "--adapt", "other.txt")
        assert code == 4 and err.count("\n") == 1


@pytest.mark.parametrize("length", [0, 65])
def test_a_length_of_ngrams_out_of_range_is_an_error_of_usage(home, capsys, length):
    words = ["train", "corpus.txt", "--steps", 1, "--ngrams", length, "--out", "checkpoints/new"]
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert "--ngrams" in err and err.count("\n") == 1
    assert not (home / "checkpoints" / "new").exists()


@pytest.fixture(scope="module")
def of_records(tmp_path_factory):
    """The checkpoint of a model of records."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "names.txt").write_text("\n".join(f"name {n}" for n in range(60)))
    options = {**TINY, "records": "lines", "steps": 5}
    return textgen.train(folder / "names.txt", out=str(folder / "run"), **options).best


class TestRecords:
    """Models of records are measured record by record, and scored with the end of each."""

    @pytest.mark.parametrize("options", [{"dynamic": True}, {"protocol": "nanogpt"}])
    def test_what_needs_one_text_is_refused(self, of_records, options):
        with pytest.raises(UsageError, match="trained on records"):
            textgen.evaluate(of_records, part="val", **options)

    def test_the_figure_is_the_mean_score_of_the_records_their_ends_included(self, of_records):
        result = textgen.evaluate(of_records, part="val")
        model = textgen.load(of_records)
        records = training_text.part_of(of_records, model.checkpoint.metadata, "val")
        scores = [model.score(record) for record in records]
        assert [len(score.nats) for score in scores] == [len(record) + 1 for record in records]
        expected = sum(score.nats.sum() for score in scores) / result.chars
        assert result.chars == sum(len(record) + 1 for record in records)
        assert result.nats_per_char == pytest.approx(expected, rel=1e-5)
