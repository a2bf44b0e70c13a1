"""A loaded model: sample, stream, batch, score; and that none of it needs torch."""

import dataclasses
import json
import math
import subprocess
import sys

import naive
import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint
from threadpoolctl import ThreadpoolController

import textgen
from textgen.checkpoint.loading import make_engine
from textgen.config.model import CELLS
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.errors import CheckpointError, MachineError, TextError, UsageError
from textgen.evaluation import protocols
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh\n " * 3)


def checkpoint(cell="gru"):
    return random_checkpoint(LETTERS, cell=cell, layers=2, scale=0.7)


@pytest.fixture
def model():
    return textgen.TextModel(checkpoint())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run" / "best.safetensors"
    path.parent.mkdir()
    checkpoint().save(path)
    return path


# Loading


@pytest.mark.parametrize("as_text", [True, False])
def test_load_from_a_file_and_from_its_run_folder(file, model, as_text):
    expected = model.sample("ab", length=50, seed=1)
    for path in (file, file.parent):
        loaded = textgen.load(str(path) if as_text else path)
        assert loaded.sample("ab", length=50, seed=1) == expected


def test_load_of_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="holds no best"):
        textgen.load(tmp_path)


def test_load_of_a_missing_or_damaged_file_is_an_error(file):
    with pytest.raises(CheckpointError, match="no such file"):
        textgen.load(file.with_name("other.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum") as caught:
        textgen.load(file)
    assert caught.value.exit_code == 4


def test_device_that_is_not_there_is_an_error(file, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MachineError, match="--device cuda"):
        textgen.load(file, device="cuda")


@pytest.mark.parametrize("cell", CELLS)
def test_torch_behind_the_same_interface_scores_and_writes_the_same(cell, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    numpy_model = textgen.TextModel(checkpoint(cell))
    torch_model = textgen.TextModel(checkpoint(cell), device="auto")
    one, other = numpy_model.score("abcab\n"), torch_model.score("abcab\n")
    np.testing.assert_allclose(one.nats, other.nats, rtol=0, atol=2e-5)
    texts = [m.sample("ab", length=40, seed=1) for m in (numpy_model, torch_model)]
    assert texts[0] == texts[1]


# Writing


def test_sample_is_the_prime_and_the_streamed_pieces(model):
    text = model.sample("ab", length=60, seed=1)
    pieces = list(model.stream("ab", length=60, seed=1))
    assert text == "ab" + "".join(pieces)
    assert len(text) == 62 and len(pieces) == 60


def test_sample_with_a_stop_text_is_the_prime_and_the_pieces_before_it(model):
    free = model.sample("ab", length=60, seed=1)
    stop = free[30:32]
    text = model.sample("ab", length=60, seed=1, stop=stop)
    assert text == "ab" + free[2:].partition(stop)[0]
    assert text == "ab" + "".join(model.stream("ab", length=60, seed=1, stop=[stop]))


def test_text_without_a_prime(model):
    assert len(model.sample(length=30, seed=1)) == 30
    assert model.sample(length=30, seed=1) == model.sample("", length=30, seed=1)


@pytest.mark.parametrize("cuts", [(1, 59), (30, 30), (0, 60), (20, 0, 40)])
def test_carried_state_continues_as_if_never_stopped(model, cuts):
    expected = model.sample("ab", length=60, seed=1)
    text = model.sample("ab", length=cuts[0], seed=1)
    for length in cuts[1:]:
        text += model.sample(length=length, state=model.state)
    assert text == expected


def test_carried_state_is_a_value(model):
    first = model.sample("ab", length=20, seed=1)
    state = model.state
    expected = model.sample("ab", length=60, seed=1)
    model.sample("hh", length=50, seed=9)
    assert first + model.sample(length=40, state=state) == expected


def test_stream_that_is_left_early_can_be_continued(model):
    expected = model.sample("ab", length=60, seed=1)
    stream = model.stream("ab", length=60, seed=1)
    text = "ab" + next(stream) + next(stream) + next(stream)
    stream.close()
    assert text + model.sample(length=57, state=model.state) == expected


def test_batch_holds_as_many_different_texts_and_the_first_is_sample(model):
    texts = model.batch("ab", num=5, length=30, seed=1)
    assert len(set(texts)) == 5
    assert {len(text) for text in texts} == {32}
    assert texts[0] == model.sample("ab", length=30, seed=1)
    assert model.batch("ab", num=2, length=30, seed=1) == texts[:2]


def test_batch_cuts_each_text_at_the_stop_text(model):
    free = model.batch("ab", num=4, length=50, seed=1)
    stop = free[2][20:22]
    stopped = model.batch("ab", num=4, length=50, seed=1, stop=stop)
    assert stopped == ["ab" + text[2:].partition(stop)[0] for text in free]


def test_without_a_seed_texts_differ_and_the_seed_that_was_used_is_known(model):
    first = model.sample(length=40)
    seed = model.seed
    assert model.sample(length=40) != first
    assert model.sample(length=40, seed=seed) == first


def test_seed_is_the_one_of_the_carried_state(model):
    model.sample("ab", length=5, seed=7)
    model.sample(length=5, state=model.state, seed=8)
    assert model.seed == 7


@pytest.mark.parametrize("unknown", ["skip", "replace"])
def test_prime_with_unknown_characters_stays_in_the_text_as_it_was(model, unknown):
    text = model.sample("aßb", length=10, seed=1, unknown=unknown)
    assert text.startswith("aßb") and len(text) == 13
    assert "\ufffd" not in text


def test_errors_of_sampling(model):
    with pytest.raises(TextError, match="'ß'"):
        model.sample("aßb")
    with pytest.raises(UsageError, match="batch"):
        model.sample(num=2)
    with pytest.raises(UsageError, match="--top-p"):
        model.sample(top_p=1.5)
    with pytest.raises(UsageError, match="--stop"):
        model.sample(stop="")
    with pytest.raises(TypeError):
        model.sample(tempreature=1)


def test_state_of_several_texts_is_refused_for_one(model):
    model.sample("ab", length=5, seed=1)
    with pytest.raises(UsageError, match=r"^state: belongs to 3 texts"):
        model.sample(length=5, state=model.state.take([0, 0, 0]))


@pytest.mark.parametrize("value", [[1.5, 0.1], (1.5, 0.1)])
def test_temperature_may_be_a_list_and_bias_and_stop_a_single_text(model, value):
    options = {"length": 60, "seed": 1, "temperature": value}
    first = model.sample("ab", **options, bias="b:2", stop="hh")
    assert first == model.sample("ab", **options, bias=["b:2"], stop=("hh",))
    assert first != model.sample("ab", length=60, seed=1, bias="b:2", stop="hh")


def test_a_config_is_taken_as_a_value_and_keywords_override_it(model):
    config = textgen.SampleConfig(prime="ab", length=20, seed=1, temperature=0.5)
    expected = model.sample("ab", length=20, seed=1, temperature=0.5)
    assert model.sample(config=config) == expected
    assert "ab" + "".join(model.stream(config=config)) == expected
    assert model.batch(config=config, num=2)[0] == expected
    assert model.sample("ab", textgen.SampleConfig(temperature=0.5), length=20, seed=1) == expected
    hotter = model.sample("hg", config, temperature=1.5)
    assert hotter == model.sample("hg", length=20, seed=1, temperature=1.5)
    assert next(model.texts(["ab"], config)).text == expected[2:]
    assert model.choices(1, config, state=model.read(["ab"]))[0][0] == expected[2:]


# Going on from a state


@pytest.mark.parametrize("look_back", [8, 1024, 3000])
def test_prime_after_a_state_is_read_as_if_it_had_stood_there(model, look_back):
    """What looks back sees all of it, as far as the option says."""
    prime = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 2500))
    options = {"look_back": look_back, "no_repeat_ngram": 4, "repetition_penalty": 1.3, "seed": 1}
    whole = model.sample(prime, length=40, **options)
    model.sample(prime[:1200], length=0, **options)
    assert model.sample(prime[1200:], state=model.state, length=40, **options) == whole[1200:]


def test_a_prime_of_any_length_can_be_read_in_pieces(model):
    expected = model.sample("abcabcab", length=40, seed=1)
    place = model.read(iter(["abc", "", "abca", "b"]))
    assert "abcabcab" + model.sample(state=place, length=40, seed=1) == expected
    further = model.read(["b"], state=model.read(["abcabca"]))
    assert "abcabcab" + model.sample(state=further, length=40, seed=1) == expected


def test_reading_follows_the_policy_for_unknown_characters(model):
    with pytest.raises(TextError, match="'ß'"):
        model.read(["a", "ß"])
    skipped = model.read(["aß", "b"], unknown="skip")
    expected = model.sample("ab", length=30, seed=1)
    assert "ab" + model.sample(state=skipped, length=30, seed=1) == expected


def test_choices_are_ways_to_go_on_and_the_first_is_the_text(model):
    model.sample("ab", length=10, seed=7)
    place = model.state
    expected = model.sample(state=place, length=30)
    choices = model.choices(4, state=place, length=30)
    assert choices[0][0] == expected
    assert len({text for text, _ in choices}) == 4
    assert {len(text) for text, _ in choices} == {30}


def test_each_choice_says_where_it_stopped(model):
    model.sample("ab", length=10, seed=7)
    so_far = "ab" + model.sample("ab", length=10, seed=7)[2:]
    for text, place in model.choices(3, state=model.state, length=20):
        expected = model.read([so_far + text])
        np.testing.assert_allclose(place.logits_BV, expected.logits_BV, rtol=0, atol=1e-5)
        assert np.array_equal(place.ids_BL, expected.ids_BL)
        assert place.position == 30
        model.sample(state=place, length=5)  # it is the place of a single text


def test_no_choices_are_none(model):
    place = model.read(["ab"])
    assert model.choices(0, state=place, length=30) == []


def test_choices_end_for_themselves(model):
    model.sample("ab", length=10, seed=7)
    free = model.choices(4, state=model.state, length=40)
    stop = free[2][0][7:9]
    ended = model.choices(4, state=model.state, length=40, stop=stop)
    assert [text for text, _ in ended] == [text.partition(stop)[0] for text, _ in free]


def test_the_seed_of_choices_is_known(model):
    model.sample("ab", length=10, seed=7)
    model.choices(2, state=model.state, length=5)
    assert model.seed == 7
    place = model.read(["ab"])
    first = model.choices(2, state=place, length=25)
    assert model.choices(2, state=place, length=25, seed=model.seed)[1][0] == first[1][0]


def test_a_state_goes_to_a_file_and_back(model, tmp_path):
    expected = model.sample("ab", length=60, seed=1)
    text = model.sample("ab", length=25, seed=1)
    model.save_state(tmp_path / "here.state")
    another = textgen.TextModel(checkpoint())
    place = another.load_state(tmp_path / "here.state")
    assert another.state is place
    assert text + another.sample(length=35, state=place) == expected


def test_a_state_of_torch_goes_to_a_file_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model = textgen.TextModel(checkpoint("lstm"), device="auto")
    expected = model.sample("ab", length=60, seed=1)
    text = model.sample("ab", length=25, seed=1)
    model.save_state(tmp_path / "here.state")
    for device in ("auto", "cpu"):  # written by one, read by either
        another = textgen.TextModel(checkpoint("lstm"), device=device)
        place = another.load_state(tmp_path / "here.state")
        assert text + another.sample(length=35, state=place) == expected


def test_errors_of_states(model, tmp_path):
    with pytest.raises(UsageError, match="nothing has been written yet"):
        model.save_state(tmp_path / "here.state")
    model.sample("ab", length=5, seed=1)
    model.save_state(tmp_path / "here.state")
    with pytest.raises(CheckpointError, match="does not belong to this model") as caught:
        textgen.TextModel(checkpoint("lstm")).load_state(tmp_path / "here.state")
    assert caught.value.exit_code == 4
    with pytest.raises(CheckpointError, match="no such file"):
        model.load_state(tmp_path / "missing.state")


# Texts and what is known of them


def test_texts_are_those_of_batch_and_sample(model):
    options = {"num": 3, "length": 30, "seed": 1}
    found = list(model.texts(["ab", "hg"], **options))
    whole = [one.prime + one.text for one in found]
    assert whole == model.batch(primes=["ab", "hg"], **options)
    assert whole[0] == model.sample("ab", length=30, seed=1)
    assert {one.seed for one in found} == {1} == {model.seed}


def test_a_new_seed_is_the_same_for_all_texts_and_known(model):
    found = list(model.texts(["ab"], num=3, length=20))
    assert {one.seed for one in found} == {model.seed}
    again = list(model.texts(["ab"], num=3, length=20, seed=model.seed))
    assert [one.text for one in again] == [one.text for one in found]


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 2, "temperature": 0.5}, {"stop": "a"}, {"mirostat": 2.0}], ids=str
)
def test_the_score_of_a_text_is_what_it_was_written_with(model, options):
    for one in model.texts(["ab", "", "hhh"], num=2, length=30, seed=3, **options):
        if whole := one.prime + one.text:
            nats = model.score(whole).nats[len(one.prime) :]
            np.testing.assert_allclose(-one.log_probs, nats, rtol=0, atol=2e-5)


def test_the_best_of_several_drafts_comes_in_one_piece(model):
    drafts = list(model.texts(["ab"], num=5, length=30, seed=1))
    scores = [model.score("ab" + one.text).nats[2:].mean() for one in drafts]
    best = drafts[int(np.argmin(scores))].text
    assert list(model.stream("ab", best_of=5, length=30, seed=1)) == [best]
    assert model.sample("ab", best_of=5, length=30, seed=1) == "ab" + best
    with pytest.raises(UsageError, match=r"^state: cannot be combined with best_of"):
        model.sample("ab", best_of=5, state=model.read(["ab"]))


def test_another_number_of_threads_may_be_set(model, monkeypatch):
    assert model.threads == 1
    model.threads = 2
    seen = []
    step = Engine.step

    def watched(self, ids_B, state):
        infos = ThreadpoolController().info()
        seen.append({one["num_threads"] for one in infos if one["user_api"] == "blas"})
        return step(self, ids_B, state)

    monkeypatch.setattr(Engine, "step", watched)
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        model.sample("ab", length=3, seed=1)
    assert seen and all(one == {2} for one in seen)


def test_threads_are_the_caller_s_between_the_texts(model):
    """A generator that is not being asked for anything leaves nothing set behind."""
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        before = [one["num_threads"] for one in ThreadpoolController().info()]
        stream = model.stream("ab", length=5, seed=1)
        next(stream)
        assert [one["num_threads"] for one in ThreadpoolController().info()] == before


# Scoring


def naive_nats(text):
    """The first character costs what the counts plus one say; the others follow the equations."""
    loaded = checkpoint()
    weights = {name: array.astype(np.float64) for name, array in loaded.weights.items()}
    ids = LETTERS.encode(text, "replace").astype(int)
    smoothed = LETTERS.counts.astype(float) + 1
    logits, _ = naive.network(loaded.model, weights, ids[:-1])
    costs = [-math.log(smoothed[ids[0]] / smoothed.sum())]
    costs += [naive.nats(y, target) for y, target in zip(logits, ids[1:], strict=True)]
    return np.array(costs) + np.where(ids == 0, math.log(1_114_112), 0)


@pytest.mark.parametrize("text", ["a", "ab", "abcdefgh\n " * 30, "aßb", "ß", "ßé"])
def test_score_equals_the_written_equations(model, text):
    score = model.score(text)
    np.testing.assert_allclose(score.nats, naive_nats(text), rtol=0, atol=2e-5)
    assert score.nats_per_char == pytest.approx(naive_nats(text).mean(), abs=2e-5)
    assert score.bits_per_char == pytest.approx(score.nats_per_char / math.log(2))
    assert score.unknown_chars == sum(char in "ßé" for char in text)


def test_score_sums_to_what_measure_finds(model):
    text = "abcdefgh\n " * 60
    engine = Engine(checkpoint().model, checkpoint().weights)
    expected = protocols.stateful(engine, LETTERS.encode(text), LETTERS.counts)
    assert model.score(text).nats.sum() == expected.sum()
    evaluated = protocols.measure_text(engine, LETTERS, text, "stateful")
    assert model.score(text).bits_per_char == pytest.approx(evaluated.bits_per_char, rel=1e-12)


def test_score_of_a_start_is_the_start_of_the_score(model):
    text = "abcdefgh\n " * 40
    whole = model.score(text).nats
    np.testing.assert_allclose(model.score(text[:300]).nats, whole[:300], rtol=0, atol=1e-12)


def test_scoring_and_sampling_do_not_disturb_each_other(model):
    expected = model.sample("ab", length=40, seed=1)
    text = model.sample("ab", length=20, seed=1)
    state = model.state
    model.score("hhh")
    assert model.state is state
    assert text + model.sample(length=20, state=state) == expected


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_a_score_by_bytes_or_pieces_is_one_by_characters(kind):
    text = "the cat sat: é\0"
    found = random_checkpoint(learn_tokenizer(kind, text * 9))
    score = textgen.TextModel(found).score(text)
    evaluated = protocols.measure_text(make_engine(found), found.tokenizer, text, "stateful")
    assert len(score.nats) == len(found.tokenizer.encode(text)) != len(text)
    assert score.nats_per_char == evaluated.nats_per_char
    assert score.nats_per_char == pytest.approx(score.nats.sum() / len(text))
    assert score.unknown_chars == 0


def test_learned_is_another_model_that_knows_the_text():
    ngrams = NGrams.count(LETTERS.encode("gg hh " * 30), LETTERS.size, 5)
    plain = random_checkpoint(LETTERS, ngrams=6)
    model, text = TextModel(dataclasses.replace(plain, ngrams=ngrams)), "abcdefgh" * 20
    before = model.score(text).nats_per_char
    learned = model.learned(text)
    assert model.score(text).nats_per_char == before > 2 * learned.score(text).nats_per_char
    assert len(learned.checkpoint.ngrams.contexts) == len(ngrams.contexts) + 2 * len(text)
    assert learned.checkpoint.weights is model.checkpoint.weights
    with pytest.raises(TextError, match="empty"):
        model.learned("")


def test_a_network_alone_cannot_learn_beside_itself(model):
    with pytest.raises(UsageError, match="network alone"):
        model.learned("ab")


def test_score_of_nothing_is_an_error(model):
    with pytest.raises(TextError, match="empty"):
        model.score("")


# Without torch

USE = """
import json, sys
sys.modules["torch"] = None  # an import of torch now raises
import textgen
model = textgen.load(sys.argv[1], device=sys.argv[2])
text = model.sample("ab", length=20, seed=1)
text += model.sample(length=20, state=model.state)
print(json.dumps([text, len(model.score("abc").nats)]))
"""


def use_without_torch(path, device):
    command = [sys.executable, "-W", "error", "-c", USE, path, device]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_cpu_use_needs_no_torch_and_gives_the_same_text_in_another_process(file, model):
    done = use_without_torch(file, "cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [model.sample("ab", length=40, seed=1), 3]


def test_import_of_torch_would_be_noticed(file):
    done = use_without_torch(file, "auto")
    assert done.returncode == 1
    assert "import of torch halted" in done.stderr


# Bytes and pieces

WORDS = "the cat sat: é ü 日本語 😀 at the end.\n" * 9
KINDS = ["byte", "bpe", "unigram"]


def of_units(kind):
    return textgen.TextModel(random_checkpoint(learn_tokenizer(kind, WORDS)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_text_is_the_text_in_whole_characters(kind):
    model = of_units(kind)
    text = model.sample("the", length=50, seed=1)
    pieces = [*model.stream("the", length=50, seed=1)]
    assert "the" + "".join(pieces) == text
    assert len(text) == 53
    assert all(pieces)
    assert not [piece for piece in pieces if "\ufffd" in piece]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prime_in_pieces_of_lines_is_the_prime(kind):
    model = of_units(kind)
    whole = model.read([WORDS])
    parts = model.read(WORDS.splitlines(keepends=True))
    assert np.array_equal(whole.logits_BV, parts.logits_BV)
    assert np.array_equal(whole.ids_BL, parts.ids_BL)


@pytest.mark.parametrize("kind", KINDS)
def test_drafts_choices_and_batches_are_of_whole_characters(kind):
    model = of_units(kind)
    texts = model.batch("the", num=3, length=20, seed=1)
    texts += [text.prime + text.text for text in model.texts(["the"], best_of=4, length=20, seed=1)]
    place = model.read(["the"])
    for text, after in model.choices(3, state=place, length=20, seed=1):
        texts.append("the" + text)
        model.sample(length=5, state=after)
    for text in texts:
        assert len(text) == 23
        assert "\ufffd" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_a_surrogate_pair_follows_the_policy_for_unknown_characters(kind):
    model = of_units(kind)
    with pytest.raises(TextError, match="surrogate"):
        model.sample("a\udc80", length=3)
    assert model.sample("a\udc80", length=3, unknown="skip").startswith("a\udc80")
    with pytest.raises(TextError):
        model.score("a\udc80")


def test_options_that_bytes_cannot_follow_are_refused_before_anything_is_written():
    for options in ({"ban": "é"}, {"bias": "é:1"}, {"match": "a"}):
        with pytest.raises(UsageError):
            of_units("byte").check(**options)
