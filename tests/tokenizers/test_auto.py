"""Any tokenizer: the one that a run asks for, and the one that a file holds."""

import numpy as np
import pytest

from textgen.errors import UsageError
from textgen.tokenizers.auto import from_tensors, merge_alphabets, tokenizer_for
from textgen.tokenizers.base import BOUNDARY
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer

TEXT = "\n".join(f"{n} to be, or not to be: that is question {n * n}, \u00e9" for n in range(99))


def learn_pieces(size=300):
    tokenizer, _ = SentencePieceTokenizer.train(TEXT, "bpe", size)
    return tokenizer.with_counts(np.ones(tokenizer.size, np.uint64))


# For a run


def choose(kind, first=None, marked=False, vocab_size=None):
    """The tokenizer of a run on TEXT."""

    def alphabet():
        return CharTokenizer.from_text(TEXT, marked)

    return tokenizer_for(kind, vocab_size, marked, first, alphabet, iter([TEXT]))


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("kind", [None, "char", "byte", "bpe", "unigram"])
def test_a_run_gets_the_kind_that_it_asks_for(kind, marked):
    tokenizer, notes = choose(kind, marked=marked, vocab_size=290)
    names = {None: "char", "bpe": "sentencepiece", "unigram": "sentencepiece"}
    assert tokenizer.kind == names.get(kind, kind)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert (tokenizer.boundary_id is not None) == marked
    if tokenizer.kind == "sentencepiece":
        assert tokenizer.size == 290 + marked
        assert tokenizer.model_type == kind
    assert notes == []


def test_what_learning_has_to_say_is_handed_on():
    tokenizer, notes = choose("bpe", vocab_size=4000)
    assert notes == [f"{tokenizer.size} pieces: the text has no more"]


def test_a_run_from_a_checkpoint_keeps_its_units_whatever_is_asked_for():
    pieces = learn_pieces()
    tokenizer, _ = choose("bpe", pieces, vocab_size=280)
    assert (tokenizer.model, tokenizer.counts.any()) == (pieces.model, False)
    tokenizer, _ = choose("bpe", CharTokenizer.from_text("xyz"))
    assert set(tokenizer.alphabet) == set("xyz" + TEXT)


def test_a_checkpoint_of_records_starts_no_run_on_one_text():
    with pytest.raises(UsageError, match="give --records too"):
        choose(None, CharTokenizer.from_text("abc", marked=True))


@pytest.mark.parametrize("marked", [False, True])
def test_merging_counts_only_the_first_alphabet(marked):
    own, other = CharTokenizer.from_text("bbd", marked), CharTokenizer.from_text("abce")
    merged = merge_alphabets(own, other)
    assert merged.alphabet == "abcde"
    assert merged.counts.tolist() == [0, 0, 2, 0, 1, 0] + [0] * marked
    assert merged.boundary_id == (6 if marked else None)


# From a file


KINDS = {
    "char": CharTokenizer.from_text("abcé"),
    "byte": ByteTokenizer(np.ones(256, np.uint64)),
    "sentencepiece": learn_pieces(),
}


def with_mark(tokenizer):
    counts = np.append(tokenizer.counts, np.uint64(3))
    if tokenizer.kind == "char":
        return CharTokenizer(tokenizer.codepoints, counts, marked=True)
    if tokenizer.kind == "byte":
        return ByteTokenizer(counts, marked=True)
    return SentencePieceTokenizer(tokenizer.model, counts, marked=True)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_is_its_arrays(kind, marked):
    tokenizer = with_mark(KINDS[kind]) if marked else KINDS[kind]
    found = from_tensors(kind, tokenizer.tensors(), tokenizer.size, marked)
    assert found.kind == kind
    assert found.symbols() == tokenizer.symbols()
    assert found.counts.tolist() == tokenizer.counts.tolist()
    assert (found.size, found.boundary_id) == (tokenizer.size, tokenizer.boundary_id)
    assert found.encode("abcé").tolist() == tokenizer.encode("abcé").tolist()
    assert found.describe() == tokenizer.describe()
    assert len(found.symbols()) == len(found.chars_V) == len(found.counts) == found.size


@pytest.mark.parametrize("kind", KINDS)
def test_a_boundary_is_the_last_id_and_stands_for_no_text(kind):
    plain, marked = KINDS[kind], with_mark(KINDS[kind])
    assert marked.boundary_id == plain.size == marked.size - 1
    assert marked.symbols() == [*plain.symbols(), BOUNDARY]
    assert marked.chars_V[marked.boundary_id] == 0
    ids = [*marked.encode("ab"), marked.boundary_id, *marked.encode("c")]
    assert marked.decode(ids) == "abc"
    decoder = marked.decoder()
    assert "".join(decoder.feed(int(one)) for one in ids) == "abc"
    counts = np.arange(marked.size)
    assert marked.with_counts(counts).counts.tolist() == counts.tolist()
    assert marked.with_counts(counts).boundary_id == marked.boundary_id


@pytest.mark.parametrize("kind", KINDS)
def test_symbols_are_what_the_ids_decode_to(kind):
    tokenizer = KINDS[kind]
    for one, symbol in enumerate(tokenizer.symbols()):
        unknown = one == 0 and kind == "char"
        expected = "\ufffd" if unknown else symbol.decode("utf-8", "replace")
        assert tokenizer.decode([one]) == expected


@pytest.mark.parametrize(
    "kind, change",
    [
        ("byte", {"counts": np.ones(255, np.uint64)}),
        ("byte", {"counts": np.ones(256, np.int64)}),
        ("byte", {"counts": np.zeros(256, np.uint64)}),
        ("char", {"counts": np.array([5, 0, 0, 0, 0], np.uint64)}),
        ("sentencepiece", {"counts": np.eye(1, 500, dtype=np.uint64)[0]}),
        ("sentencepiece", {"model": np.zeros(0, np.uint8)}),
        ("sentencepiece", {"model": np.zeros(100, np.uint8)}),
        ("sentencepiece", {"model": np.zeros((10, 10), np.uint8)}),
        ("sentencepiece", {"model": np.zeros(100, np.int64)}),
        ("sentencepiece", {"model": None}),
        ("sentencepiece", {"model": learn_pieces(501).tensors()["model"]}),
        ("char", {"codepoints": None}),
        ("char", {"codepoints": np.array([97, 98, 99, 0xD800], np.uint32)}),
        ("char", {"codepoints": np.array([97, 98, 99, 0xDFFF], np.uint32)}),
        ("char", {"codepoints": np.array([97, 98, 99, 0x110000], np.uint32)}),
        ("char", {"codepoints": np.array([97, 99, 98, 233], np.uint32)}),
        ("byte", {"counts": None}),
    ],
)
def test_arrays_that_cannot_be_are_refused(kind, change):
    tensors = {**KINDS[kind].tensors(), **change}
    tensors = {name: array for name, array in tensors.items() if array is not None}
    with pytest.raises(ValueError):
        from_tensors(kind, tensors, KINDS[kind].size)


@pytest.mark.parametrize("kind", [None, "", "word", 5, ["byte"]])
def test_another_kind_is_refused(kind):
    with pytest.raises(ValueError, match="alphabet"):
        from_tensors(kind, KINDS["byte"].tensors(), 256)
