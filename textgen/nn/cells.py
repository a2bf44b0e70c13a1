"""The recurrent layers: torch.nn's equations, names and parameters, and a faster GRU on the CPU.

A layer is one of torch.nn's with num_layers=1, so its weights fit torch.nn's; LSTM and RNN run as
they are. torch.nn.GRU has no fused kernel on the CPU and builds a graph of dozens of nodes a step,
so `GRU` there runs the steps itself with a hand-written backward: one product and a few operations
a step, and one product for all weight gradients.

Shapes: x_TBE -> out_TBH; states h_BH (and c_BH).

    >>> layer = make_layer("gru", 64, 512)
    >>> out_TBH, state = layer(x_TBE, (h_BH,))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LayerState = tuple[Tensor, ...]


def make_layer(cell: str, inputs: int, hidden: int) -> RecurrentLayer:
    """Return one recurrent layer on the meta device; `to_empty` and an initialisation follow."""
    return CELL_LAYERS[cell](inputs, hidden, device="meta")


class RNN(nn.RNN):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)."""

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:  # type: ignore[override]
        """Return out_TBH and the state after the last step."""
        out_TBH, last = super().forward(x_TBE, state[0][None])
        return out_TBH, (last[0],)


class LSTM(nn.LSTM):
    """i, f, g, o from W_ih x + W_hh h; c = f c + i g; h = o tanh(c) (Hochreiter, Gers)."""

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:  # type: ignore[override]
        """Return out_TBH and the state (h, c) after the last step."""
        out_TBH, last = super().forward(x_TBE, (state[0][None], state[1][None]))
        return out_TBH, (last[0][0], last[1][0])


class GRU(nn.GRU):
    """r, z from W_ih x + W_hh h; n = tanh(x_n + r (W_n h + b_n)); h = (1 - z) n + z h (Cho).

    reduced: while training on the CPU, take the factors of the matrix products in bfloat16;
    sums, gates, state, weights and gradients stay in float32.
    """

    reduced = False

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:  # type: ignore[override]
        """Return out_TBH and the state after the last step."""
        out_TBH: Tensor
        if x_TBE.device.type != "cpu":
            out_TBH, last = super().forward(x_TBE, state[0][None])
            return out_TBH, (last[0],)
        w_ih, w_hh, b_ih, b_hh = self.parameters()
        reduced = self.reduced and self.training
        if reduced:
            projected = nn.functional.linear(x_TBE.bfloat16(), w_ih.bfloat16())
        else:
            projected = nn.functional.linear(x_TBE, w_ih)
        out_TBH = GRUSteps.apply(projected, state[0], w_hh, b_ih, b_hh, reduced)  # type: ignore[no-untyped-call]
        return out_TBH, (out_TBH[-1],)


RecurrentLayer = RNN | LSTM | GRU
CELL_LAYERS: dict[str, type[RecurrentLayer]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class GRUSteps(torch.autograd.Function):
    """All time steps of a GRU layer on the CPU, given the projected inputs.

    Inside, the gates stand in the order n, r, z instead of torch's r, z, n. The gradients of the
    recurrent side (r n, r, z) and of the input side (r, z, n) are then two overlapping runs of one
    slab of four gates, and each of the two products reads its run without a copy.

    dG = dh K, where K is known before the backward loop starts, since every gate's derivative is
    a product of saved values: the loop is one product and three operations on what it gives.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        h_BH: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        reduced: bool,
    ) -> Tensor:
        """Return out_TBH. projected: (T, B, 3H), W_ih x in torch's gate order, in factors' type."""
        steps, rows, width = len(projected), *h_BH.shape
        weight = torch.cat([w_hh[2 * width :], w_hh[: 2 * width]])
        b_n = torch.cat([b_hh[2 * width :], b_hh.new_zeros(2 * width)])
        product = PackedLinear(weight, rows, reduced, b_n)
        rz = projected[..., : 2 * width] + (b_ih + b_hh)[: 2 * width]
        n = (projected[..., 2 * width :] + b_ih[2 * width :]).mul_(2)
        h = h_BH.new_empty(steps + 1, rows, width)
        factors = torch.empty_like(h[1:], dtype=torch.bfloat16) if reduced else h[:-1]
        recurrent = h.new_empty(steps, rows, 3 * width)
        inner, r, z = recurrent[..., :width], rz[..., :width], rz[..., width:]
        h[0] = h_BH
        minus_one = h.new_tensor(-1.0)
        states = _steps(h, h[1:], factors, n)
        gates = _steps(recurrent, recurrent[..., width:], rz, inner, r, z)
        for state_views, gate_views in zip(states, gates, strict=True):
            h_t, next_t, factor_t, n_t = state_views
            recurrent_t, recurrent_rz_t, rz_t, inner_t, r_t, z_t = gate_views
            if reduced:
                factor_t.copy_(h_t)
            recurrent_t.copy_(product(factor_t))  # in float32: mixed operands are slow
            rz_t.add_(recurrent_rz_t).sigmoid_()
            # tanh(a) = 2 sigmoid(2 a) - 1, and torch's sigmoid is several times as fast
            n_t.addcmul_(r_t, inner_t, value=2).sigmoid_()
            torch.add(minus_one, n_t, alpha=2, out=n_t)
            torch.lerp(n_t, h_t, z_t, out=next_t)
        ctx.save_for_backward(h, rz, n, inner, weight, factors)
        return h[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout_TBH: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of projected, h_BH, w_hh, b_ih and b_hh."""
        h, rz, n, inner, weight, factors = ctx.saved_tensors
        steps, rows, width = n.shape
        z = rz[..., width:]
        slab = _gate_derivatives(h[:-1], rz[..., :width], z, n, inner).to(factors.dtype)
        product = PackedLinear(weight.t(), rows, factors.dtype == torch.bfloat16)
        flat = slab.view(steps, rows, 4 * width)
        earlier = torch.cat([torch.zeros_like(dout_TBH[:1]), dout_TBH[:-1]])  # reaches h_{t-1} too
        dh = dout_TBH[-1]
        views = list(_steps(slab, flat[..., : 3 * width], z, earlier))
        for slab_t, recurrent_t, z_t, dout_t in reversed(views):
            slab_t.mul_(dh.to(slab.dtype)[:, None])
            dh = torch.addcmul(dout_t, dh, z_t).add_(product(recurrent_t))
        flat = flat.view(steps * rows, 4 * width)
        dw = (flat[:, : 3 * width].t() @ factors.reshape(steps * rows, width)).to(dh.dtype)
        db = (flat.new_ones(1, steps * rows) @ flat)[0].to(dh.dtype)
        back = [torch.cat([g[width : 3 * width], g[:width]]) for g in (dw, db)]
        dprojected = flat[:, width:].view(steps, rows, 3 * width)
        return dprojected, dh, back[0], db[width:], back[1], None


def _steps(*tensors: Tensor) -> Any:
    """Iterate over the time steps of several tensors at once, as views made in one call each."""
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=False)


def _gate_derivatives(h: Tensor, r: Tensor, z: Tensor, n: Tensor, inner: Tensor) -> Tensor:
    """Return K (T, B, 4, H): the derivative of h_t by each gate's sum, as a factor of dh.

    For the inner sum of n (what r multiplies), r, z, and the outer sum of n.
    """
    slab = n.new_empty(*n.shape[:2], 4, n.shape[2])
    by_inner, by_r, by_z, by_n = slab.unbind(2)
    torch.mul(n, n, out=by_n).neg_().add_(1)  # 1 - n^2
    by_n.addcmul_(by_n, z, value=-1)  # (1 - n^2)(1 - z)
    torch.mul(by_n, r, out=by_inner)
    torch.mul(by_inner, inner, out=by_r)
    by_r.addcmul_(by_r, r, value=-1)
    torch.sub(h, n, out=by_z).mul_(z)
    by_z.addcmul_(by_z, z, value=-1)
    return slab


class PackedLinear:
    """x @ weight.t() + bias for one weight (N, K) and many x of `rows` rows, on the CPU.

    oneDNN packs the weight once for all steps of a window; where it cannot, as in float64 or, on a
    CPU without AVX-512, in bfloat16, the plain product serves. reduced: x and weight are bfloat16,
    and so is the answer.
    """

    def __init__(
        self, weight: Tensor, rows: int, reduced: bool, bias: Tensor | None = None
    ) -> None:
        self.packed = None
        weight = weight.bfloat16() if reduced else weight
        self.bias = bias.bfloat16() if reduced and bias is not None else bias
        if can_pack(weight.dtype):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
            self.linear = torch.ops.mkldnn._linear_pointwise.default
        else:
            self.plain = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product (rows, N)."""
        if self.packed is not None:
            return self.linear(x, self.packed, self.bias, "none", [], "")  # type: ignore[no-any-return]
        return x @ self.plain if self.bias is None else torch.addmm(self.bias, x, self.plain)


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN packs weights of this type: float32, and bfloat16 on some CPUs only."""
    return (dtype == torch.float32 and HAS_ONEDNN) or (dtype == torch.bfloat16 and HAS_BFLOAT16)


# These operations are private to torch; they are what its compiler uses for CPU inference. A torch
# that was built without oneDNN has none of them.
HAS_ONEDNN: bool = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)
HAS_BFLOAT16: bool = (
    HAS_ONEDNN
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
