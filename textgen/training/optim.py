"""How weights move: AdamW, the learning rate of each step, and the clipped gradient.

>>> optimizer = make_optimizer(model, weight_decay=0.05)
>>> warmup_rate(step=0, peak=3e-3, warmup=100)
3e-05
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from textgen.nn import CharRNN

BETAS = (0.9, 0.99)
# Longer gradients are scaled down to this norm: a single rare window must not undo the rest.
CLIP = 1.0
# The loss's scale in float16: at first, and below which training has failed.
FIRST_SCALE, LEAST_SCALE = 2.0**16, 1.0
GROWTH_STEPS, NEVER = 2000, 2**31 - 1
# Of the peak learning rate at the end.
FINAL_RATE_SHARE = 0.02


def make_optimizer(model: CharRNN, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter, 2019), which decays the matrices of products alone.

    weight_decay: times the learning rate, what each of their weights loses of itself at a step.
    """
    named = dict(model.named_parameters())
    decayed = [p for n, p in named.items() if p.dim() == 2 and n != "embedding.weight"]
    others = [p for n, p in named.items() if p.dim() != 2 or n == "embedding.weight"]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": weight_decay}]
    groups.append({"params": others, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


def make_scaler(precision: str, device: str) -> torch.amp.GradScaler:
    """Return what scales the loss on a GPU and makes an update only where the gradient is finite.

    It decides that on the device, without a wait. In float16 small gradients would vanish, so they
    are scaled up: by twice as much after GROWTH_STEPS updates, by half as much after a gradient
    that is not finite (Micikevicius et al., 2018). In float32 the scale is 1, and the first
    gradient that is not finite brings it below.
    """
    if precision == "float16":
        return torch.amp.GradScaler(device, FIRST_SCALE, growth_interval=GROWTH_STEPS)
    return torch.amp.GradScaler(device, LEAST_SCALE, growth_interval=NEVER)


def warmup_rate(step: int, peak: float, warmup: int) -> float:
    """Return the rate of the update after `step` updates while it rises in a straight line."""
    return peak * (step + 1) / warmup


def scheduled_rate(step: int, peak: float, warmup: int, steps: int) -> float:
    """Return the rate of the update after `step` updates: the warm-up, then a cosine.

    peak * (f + (1 - f) (1 + cos(pi p)) / 2), where p goes from 0 to 1 after the warm-up and f is
    FINAL_RATE_SHARE (Loshchilov & Hutter, SGDR, 2017, without restarts).
    """
    if step < warmup:
        return warmup_rate(step, peak, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (
        FINAL_RATE_SHARE
        + (1 - FINAL_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    )


def clip(model: CharRNN) -> Tensor:
    """Scale the gradient to norm CLIP if it is longer; return its norm before, on its device.

    The norm is not finite when any part of the gradient is not (Pascanu et al., 2013).
    """
    return torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
