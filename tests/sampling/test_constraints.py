"""Hard limits: what the generator never writes, checked with re and with Python's `in`."""

import dataclasses
import functools
import hashlib
import itertools
import re

import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint, random_engine, with_counts_of

from textgen.checkpoint.loading import make_engine
from textgen.checkpoint.metadata import Metadata
from textgen.config.sample import SampleConfig
from textgen.data import corpus
from textgen.data.corpus import TextIdentity
from textgen.data.spans import Spans
from textgen.errors import TextError, UsageError
from textgen.sampling.constraints import Constraints, CopiesNothing
from textgen.sampling.filters import NOTHING, History
from textgen.sampling.generator import begin, generate
from textgen.textmodel import TextModel, load
from textgen.tokenizers.char import CharTokenizer

WORDS = "a cab bade a dad; 12 bad cabs faced 3 decades\n" * 3
LETTERS = CharTokenizer.from_text(WORDS)


@functools.cache
def network(tokenizer=LETTERS):
    return random_engine(tokenizer)


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, **options})


def written(cfg, spans=None, tokenizer=LETTERS, start=None, rows=None):
    """The texts of all rows, and why each ended."""
    constraints = Constraints.of(tokenizer, cfg, spans)
    steps = list(generate(network(tokenizer), tokenizer, cfg, start, rows, constraints))
    pieces = zip(*(step.pieces for step in steps), strict=True)
    return ["".join(one) for one in pieces], steps[-1].ends


# Characters


def test_what_may_be_drawn_is_what_the_text_held_and_no_option_bars():
    """Of <unk>, a, b, c, d the text never held <unk> and b, though a count of <unk> is there."""
    tokenizer = CharTokenizer(np.array([97, 98, 99, 100]), np.array([9, 5, 0, 5, 5]))

    def allowed(**options):
        return Constraints.of(tokenizer, config(**options)).allowed_V.tolist()

    assert allowed() == [False, True, False, True, True]
    assert allowed(ban="d") == [False, True, False, True, False]
    assert allowed(only="bc") == [False, False, False, True, False]
    assert allowed(only="a-z", ban="a-c") == [False, False, False, False, True]
    assert allowed(ban="xyz\u00e9") == allowed()


@pytest.mark.parametrize(
    ("options", "option"),
    [({"only": "b"}, "--only"), ({"only": "xyz"}, "--only"), ({"ban": "a-d"}, "--ban")],
)
def test_nothing_to_write_names_the_option(options, option):
    tokenizer = CharTokenizer(np.array([97, 98, 99, 100]), np.array([9, 5, 0, 5, 5]))
    with pytest.raises(UsageError, match="none of the model's 4 characters") as caught:
        Constraints.of(tokenizer, config(**options))
    assert caught.value.subject == option


def test_bias_stands_at_the_ids_of_its_characters():
    tokenizer = CharTokenizer.from_text("abcd")
    added = Constraints.of(tokenizer, config(bias=("b-c:1.5", "c:-2", "z:9"))).bias_V
    assert added.tolist() == [0, 0, 1.5, -2, 0]
    assert Constraints.of(tokenizer, config()).bias_V.tolist() == [0] * 5


# Characters, where ids are bytes or pieces

UNITS = "the cat sat: é ü 日本 at the end 123\n" * 9
KINDS = ["byte", "bpe", "unigram"]


@functools.cache
def of_units(kind):
    """A tokenizer and a network; some characters were spelled in bytes, each stood alone too."""
    tokenizer = learn_tokenizer(kind, UNITS)
    tokenizer = with_counts_of(tokenizer, UNITS + "ßñ€" + "  ".join(sorted({*UNITS})))
    return tokenizer, make_engine(random_checkpoint(tokenizer, hidden=4, embedding=3))


def texts_of_units(kind, **options):
    tokenizer, engine = of_units(kind)
    cfg = config(**{"num": 8, "length": 60, "temperature": 2.0, **options})
    steps = list(generate(engine, tokenizer, cfg))
    return "".join("".join(step.pieces) for step in steps)


@pytest.mark.parametrize("kind", KINDS)
def test_a_banned_character_stands_in_no_text_of_bytes_or_pieces(kind):
    assert {*"atc"} <= {*texts_of_units(kind)}
    text = texts_of_units(kind, ban="a-c1")
    assert not {*"abc1"} & {*text}
    assert "t" in text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_banned_character_is_not_spelled_in_bytes_either(kind):
    assert {*"ßé日€"} & {*texts_of_units(kind, temperature=9.0)}
    text = texts_of_units(kind, ban="ß日", temperature=9.0)
    assert not {*"ß日"} & {*text}
    assert "é" in text  # which has a piece of its own, though it begins with the byte of ß


@pytest.mark.parametrize("kind", KINDS)
def test_only_some_characters_stand_in_a_text_of_bytes_or_pieces(kind):
    assert {*texts_of_units(kind, only="a-e ")} <= {*"abcde "}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_only_characters_beyond_ascii_need_pieces(kind):
    assert {*texts_of_units(kind, only="é日 t")} == {*"é日 t"}
    with pytest.raises(UsageError, match="pieces to write") as caught:
        texts_of_units(kind, only="ß")
    assert caught.value.subject == "--only"


def test_only_pieces_that_the_training_used_are_left_by_only():
    """Of a text whose letters stand together, a piece of one letter was never used."""
    tokenizer = learn_tokenizer("bpe", "thethe" * 50)
    with pytest.raises(UsageError, match="pieces to write"):
        Constraints.of(tokenizer, config(only="t"))


@pytest.mark.parametrize("options", [{"ban": "é"}, {"only": "a-é"}, {"bias": ("é:1",)}], ids=str)
def test_bytes_cannot_be_told_of_characters_beyond_ascii(options):
    (option,) = options
    with pytest.raises(UsageError, match="bytes") as caught:
        texts_of_units("byte", **options)
    assert caught.value.subject == f"--{option}"
    assert "ASCII" in caught.value.fix


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_counts_for_each_character_of_a_piece(kind):
    tokenizer, _ = of_units(kind)
    added = Constraints.of(tokenizer, config(bias=("a:1", "t:-3"))).bias_V
    for one, value in enumerate(added):
        text = tokenizer.symbols()[one].decode("utf-8", "ignore")
        assert value == text.count("a") - 3 * text.count("t")
    assert "a" not in texts_of_units(kind, bias=("a:-900",))


# A pattern

PATTERNS = [
    r"[abc]{4}",
    r"\d+( cabs?)?",
    r"(bad|cab|dad)(; (bad|cab|dad))*",
    r"(?!a)[a-f ]*e",
    r"[^;]*;[^;]*",
    r"([a-f]\n)+",
    r"a?b?c?d?",
    r".*",
]


def matching(regex, cfg, **where):
    """Texts that match a regular expression, and why each ended."""
    return written(dataclasses.replace(cfg, match=regex), **where)


def all_texts(alphabet, longest):
    for length in range(longest + 1):
        yield from map("".join, itertools.product(alphabet, repeat=length))


def complete(regex, alphabet, longest):
    """Every match of at most so many characters that is the beginning of no other such match."""
    matches = [one for one in all_texts(alphabet, longest) if re.fullmatch(regex, one)]
    return {one for one in matches if not any(m != one and m.startswith(one) for m in matches)}


@pytest.mark.parametrize("length", [4, 5, 17, 40])
@pytest.mark.parametrize("regex", PATTERNS)
def test_every_text_is_a_match(regex, length):
    cfg = config(num=8, length=length, prime="dad")
    texts, ends = matching(regex, cfg)
    for text, end in zip(texts, ends, strict=True):
        assert re.fullmatch(regex, text), text
        assert len(text) <= length
        assert end == ("length" if len(text) == length else "match")


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 5.0},
        {"top_k": 1},
        {"top_p": 0.1},
        {"min_p": 1.0},
        {"mirostat": 0.5},
        {"no_repeat_ngram": 1},
        {"repetition_penalty": 9.0, "frequency_penalty": 50.0},
        {"bias": ("x-z:99", "1:99", "\n:99")},
        {"dry_multiplier": 50.0, "dry_allowed_length": 1},
    ],
    ids=str,
)
def test_no_filter_leads_out_of_a_pattern(options):
    for regex in PATTERNS[:6]:
        for text in matching(regex, config(num=3, length=15, **options))[0]:
            assert re.fullmatch(regex, text), (regex, text)


def test_without_the_limit_no_text_matches():
    texts, _ = written(config(num=8, length=17))
    assert not any(re.fullmatch(PATTERNS[2], text) for text in texts)


@pytest.mark.parametrize(
    ("regex", "length"),
    [("a{1,2}b?", 3), ("(ab|a)(c|bcd)?", 4), ("a*(ba)*", 4), ("(?!.*bb)[ab]*a", 3)],
)
def test_texts_are_the_matches_that_cannot_be_continued_and_all_of_them(regex, length):
    """Against every text of the alphabet there is: with 300 rows each match is found."""
    texts, _ = matching(regex, config(num=300, length=length, temperature=3.0))
    assert set(texts) == complete(regex, "abcd", length)


def test_a_ban_holds_within_a_pattern():
    texts, _ = matching("[ab]{6}", config(num=4, length=9, ban="a"))
    assert set(texts) == {"bbbbbb"}


def test_an_empty_text_may_be_the_match():
    assert matching("", config(num=2, length=5)) == (["", ""], ["match", "match"])


def test_rows_end_when_their_own_match_does():
    cfg = config(num=8, length=12, temperature=2.0)
    texts, ends = matching("a|b{5}|c{9}", cfg)
    assert set(texts) == {"a", "bbbbb", "ccccccccc"} and set(ends) == {"match"}
    for row, text in enumerate(texts):
        start = begin(network(), LETTERS, [""], cfg)
        alone = matching("a|b{5}|c{9}", cfg, start=start, rows=range(row, row + 1))
        assert alone[0] == [text]


def test_a_pattern_without_a_match_of_the_length_is_an_error_before_a_character():
    model = TextModel(checkpoint())
    stream = model.stream("a", match=r"\d{9}", length=8)
    with pytest.raises(UsageError, match=r"^--match: .* needs 9 characters, --length is 8"):
        next(stream)
    with pytest.raises(UsageError, match="no text of this model's characters"):
        model.sample(match="xyz")
    with pytest.raises(UsageError, match="no text of this model's characters"):
        model.sample(match="a+", ban="a")


def test_the_model_writes_matches_alone_and_in_batches(monkeypatch):
    monkeypatch.setattr("textgen.sampling.batch.MOST_ROWS", 3)
    model, regex = TextModel(checkpoint()), PATTERNS[2]
    options = {"match": regex, "length": 20, "seed": 1}
    texts = [text.removeprefix("dad ") for text in model.batch("dad ", num=7, **options)]
    assert all(re.fullmatch(regex, text) for text in texts)
    assert model.sample("dad ", **options) == "dad " + texts[0]
    best = model.sample("dad ", best_of=3, **options)
    assert best.removeprefix("dad ") in texts[:3]


# Copies


def spans_of(text, length):
    return Spans.of(LETTERS.encode(text), length)


def copied(text, source, length):
    """Every span of so many characters of a text that stands in the source."""
    parts = {text[i : i + length] for i in range(len(text) - length + 1)}
    return {part for part in parts if part in source}


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("prime", ["", "b", "a cab"])
def test_no_span_of_prime_and_text_is_one_of_the_training_text(prime, length):
    source = WORDS[:40] if length > 1 else "abc"
    cfg = config(num=4, length=60, prime=prime)
    texts, ends = written(cfg, spans_of(source, length))
    for text in texts:
        beyond = prime[len(prime) - length + 1 :] if length > 1 else ""
        assert not copied(beyond + text, source, length)
    assert ends == ["length"] * 4


def test_without_the_limit_spans_are_copied():
    text = written(config(length=60))[0][0]
    assert len(copied(text, WORDS, 2)) > 5


@pytest.mark.parametrize(
    ("prime", "likeliest", "copy"), [("abc", "d", "d"), ("ab", "c", "c"), ("b", "cd", "cd")]
)
def test_a_copy_that_begins_in_the_prime_counts(prime, likeliest, copy):
    """Of abcdef no three in a row, even where nothing else is likely."""
    letters = CharTokenizer.from_text("abcdef")
    cfg = config(prime=prime, bias=(f"{likeliest}:50",), temperature=0.0, length=len(copy))
    spans = Spans.of(letters.encode("abcdef"), 3)
    if len(copy) == 1:
        assert written(cfg, tokenizer=letters)[0] == [copy]
    assert written(cfg, spans, tokenizer=letters)[0] != [copy]
    for row in written(config(prime=prime, num=40, length=6), spans, tokenizer=letters)[0]:
        assert not copied(prime[-2:] + row, "abcdef", 3)


def test_a_text_ends_where_every_character_would_complete_a_copy():
    """All pairs of a and b stand in aabba: after one character there is no way on."""
    letters = CharTokenizer.from_text("ab")
    spans = Spans.of(letters.encode("aabba"), 2)
    texts, ends = written(config(num=3, length=9), spans, tokenizer=letters)
    assert set(texts) <= {"a", "b"} and ends == ["novel"] * 3
    texts, ends = written(config(num=2, length=9, prime="a"), spans, tokenizer=letters)
    assert (texts, ends) == (["", ""], ["novel"] * 2)


def test_a_ban_may_leave_nothing_but_copies():
    """aaab without b: of four a the last would complete aaa."""
    letters = CharTokenizer.from_text("aaab")
    spans = Spans.of(letters.encode("aaab"), 3)
    texts, ends = written(config(ban="b", length=9), spans, tokenizer=letters)
    assert (texts, ends) == (["aa"], ["novel"])


def test_a_row_that_ends_leaves_the_others_to_go_on():
    letters = CharTokenizer.from_text("abc")
    spans = Spans.of(letters.encode("aabaca"), 2)  # after a no way on, else a is barred
    cfg = config(num=6, length=12, temperature=9.0)
    texts, ends = written(cfg, spans, tokenizer=letters)
    assert {(len(text), end) for text, end in zip(texts, ends, strict=True)} == {
        (1, "novel"),
        (12, "length"),
    }
    for row, text in enumerate(texts):
        start = begin(network(letters), letters, [""], cfg)
        alone = written(cfg, spans, letters, start, range(row, row + 1))
        assert (alone[0][0], alone[1][0]) == (text, ends[row])


def test_text_that_was_held_back_belongs_to_a_text_that_ends():
    letters = CharTokenizer.from_text("aaab")
    spans = Spans.of(letters.encode("aaab"), 3)
    cfg = config(ban="b", length=9, stop=("aab",))
    assert written(cfg, spans, tokenizer=letters) == (["aa"], ["novel"])


def test_a_look_back_of_just_the_span_is_enough():
    cfg = config(num=3, length=50, novel=4, look_back=4)
    texts, _ = written(cfg, spans_of(WORDS, 4))
    assert not any(copied(text, WORDS, 4) for text in texts)


def test_novel_bars_by_the_history_alone():
    spans, vocab = spans_of("bade", 3), LETTERS.size
    history = History(np.array([[NOTHING, NOTHING], LETTERS.encode("ba")]), 2, vocab)
    allowed_BV = CopiesNothing(spans).allowed(history, 9)
    assert allowed_BV[0].all()
    barred = [LETTERS.decode([one]) for one in np.flatnonzero(~allowed_BV[1])]
    assert barred == ["d"]


def test_limits_hold_together():
    """The options exclude each other, the constraints do not."""
    cfg = config(num=5, length=24, prime="dad")
    constraints = Constraints.of(LETTERS, dataclasses.replace(cfg, match="([a-f]{2} )*"))
    constraints = dataclasses.replace(constraints, spans=spans_of(WORDS, 3))
    steps = list(generate(network(), LETTERS, cfg, constraints=constraints))
    for pieces in zip(*(step.pieces for step in steps), strict=True):
        text = "".join(pieces)
        assert not copied("ad" + text, WORDS, 3)
        assert re.match("([a-f]{2} )*([a-f]{0,2})$", text)


# Where a text ends by a limit, that is where it stands


def assert_stands_at(place, text, cfg):
    """A place is that of a text: the scores there are those that follow the text."""
    expected = begin(network(), LETTERS, [text], cfg)
    np.testing.assert_allclose(place.logits_BV, expected.logits_BV, rtol=0, atol=1e-12)
    known = place.ids_BL[0][place.ids_BL[0] != NOTHING]
    assert LETTERS.decode(known) == text


def test_a_text_that_ended_by_its_length_stands_at_its_end():
    cfg = config(length=9, prime="dad")
    *_, step = generate(network(), LETTERS, cfg)
    text = "dad" + written(cfg)[0][0]
    assert_stands_at(step.continuation, text, cfg)


def test_a_text_that_ended_by_its_match_stands_at_its_end():
    """What was drawn to find out that there is no way on does not belong to it."""
    cfg = config(length=9, prime="dad", match=" bad")
    *_, step = generate(network(), LETTERS, cfg)
    assert step.ends == ["match"]
    assert_stands_at(step.continuation, "dad bad", cfg)


def test_a_text_that_ended_for_want_of_anything_new_stands_at_its_end():
    cfg = config(length=9, prime="dad", only="a")
    constraints = Constraints.of(LETTERS, cfg, spans_of("aa", 2))
    *_, step = generate(network(), LETTERS, cfg, constraints=constraints)
    assert step.ends == ["novel"]
    assert_stands_at(step.continuation, "dada", cfg)


def test_rows_that_ended_earlier_stand_at_their_ends_too():
    """However long the others went on."""
    cfg = config(num=8, length=12, temperature=2.0, prime="dad", match="a|b{5}|c{9}")
    *_, step = generate(network(), LETTERS, cfg)
    texts, _ = written(cfg)
    assert len(set(map(len, texts))) == 3
    for row, text in enumerate(texts):
        assert_stands_at(step.continuation.take([row]), "dad" + text, cfg)


@pytest.mark.parametrize("look_back", [2, 8, 20])
def test_a_row_may_end_at_once_whatever_was_looked_back_on_before(look_back):
    """After a nothing new can follow, after b anything but a."""
    letters = CharTokenizer.from_text("abc")
    spans = Spans.of(letters.encode("aabaca"), 2)
    start = begin(network(letters), letters, ["ca", "b"], config(look_back=8))
    cfg = config(look_back=look_back, length=5, mirostat=2.0)
    texts, ends = written(cfg, spans, letters, start)
    assert (texts[0], len(texts[1]), ends) == ("", 5, ["novel", "length"])


# A model and its training text


def checkpoint(text=WORDS):
    data = text.encode()
    identity = TextIdentity("words.txt", len(data), hashlib.sha256(data).hexdigest())
    return random_checkpoint(LETTERS, Metadata(identity), scale=0.8)


@pytest.fixture
def folder(tmp_path):
    """A model and, beside it, the text that it was trained on."""
    checkpoint().save(tmp_path / "best.safetensors")
    (tmp_path / "words.txt").write_bytes(WORDS.encode())
    return tmp_path


def test_a_loaded_model_copies_nothing_of_its_text(folder):
    model, text = load(folder), str(folder / "words.txt")
    options = {"novel": 3, "novel_text": text, "length": 80, "seed": 1}
    found = model.sample("a cab", **options)
    assert len(found) == 85 and not copied(found[3:], WORDS, 3)
    for one in model.batch("a cab", num=3, **options):
        assert not copied(one[3:], WORDS, 3)
    assert len(model.longest_copied(found[5:], text)) <= 2


def test_the_index_is_kept_and_used_without_the_text(folder):
    model, text = load(folder), folder / "words.txt"
    options = {"novel": 3, "length": 40, "seed": 1}
    first = model.sample(novel_text=str(text), **options)
    assert (folder / "novel-3.safetensors").exists()
    text.unlink()
    assert model.sample(**options) == first


def test_another_text_or_none_is_an_error(folder):
    model = load(folder)
    with pytest.raises(UsageError, match="does not know where its text"):
        model.sample(novel=3)
    (folder / "other.txt").write_text("something else")
    with pytest.raises(TextError, match="not the text that was trained on"):
        model.sample(novel=3, novel_text=str(folder / "other.txt"))
    with pytest.raises(UsageError, match="has no file"):
        TextModel(checkpoint()).sample(novel=3)


def test_a_novel_text_goes_on_as_if_it_had_not_stopped(folder):
    model = load(folder)
    options = {"novel": 3, "novel_text": str(folder / "words.txt")}
    whole = model.sample("a cab", length=60, seed=1, **options)
    text = model.sample("a cab", length=25, seed=1, **options)
    assert text + model.sample(length=35, state=model.state, **options) == whole


def test_a_prime_in_two_halves_counts_as_far_back_as_the_option_says(folder):
    """A span of 1,500 characters begins before the last 1,024 of its prime."""
    text = "".join(np.random.default_rng(0).choice(list("abcdef"), 1500))
    checkpoint(text).save(folder / "best.safetensors")
    (folder / "words.txt").write_bytes(text.encode())
    model, prime, last = load(folder), text[:-1], text[-1]
    options = {"novel": 1500, "novel_text": str(folder / "words.txt"), "look_back": 1500}
    options |= {"bias": (f"{last}:99",), "seed": 1}
    assert model.sample(prime[1:], length=1, **options)[-1] == last
    assert model.sample(prime, length=1, **options)[-1] != last
    model.sample(prime[:9], length=0, **options)
    assert model.sample(prime[9:], state=model.state, length=1, **options)[-1] != last


# Bytes and pieces under patterns and against copies


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_needs_a_model_of_characters(kind):
    model = TextModel(random_checkpoint(learn_tokenizer(kind, UNITS)))
    with pytest.raises(UsageError, match="works with characters") as caught:
        model.sample(match="a+")
    assert caught.value.subject == "--match"


def test_bytes_copy_no_span_of_the_training_text(tmp_path):
    """Where a copy could be gone on with only, the text ends before a broken character."""
    (tmp_path / "words.txt").write_text(UNITS, "utf-8", newline="")
    metadata = Metadata(corpus.read(tmp_path / "words.txt").identity())
    made = random_checkpoint(learn_tokenizer("byte", UNITS))
    made = dataclasses.replace(made, metadata=metadata)
    made.save(tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors")
    options = {"novel_text": str(tmp_path / "words.txt"), "seed": 1, "temperature": 0.7}
    free = model.batch(num=20, length=60, **options)
    assert any(copied(text, UNITS, 3) for text in free)
    for text in model.batch(num=20, length=60, novel=3, **options):
        assert not copied(text.encode(), UNITS.encode(), 3)
        assert "\ufffd" not in text


def test_pieces_spell_a_copy_in_many_ways_so_it_cannot_be_barred(tmp_path):
    made = random_checkpoint(learn_tokenizer("bpe", UNITS))
    made = dataclasses.replace(made, metadata=Metadata(TextIdentity("a", 1, "b")))
    made.save(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="this model writes pieces") as caught:
        load(tmp_path / "model.safetensors").sample(novel=5)
    assert caught.value.subject == "--novel"
