"""The learning rate by hand, what decays and what does not, the clipped gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import CELLS, ModelConfig
from textgen.nn.char_rnn import CharRNN
from textgen.training.optim import (
    CLIP,
    FINAL_RATE_SHARE,
    clip,
    make_optimizer,
    scheduled_rate,
    warmup_rate,
)

WEIGHT_DECAY = 0.05


def tiny(cell="gru"):
    return CharRNN(ModelConfig(vocab=5, cell=cell, layers=2, hidden=4, embedding=3), seed=1)


def set_gradients(model, scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def norm_of(model):
    parts = [parameter.grad.double().numpy().ravel() for parameter in model.parameters()]
    return math.sqrt(np.concatenate(parts) @ np.concatenate(parts))


# The schedule


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.1),  # ten steps of warm-up, the first already learns
        (4, 0.5),
        (9, 1.0),
        (10, 1.0),  # the cosine begins at the peak
        (60, (1 + FINAL_RATE_SHARE) / 2),  # half-way between peak and floor
        (
            35,
            FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.sqrt(0.5)) / 2,
        ),  # an eighth of a full turn
        (110, FINAL_RATE_SHARE),
        (500, FINAL_RATE_SHARE),  # and never below the floor
    ],
)
def test_learning_rate_by_hand(step, share):
    found = scheduled_rate(step, peak=3e-3, warmup=10, steps=110)
    assert found == pytest.approx(3e-3 * share, rel=1e-12)


@st.composite
def warm_ups(draw):
    """The length of a warm-up and a step of it."""
    length = draw(st.integers(1, 50))
    return length, draw(st.integers(0, length - 1))


@given(warm_ups(), st.integers(1, 10**6))
def test_warm_up_does_not_depend_on_the_total(warm_up, steps):
    warmup, step = warm_up
    known = scheduled_rate(step, 1e-2, warmup, steps)
    assert known == warmup_rate(step, 1e-2, warmup) == 1e-2 * (step + 1) / warmup


@given(st.integers(0, 20), st.integers(21, 200))
def test_rate_rises_to_the_peak_then_falls(warmup, steps):
    rates = [scheduled_rate(step, 1.0, warmup, steps) for step in range(steps)]
    top = max(0, warmup - 1)
    assert rates[top] == max(rates) == 1.0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates[warmup:]) >= FINAL_RATE_SHARE * (1 - 1e-12)


def test_no_warm_up_starts_at_the_peak():
    assert scheduled_rate(0, 0.5, 0, 10) == 0.5


# The optimizer


@pytest.mark.parametrize("cell", CELLS)
def test_only_matrices_of_products_decay(cell):
    model = tiny(cell)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
            parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(model, WEIGHT_DECAY)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    for name, parameter in model.named_parameters():
        decays = "weight" in name and name != "embedding.weight"
        expected = 2 * (1 - 0.1 * WEIGHT_DECAY) if decays else 2
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected))


def test_every_parameter_is_optimized_once():
    model = tiny()
    optimized = [
        id(p) for group in make_optimizer(model, WEIGHT_DECAY).param_groups for p in group["params"]
    ]
    assert sorted(optimized) == sorted(id(p) for p in model.parameters())


def test_first_update_moves_each_number_by_the_learning_rate():
    """After one step the corrected moments are g and g^2, so the update is lr * sign(g)."""
    model = tiny()
    set_gradients(model, 1.0)
    optimizer = make_optimizer(model, WEIGHT_DECAY)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    for name, p in model.named_parameters():
        decays = "weight" in name and name != "embedding.weight"
        kept = before[name] * (1 - 0.01 * WEIGHT_DECAY if decays else 1)
        torch.testing.assert_close(p.detach(), kept - 0.01 * p.grad.sign(), rtol=0, atol=1e-6)


def test_rate_of_zero_moves_nothing():
    model = tiny()
    set_gradients(model, 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    make_optimizer(model, WEIGHT_DECAY).step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# Clipping


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_long_gradient_is_scaled_to_the_limit_and_keeps_its_direction(scale):
    model = tiny()
    set_gradients(model, scale)
    before, length = [p.grad.clone() for p in model.parameters()], norm_of(model)
    assert length > CLIP
    assert clip(model).item() == pytest.approx(length, rel=1e-5)
    assert norm_of(model) == pytest.approx(CLIP, rel=1e-4)
    for one, p in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, one * (CLIP / length), rtol=1e-4, atol=1e-7)


def test_short_gradient_is_left_alone():
    model = tiny()
    set_gradients(model, 1e-3)
    before, length = [p.grad.clone() for p in model.parameters()], norm_of(model)
    assert length < CLIP
    assert clip(model).item() == pytest.approx(length, rel=1e-5)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_norm_is_not_finite_when_one_number_is_not(value):
    model = tiny()
    set_gradients(model, 1e-3)
    model.head.bias.grad[2] = value
    assert not math.isfinite(clip(model).item())
