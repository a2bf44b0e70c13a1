"""The filters against those of Hugging Face's transformers, where that is installed.

A case is left out where Hugging Face itself would keep other characters if the scores moved by
1e-6: near such a boundary, and among equals, libraries may differ (docs/sampling.md says how).
"""

from types import SimpleNamespace

import naive
import numpy as np
import pytest
import torch

from textgen.config.sample import SampleConfig
from textgen.engine.network import log_softmax
from textgen.sampling import filters
from textgen.sampling.chain import Context, apply_filters, select_filters
from textgen.sampling.filters import History

transformers = pytest.importorskip("transformers")

INF = np.inf
MARGIN = 1e-6
ROWS = 40
VOCABS = (3, 30, 97)
ALONE = {
    "temperature": (transformers.TemperatureLogitsWarper, [0.1, 0.5, 0.8, 1.3, 10.0]),
    "top_k": (transformers.TopKLogitsWarper, [1, 2, 5, 20, 1000]),
    "top_p": (transformers.TopPLogitsWarper, [0.05, 0.3, 0.7, 0.9, 0.999]),
    "min_p": (transformers.MinPLogitsWarper, [0.001, 0.05, 0.2, 0.6, 1.0]),
    "typical_p": (transformers.TypicalLogitsWarper, [0.05, 0.3, 0.7, 0.9, 0.999]),
    "epsilon_cutoff": (transformers.EpsilonLogitsWarper, [3e-4, 0.01, 0.03, 0.2, 0.9]),
    "eta_cutoff": (transformers.EtaLogitsWarper, [3e-4, 0.01, 0.03, 0.2, 0.9]),
    "repetition_penalty": (transformers.RepetitionPenaltyLogitsProcessor, [0.3, 0.9, 1.2, 2.0, 50]),
    "no_repeat_ngram": (transformers.NoRepeatNGramLogitsProcessor, [1, 2, 3, 4, 9]),
}
SETTINGS = [(name, value) for name, (_, values) in ALONE.items() for value in values]
COMBINATIONS = 80


def make_cases(vocab, seed):
    """Scores (B, V) of many kinds, and ids (B, L) that repeat themselves."""
    draw = np.random.default_rng(seed)
    logits_BV = draw.normal(size=(ROWS, vocab)) * draw.choice([0.3, 1, 3, 10], size=(ROWS, 1))
    logits_BV[::5] = np.round(logits_BV[::5])  # equals
    logits_BV[1::10] *= 1000  # all but certain
    barred = draw.random((ROWS, vocab)) < draw.choice([0.0, 0.0, 0.5, 0.9], size=(ROWS, 1))
    barred[np.arange(ROWS), draw.integers(vocab, size=ROWS)] = False
    ids_BL = draw.integers(draw.choice([1, 2, 4], size=(ROWS, 1)), size=(ROWS, 12)) % vocab
    return np.where(barred, -INF, logits_BV), ids_BL


def theirs(processor, logits_BV, ids_BL):
    return processor(torch.from_numpy(ids_BL), torch.from_numpy(logits_BV.copy())).numpy()


def certain(processor, logits_BV, ids_BL):
    """Which rows (B,) Hugging Face leaves something of, and the same if scores move a little."""
    kept_BV = theirs(processor, logits_BV, ids_BL) > -INF
    sure_B = kept_BV.any(1)
    noise = np.random.default_rng(0).uniform(-MARGIN, MARGIN, size=(2, *logits_BV.shape))
    for moved in (*(logits_BV + noise), *(logits_BV - noise)):  # both ways: any equals change
        sure_B &= ((theirs(processor, moved, ids_BL) > -INF) == kept_BV).all(1)
    return sure_B


def assert_as_theirs(found_BV, processor, logits_BV, ids_BL, tolerance=1e-12):
    """Compare the rows that are certain; return how many these are."""
    sure_B = certain(processor, logits_BV, ids_BL)
    found_BV, expected_BV = found_BV[sure_B], theirs(processor, logits_BV, ids_BL)[sure_B]
    np.testing.assert_array_equal(found_BV > -INF, expected_BV > -INF)
    chances_BV = torch.from_numpy(expected_BV).softmax(-1).numpy()
    np.testing.assert_allclose(naive.softmax(found_BV), chances_BV, rtol=0, atol=tolerance)
    return sure_B.sum()


def call(name, value, logits_BV, ids_BL):
    """One of our filters by its name."""
    vocab = logits_BV.shape[1]
    past = History(ids_BL, ids_BL.shape[1] + 3, vocab)
    before = {"repetition_penalty": (past.counts_BV,), "no_repeat_ngram": (past.ids_BL,)}
    return getattr(filters, name)(logits_BV, *before.get(name, ()), value)


def processor_of(name, value):
    kind, _ = ALONE[name]
    return kind(float(value) if name == "repetition_penalty" else value)


# One at a time: 5 values of each of 9 filters on 120 rows are 5,400 cases


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_each_filter_keeps_the_same_with_the_same_probabilities(name, value):
    processor, compared = processor_of(name, value), 0
    for seed, vocab in enumerate(VOCABS):
        logits_BV, ids_BL = make_cases(vocab, seed)
        found_BV = call(name, value, logits_BV, ids_BL)
        compared += assert_as_theirs(found_BV, processor, logits_BV, ids_BL)
    assert compared >= 0.8 * ROWS * len(VOCABS) or (name, value) == ("no_repeat_ngram", 1)


def test_where_theirs_leaves_nothing_ours_leaves_the_likeliest():
    logits_BV, ids_BL = make_cases(3, 0)
    ids_BL[:, :3] = range(3)
    processor = processor_of("no_repeat_ngram", 1)
    assert (theirs(processor, logits_BV, ids_BL) == -INF).all()
    kept_BV = call("no_repeat_ngram", 1, logits_BV, ids_BL) > -INF
    assert kept_BV.sum(1).tolist() == [1] * ROWS
    assert (kept_BV.argmax(1) == logits_BV.argmax(1)).all()


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("temperature", 0.5, ("temperature", 0.501)),
        ("top_k", 5, ("top_k", 6)),
        ("top_p", 0.7, ("top_p", 0.69)),
        ("top_p", 0.7, ("typical_p", 0.7)),
        ("min_p", 0.2, ("min_p", 0.21)),
        ("typical_p", 0.7, ("typical_p", 0.69)),
        ("epsilon_cutoff", 0.03, ("eta_cutoff", 0.03)),
        ("eta_cutoff", 0.2, ("epsilon_cutoff", 0.2)),
        ("repetition_penalty", 1.2, ("repetition_penalty", 1 / 1.2)),
        ("no_repeat_ngram", 3, ("no_repeat_ngram", 2)),
    ],
)
def test_a_filter_that_is_slightly_wrong_is_noticed(name, value, wrong):
    logits_BV, ids_BL = make_cases(97, 2)
    found_BV = call(*wrong, logits_BV, ids_BL)
    with pytest.raises(AssertionError):
        assert_as_theirs(found_BV, processor_of(name, value), logits_BV, ids_BL)


# Together, in the order in which Hugging Face's generate itself puts them: 3,200 cases


def their_chain(options, bias_V):
    """The processors that generate would make of these options."""
    names = {"no_repeat_ngram": "no_repeat_ngram_size"}
    given = {names.get(name, name): value for name, value in options.items() if name != "bias"}
    if "bias" in options:
        given["sequence_bias"] = [[[one], float(bias)] for one, bias in enumerate(bias_V)]
    config = transformers.GenerationConfig(**{"do_sample": True, "top_k": 0, **given})
    model = SimpleNamespace(
        config=SimpleNamespace(is_encoder_decoder=False),
        _merge_criteria_processor_list=lambda own, others: own,
    )
    return transformers.GenerationMixin._get_logits_processor(model, config, 1, device="cpu")


CHOICES = {
    "bias": [("a:1",)],
    "repetition_penalty": [0.8, 1.2, 2.0],
    "no_repeat_ngram": [2, 3, 5],
    "temperature": [0.3, 0.8, 1.5],
    "top_k": [3, 10, 50],
    "top_p": [0.5, 0.9, 0.99],
    "min_p": [0.01, 0.1],
    "typical_p": [0.4, 0.9],
    "epsilon_cutoff": [0.001, 0.02],
    "eta_cutoff": [0.001, 0.02],
}


def make_options(number):
    draw = np.random.default_rng(number)
    chosen = [name for name in CHOICES if number == 0 or draw.random() < 0.5]
    return {name: CHOICES[name][draw.integers(len(CHOICES[name]))] for name in chosen}


def ours(options, logits_BV, ids_BL, bias_V, look_back):
    config = SampleConfig(**{"temperature": 1.0, **options})
    past = History(ids_BL, look_back, logits_BV.shape[1])
    context = Context(bias_V, past, np.zeros(len(logits_BV)))
    return apply_filters(logits_BV, config, context, select_filters(config))


@pytest.mark.parametrize("part", range(4))
def test_every_combination_keeps_the_same_with_the_same_probabilities(part):
    compared = 0
    for number in range(part, COMBINATIONS, 4):
        options, vocab = make_options(number), VOCABS[1 + number % 2]
        logits_BV, ids_BL = make_cases(vocab, 100 + number)
        logs_BV = log_softmax(logits_BV)
        bias_V = np.random.default_rng(number).normal(size=vocab)
        look_back = [5, 12, 20][number % 3]
        found_BV = ours(options, logs_BV, ids_BL, bias_V, look_back)
        processors, ids_BL = their_chain(options, bias_V), ids_BL[:, -look_back:]
        # Theirs adds biases in float32.
        compared += assert_as_theirs(found_BV, processors, logs_BV, ids_BL, tolerance=1e-6)
    assert compared >= 0.8 * ROWS * COMBINATIONS / 4


def test_the_order_is_that_of_their_generate():
    options = make_options(0)
    names = [type(one).__name__ for one in their_chain(options, np.zeros(3))]
    functions = {kind.__name__: name for name, (kind, _) in ALONE.items()}
    functions["SequenceBiasLogitsProcessor"] = "bias"
    steps = select_filters(SampleConfig(**options))
    assert [functions[name] for name in names] == [one.function.__name__ for one in steps]


# The hand-made cases of transformers' tests/generation/test_logits_process.py

RAMP = np.arange(10.0)
HAND_MADE = [
    ("top_k", 3, np.exp(RAMP - 10), [7, 8, 9]),
    ("top_k", 3, np.exp(RAMP - 20 + 10 * (RAMP < 5)), [2, 3, 4]),
    ("top_p", 0.8, [0.3, 0.1, 0.1, 0.5], [0, 3]),
    ("top_p", 0.8, [0.15, 0.3, 0.3, 0.25], [1, 2, 3]),
    ("top_p", 0.9, np.exp(RAMP - 5), [7, 8, 9]),
    ("top_p", 0.9, np.exp(100 * (RAMP - 9)), [9]),
    ("min_p", 0.05, [0.9, 0.0274, 0.047, 0.0274], [0, 2]),
    ("min_p", 0.05, [0.15, 0.3, 0.3, 0.25], [0, 1, 2, 3]),
    ("min_p", 0.05, [0.97, 0.01, 0.01, 0.01], [0]),
    ("min_p", 0.9, np.exp(RAMP - 5), [9]),
    ("typical_p", 0.5, [0.97, 0.01, 0.01, 0.01], [0]),
    ("typical_p", 0.5, [0.4, 0.2, 0.2, 0.2], [1, 2, 3]),
    ("typical_p", 0.7, np.exp(RAMP - 5), [8, 9]),
    ("typical_p", 0.7, np.exp(100 * (RAMP - 9)), [9]),
    ("epsilon_cutoff", 0.1, [0.87, 0.099, 0.001, 0.03], [0]),
    ("epsilon_cutoff", 0.1, [0.4, 0.299, 0.101, 0.2], [0, 1, 2, 3]),
    ("epsilon_cutoff", 0.05, np.exp(RAMP - 5), [7, 8, 9]),
    ("epsilon_cutoff", 0.05, np.exp(100 * (RAMP - 9)), [9]),
    ("eta_cutoff", 0.0625, [0.0, 0.1, 0.8, 0.1], [1, 2, 3]),
    ("eta_cutoff", 0.0625, [0.01, 0.04, 0.9, 0.05], [2]),
    ("eta_cutoff", 0.1, np.exp(RAMP - 5), [8, 9]),
    ("eta_cutoff", 0.1, np.exp(100 * (RAMP - 9)), [9]),
]


@pytest.mark.parametrize(("name", "value", "weights", "expected"), HAND_MADE)
def test_their_hand_made_distributions_keep_what_they_say(name, value, weights, expected):
    with np.errstate(divide="ignore"):
        scores = np.log(np.asarray(weights)[None])
    found = call(name, value, scores, np.zeros((1, 1), dtype=np.int64))
    assert np.flatnonzero(found[0] > -INF).tolist() == expected
    np.testing.assert_array_equal(found[0, expected], scores[0, expected])
    single = scores.astype(np.float32)  # as there; in float64 0.3 + 0.5 does not make 0.8 there
    kept = theirs(processor_of(name, value), single, np.zeros((1, 1), dtype=np.int64)) > -INF
    assert np.flatnonzero(kept[0]).tolist() == expected


@pytest.mark.parametrize(
    ("ids", "size", "barred"),
    [
        ([1, 1, 2, 1], 2, [1, 2]),
        ([0, 1, 0, 1], 2, [0]),
        ([1, 1, 2, 1], 3, []),
        ([0, 1, 0, 1], 3, [0]),
        ([1, 2, 5, 7, 8, 5, 1, 2], 3, [5]),
        ([1, 2], 3, []),
        ([0, 1], 3, []),
    ],
)
def test_their_hand_made_spans_bar_what_they_say(ids, size, barred):
    scores = np.full((1, 10), 0.1)
    found = call("no_repeat_ngram", size, scores, np.array([ids]))
    assert np.flatnonzero(found[0] == -INF).tolist() == barred


def test_their_hand_made_repetitions_are_penalised_as_they_say():
    scores = np.full((2, 10), 0.1)
    scores[0, 0], scores[1, 5] = -0.1, 0.4
    found = call("repetition_penalty", 2.0, scores, np.array([[0, 1], [5, 0]]))
    expected = scores.copy()
    expected[0, :2], expected[1, [0, 5]] = [-0.2, 0.05], [0.05, 0.2]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_their_hand_made_biases_are_added():
    found = filters.bias(np.zeros((2, 5)), np.array([0.0, 100.0, 0.0, 0.0, 100.0]))
    assert found.tolist() == [[0, 100, 0, 0, 100]] * 2


@pytest.mark.parametrize(("value", "sharper"), [(0.5, True), (1.3, False)])
def test_their_hand_made_peaks_and_valleys_change_as_they_say(value, sharper):
    scores = np.full((2, 20), 1 / 20)
    scores[1, 5], scores[1, 10] = 1 / 20 + 0.1, 1 / 20 - 0.4
    before, after = naive.softmax(scores), naive.softmax(filters.temperature(scores, value))
    np.testing.assert_allclose(after[0], before[0], rtol=1e-12)
    assert (after[1].max() > before[1].max()) == sharper
    assert (after[1].min() < before[1].min()) == sharper


# Where we differ, as docs/sampling.md says


def test_top_k_keeps_exactly_k_of_equals_and_theirs_all_of_them():
    scores, ids = np.array([[1.0, 1, 1, 0]]), np.array([[0]])
    assert (call("top_k", 2, scores, ids) > -INF).tolist() == [[True, True, False, False]]
    assert (theirs(processor_of("top_k", 2), scores, ids) > -INF).tolist() == [[True] * 3 + [False]]


def test_typical_p_keeps_the_fewest_of_equals_and_theirs_all_of_them():
    scores, ids = np.zeros((1, 5)), np.array([[0]])
    assert (call("typical_p", 0.5, scores, ids) > -INF).tolist() == [[True] * 3 + [False] * 2]
    assert (theirs(processor_of("typical_p", 0.5), scores, ids) > -INF).all()


def test_temperature_zero_is_greedy_and_an_error_there():
    assert (call("temperature", 0.0, np.array([[1.0, 2]]), np.array([[0]])) > -INF)[0, 1]
    with pytest.raises(ValueError, match="strictly positive"):
        processor_of("temperature", 0.0)
