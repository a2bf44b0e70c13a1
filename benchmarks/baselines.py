"""What one would otherwise use, written out: char-rnn's setting, nanoGPT's CPU recipe, bare loops.

Each `train` returns a model that `textgen.evaluation.protocols` can measure, so all models are
measured by the same code on the same characters.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Of nanoGPT's CPU recipe.
CONTEXT, ITERATIONS = 64, 2000


class BareModel(nn.Module):
    """Embedding, one of torch.nn's recurrent modules, head: what a tutorial would write."""

    def __init__(self, vocab: int, embedding: int, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, embedding)
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, vocab)

    def forward(self, x_TB: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return logits_TBV and the state."""
        out_TBH, state = self.recurrent(self.embedding(x_TB), state)
        return self.head(out_TBH), state

    @torch.no_grad()
    def nats(self, x_TB: np.ndarray, y_TB: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Return nats_TB and the state, for `textgen.evaluation.protocols`."""
        logits_TBV, state = self(torch.from_numpy(x_TB), state)
        return nats_of(logits_TBV, torch.from_numpy(y_TB)), state


def nats_of(logits: Tensor, target: Tensor) -> np.ndarray:
    """Return the nats of each target under logits, in float64."""
    losses = nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return np.asarray(losses.view(target.shape).double().numpy())


def detach(state: Any) -> Any:
    """Return a state without its graph."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def train_char_rnn(ids: np.ndarray, vocab: int, budget: float, seed: int) -> BareModel:
    """Train as char-rnn does by default, for `budget` seconds.

    LSTM of 2 layers of 128, 50 streams, windows of 50, RMSprop at 2e-3 with decay 0.95, times 0.97
    for each epoch after the tenth, gradients cut to +-5, no dropout; char-rnn's one-hot input is
    an embedding of size 128 here. 50 epochs at most, as there.
    """
    torch.manual_seed(seed)
    model = BareModel(vocab, 128, nn.LSTM(128, 128, num_layers=2))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95)
    length = (len(ids) - 1) // 50
    x_TB = torch.from_numpy(ids[: 50 * length].astype(np.int64).reshape(50, length).T.copy())
    y_TB = torch.from_numpy(ids[1 : 50 * length + 1].astype(np.int64).reshape(50, length).T.copy())
    end = time.monotonic() + budget
    for epoch in range(50):
        state = None
        for first in range(0, length - 50 + 1, 50):
            logits_TBV, state = model(x_TB[first : first + 50], state)
            state = detach(state)
            target = y_TB[first : first + 50].flatten()
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits_TBV.flatten(0, 1), target).backward()
            nn.utils.clip_grad_value_(model.parameters(), 5.0)
            optimizer.step()
            if time.monotonic() > end:
                return model.eval()
        for group in optimizer.param_groups:
            group["lr"] *= 0.97 if epoch >= 9 else 1.0
    return model.eval()


class Block(nn.Module):
    """A transformer block as in GPT-2: attention and a feed-forward layer, norms before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return x_BTC after the block."""
        rows, steps, width = x_BTC.shape
        split = self.qkv(self.norms[0](x_BTC)).view(rows, steps, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTC = x_BTC + self.out(mixed.transpose(1, 2).reshape(rows, steps, width))
        return x_BTC + self.down(nn.functional.gelu(self.up(self.norms[1](x_BTC))))


class NanoGPT(nn.Module):
    """The model of nanoGPT's CPU recipe: 4 layers, 4 heads, width 128, no dropout, no bias."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab, 128), nn.Embedding(CONTEXT, 128)
        self.blocks = nn.Sequential(*(Block(128, 4) for _ in range(4)))
        self.norm = nn.LayerNorm(128, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * 4) if last else 0.02)

    def forward(self, x_BT: Tensor) -> Tensor:
        """Return logits_BTV; the head shares the embedding's weights."""
        x_BTC = self.embedding(x_BT) + self.position.weight[: x_BT.shape[1]]
        logits: Tensor = self.norm(self.blocks(x_BTC)) @ self.embedding.weight.t()
        return logits

    @torch.no_grad()
    def windows(self, ids: np.ndarray) -> float:
        """Return the mean nats of 200 batches of 12 random windows, nanoGPT's own figure."""
        draws = np.random.default_rng(0)
        means = [nats_of(self(x), y).mean() for x, y in (batch(ids, draws) for _ in range(200))]
        return float(np.mean(means))

    @torch.no_grad()
    def sliding(self, ids: np.ndarray) -> float:
        """Return the mean nats of all of ids, each character after 32 to 63 others where it can."""
        half = CONTEXT // 2
        starts = np.arange(0, len(ids) - CONTEXT - 1, half)
        x = torch.from_numpy(ids[starts[:, None] + np.arange(CONTEXT)].astype(np.int64))
        y = torch.from_numpy(ids[1 + starts[:, None] + np.arange(CONTEXT)].astype(np.int64))
        pieces = [nats_of(self(a), b) for a, b in zip(x.split(64), y.split(64), strict=True)]
        nats = np.concatenate(pieces)
        return float(np.concatenate([nats[0], nats[1:, half:].flatten()]).mean())


def batch(ids: np.ndarray, draws: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return 12 random windows of 64 characters and what follows each character."""
    starts = draws.integers(0, len(ids) - CONTEXT, 12)[:, None] + np.arange(CONTEXT + 1)
    block_BT = torch.from_numpy(ids[starts].astype(np.int64))
    return block_BT[:, :-1], block_BT[:, 1:]


def train_nanogpt(ids: np.ndarray, vocab: int, seed: int) -> NanoGPT:
    """Train nanoGPT's CPU recipe to its end: 2,000 updates, AdamW, cosine from 1e-3 to 1e-4."""
    torch.manual_seed(seed)
    draws = np.random.default_rng(seed)
    model = NanoGPT(vocab)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    for step in range(ITERATIONS):
        rise = (step + 1) / 101
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - 100) / (ITERATIONS - 100)))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(rise, 0.1 + 0.9 * fall)
        x_BT, y_BT = batch(ids, draws)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()
