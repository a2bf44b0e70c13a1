"""Baselines against calculations by hand, the protocol that networks have, and the compressors."""

import json
import lzma
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis import baselines
from textgen.analysis.baselines import PPMD_ORDERS, measure_baselines, measure_ppmd, ppmd, xz, zstd
from textgen.engine.ngrams import NGrams
from textgen.engine.smoothing import DISCOUNTS_C4, NOVEL
from textgen.evaluation.protocols import measure_text
from textgen.tokenizers.char import CharTokenizer


@pytest.fixture(autouse=True)
def no_extras(monkeypatch):
    """These packages may or may not be installed; a test that wants one says so."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "pyppmd", None)


@pytest.fixture
def pyppmd(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyppmd")
    return pytest.importorskip("pyppmd")


def random_text(n, seed, alphabet="eeeeaaattnn hs\n"):
    return "".join(np.random.default_rng(seed).choice(list(alphabet), n))


def size(text):
    return len(lzma.compress(text.encode(), preset=6))


def test_order_0_is_the_unigram_model_by_hand():
    """Counts 1, 2, 3 and 4 once each; what is taken off them is shared by all."""
    found = measure_baselines("a" + "b" * 2 + "c" * 3 + "d" * 4, "dab", "abcd")
    one, two, more = DISCOUNTS_C4[NOVEL, 1:]
    each = (one + two + 2 * more) / 10 / 5  # ten characters; the alphabet and <unk>
    first = (4 + 1) / (10 + 5)  # of a text: from the counts plus one
    p_a, p_b = (1 - one) / 10 + each, (2 - two) / 10 + each
    wanted = -(math.log2(first) + math.log2(p_a) + math.log2(p_b)) / 3
    assert found.ngrams[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("order", [0, 1, 5])
def test_an_order_is_the_protocol_of_networks_on_n_grams(order):
    """One stream over everything is the definition; what is measured are several."""
    train, val = random_text(5000, 1), random_text(4200, 2)
    tokenizer = CharTokenizer.from_text(train)
    model = NGrams.count(tokenizer.encode(train), tokenizer.size, order)
    wanted = measure_text(model, tokenizer, val, "stateful").bits_per_char
    assert measure_baselines(train, val, train).ngrams[order] == pytest.approx(wanted, rel=1e-9)


def test_a_character_that_training_lacks_costs_which_one_it_is():
    train = random_text(3000, 1)
    known, unknown = (measure_baselines(train, val, train).ngrams[0] for val in ("ee", "e?"))
    assert 2 * unknown - 2 * known > math.log2(0x110000)


def test_more_context_helps_where_text_repeats():
    train = "the cat sat on the mat\n" * 50
    found = measure_baselines(train, train[:200], train).ngrams
    assert list(found) == list(range(6))
    assert found[0] > 2 * found[1] > 4 * found[3] > 0


def test_a_large_alphabet_has_every_order():
    train = "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
    found = measure_baselines(train, train[:10], train).ngrams
    assert list(found) == list(range(6))
    assert all(math.isfinite(bits) for bits in found.values())


def test_xz_is_charged_what_the_validation_part_adds():
    train, val, test = random_text(4000, 1), random_text(1000, 2), random_text(500, 3)
    found = measure_baselines(train, val, train + val + test)
    assert found.compressors == {"xz": 8 * (size(train + val) - size(train)) / 1000, "zstd": None}
    assert found.whole == {"xz": 8 * size(train + val + test) / 5500, "zstd": None}


def test_bits_a_byte_divide_by_the_bytes():
    val = "aé€\U0001f917" * 3
    found = measure_baselines("aé€\U0001f917" * 50, val, val)
    assert (found.val_chars, found.val_bytes) == (12, 3 * (1 + 2 + 3 + 4))
    assert found.per_byte(5.0) == 2.0
    made = found.to_json()
    assert made["ngrams_per_byte"]["3"] == pytest.approx(found.ngrams[3] * 12 / 30)
    assert made["compressors_per_byte"]["xz"] == pytest.approx(found.compressors["xz"] * 12 / 30)
    assert made["compressors_per_byte"]["zstd"] is None
    assert json.loads(json.dumps(made)) == made


def test_only_stated_pieces_of_a_long_text_are_read(monkeypatch):
    train, val = random_text(4000, 1), random_text(3000, 2)
    monkeypatch.setattr(baselines, "MOST_COMPRESSED_BYTES", 700)
    monkeypatch.setattr(baselines, "MOST_MEASURED", 500)
    monkeypatch.setattr(baselines, "MOST_COUNTED", 900)
    found = measure_baselines(train, val, train + val)
    assert (found.train_chars, found.train_bytes, found.val_chars) == (900, 700, 500)
    assert found.whole_bytes == 700
    known = train[-700:]
    assert found.compressors["xz"] == 8 * (size(known + val[:500]) - size(known)) / 500
    assert found.whole["xz"] == 8 * size(train[:700]) / 700
    # The alphabet is that of the whole training part, all else of what is read.
    tokenizer = CharTokenizer.from_text(train)
    ids, others = tokenizer.encode(train[-900:]), tokenizer.encode(val[:500])
    assert found.ngrams[2] == baselines.ngram_bits(ids, others, tokenizer.counts, 2)


def test_a_cut_within_a_character_counts_the_characters_that_begin(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_COMPRESSED_BYTES", 5)
    found = measure_baselines("é" * 10, "é", "é" * 10)
    data = ("é" * 10).encode()[:5]
    assert found.whole["xz"] == 8 * len(lzma.compress(data, preset=6)) / 3


@pytest.mark.parametrize("train, val", [("", "ab"), ("ab", ""), ("", "")])
def test_without_training_or_validation_there_is_nothing_to_measure(train, val):
    assert measure_baselines(train, val, train + val) is None


@pytest.mark.slow
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_every_figure_is_a_number_however_short_the_text(train, val):
    found = measure_baselines(train, val, train + val)
    figures = [*found.ngrams.values(), found.whole["xz"]]
    assert all(math.isfinite(bits) and bits > 0 for bits in figures)
    assert math.isfinite(found.compressors["xz"])


def test_zstd_is_used_where_it_is_installed(monkeypatch):
    """A stand-in that drops every second byte, at the level that the report names."""

    class Halving:
        def __init__(self, level):
            assert level == baselines.ZSTD_LEVEL

        def compress(self, data):
            return data[::2]

    package = types.SimpleNamespace(ZstdCompressor=Halving)
    monkeypatch.setitem(sys.modules, "zstandard", package)
    found = measure_baselines("a" * 100, "a" * 50, "a" * 150)
    assert found.compressors["zstd"] == found.whole["zstd"] == 4
    assert found.to_json()["compressors_per_byte"]["zstd"] == 4


def test_the_installed_zstd_compresses_without_loss(monkeypatch):
    monkeypatch.delitem(sys.modules, "zstandard")
    zstandard = pytest.importorskip("zstandard")
    data = random_text(5000, 1).encode()
    assert zstandard.ZstdDecompressor().decompress(zstd()(data)) == data
    assert len(zstd()(data)) < 4000


def test_xz_files_are_those_that_xz_reads():
    data = random_text(5000, 1).encode()
    assert lzma.decompress(xz(data)) == data


# PPMd


def words(n, seed):
    """Text of the kind that PPMd is made for: words, each with its own frequency."""
    draw = np.random.default_rng(seed)
    spelled = ["".join(draw.choice(list("abcdefgh"), draw.integers(2, 9))) for _ in range(200)]
    return " ".join(draw.choice(spelled, n, p=np.arange(1, 201) / 20_100))


def test_ppmd_is_charged_what_the_validation_part_adds_at_the_best_order(pyppmd):
    text = words(3000, 1)
    train, val = text[:-2000].encode(), text[-2000:].encode()

    def added(order):
        options = {"max_order": order, "mem_size": 1 << 28, "variant": "H"}
        whole, known = (pyppmd.compress(data, **options) for data in (train + val, train))
        return 8 * (len(whole) - len(known)) / 2000

    found = measure_baselines(text[:-2000], text[-2000:], text).ppmd
    assert found.bits == min(map(added, PPMD_ORDERS)) == added(found.order)
    assert found.nats == pytest.approx(found.bits * math.log(2))
    assert found.train_bytes == len(train)
    assert measure_ppmd(train, val, 2000, [2]).bits == added(2) > found.bits


def test_ppmd_compresses_without_loss(pyppmd):
    data = words(2000, 1).encode()
    for order in (2, 16, 64):
        packed = ppmd()(data, order)
        # The decoder has the size of the memory that the encoder had, as in an archive of 7-Zip.
        decoder = pyppmd.Ppmd7Decoder(order, max(1 << 20, 12 * (order + 2) * len(data)))
        assert decoder.decode(packed, len(data)) == data
        assert len(packed) < len(data) / 2


@pytest.mark.parametrize("order", [4, 16, 32])
def test_ppmd_never_forgets_for_want_of_memory(pyppmd, order):
    """What comes a second time needs the most: each of its bytes makes contexts of all orders."""
    once = np.random.default_rng(0).bytes(60_000)
    plenty = pyppmd.compress(once * 2, max_order=order, mem_size=1 << 30, variant="H")
    scarce = pyppmd.compress(once * 2, max_order=order, mem_size=1 << 20, variant="H")
    assert ppmd()(once * 2, order) == plenty != scarce


def test_ppmd_reads_a_stated_end_of_the_training_part(pyppmd, monkeypatch):
    train, val = words(2000, 1), words(300, 2)
    monkeypatch.setattr(baselines, "MOST_PPMD_BYTES", 700)
    found = measure_baselines(train, val, train + val).ppmd
    assert found == measure_ppmd(train[-700:].encode(), val.encode(), len(val), PPMD_ORDERS)
    assert found.train_bytes == 700


def test_ppmd_stands_in_json_in_all_units(pyppmd):
    train, val = "a\u00e9 b\u00e9\n" * 30, "b\u00e9 a\u00e9 a\u00e9"
    found = measure_baselines(train, val, train)
    made = json.loads(json.dumps(found.to_json()))["ppmd"]
    assert list(made) == ["bits", "order", "train_bytes", "nats", "bits_per_byte"]
    assert made["bits_per_byte"] == pytest.approx(found.ppmd.bits * 8 / 11)
    assert made["nats"] == found.ppmd.nats


def test_without_pyppmd_there_is_no_figure():
    found = measure_baselines("ab" * 50, "ab", "ab")
    assert ppmd() is found.ppmd is found.to_json()["ppmd"] is None


def test_ppmd_has_a_figure_however_short_the_text(pyppmd):
    for train, val in [("a", "b"), ("\0", "\0"), ("a", "\U0001f917" * 20), ("ab" * 9, "\0")]:
        assert math.isfinite(measure_baselines(train, val, train).ppmd.bits)
