"""The recurrent layers: torch.nn's equations, names and parameters, and a faster GRU on the CPU.

A layer is one of torch.nn's with num_layers=1, so its weights fit torch.nn's; LSTM and RNN run as
they are. torch.nn.GRU has no fused kernel on the CPU and builds a graph of dozens of nodes a step,
so `GRU` there runs the steps itself with a hand-written backward: one product and a few operations
a step, and one product for all weight gradients. docs/log.md, "speed of the GRU on two cores",
"a quicker GRU" and "the GRU in float32", has what each of its turns gains.

Shapes: x_TBE -> out_TBH; states h_BH (and c_BH).

    >>> layer = make_layer("gru", 64, 512)
    >>> out_TBH, state = layer(x_TBE, (h_BH,))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LayerState = tuple[Tensor, ...]


def make_layer(cell: str, inputs: int, hidden: int, use_bfloat16: bool = False) -> RecurrentLayer:
    """Return one recurrent layer on the meta device; `to_empty` and an initialisation follow.

    use_bfloat16: see `GRU`; the other cells compute in float32 whatever it says.
    """
    layer = CELL_LAYERS[cell](inputs, hidden, device="meta")
    if isinstance(layer, GRU):
        layer.use_bfloat16 = use_bfloat16
    return layer


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

    use_bfloat16: while training on the CPU, take the inputs of the matrix products in bfloat16;
    sums, gates, state, weights and gradients stay in float32.
    """

    use_bfloat16 = False

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:  # type: ignore[override]
        """Return out_TBH and the state after the last step."""
        if x_TBE.device.type != "cpu":
            out_TBH, last = super().forward(x_TBE, state[0][None])
            return out_TBH, (last[0],)
        w_ih, *_ = self.parameters()
        if self.use_bfloat16 and self.training:
            projected = nn.functional.linear(x_TBE.bfloat16(), w_ih.bfloat16())
        else:
            projected = nn.functional.linear(x_TBE, w_ih)
        return self._run_steps(projected, state)

    def read_ids(
        self, x_TB: Tensor, embedding_VE: Tensor, state: LayerState
    ) -> tuple[Tensor, LayerState]:
        """Return what `forward` returns for the rows of embedding_VE at x_TB, on the CPU.

        Each of V ids is projected once, and each step looks its row up. Where V is less than T B,
        as with characters, that saves most of the projection and of its gradients.
        """
        w_ih, *_ = self.parameters()
        projected = nn.functional.embedding(x_TB, embedding_VE @ w_ih.t())
        return self._run_steps(projected, state)

    def _run_steps(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return what `forward` returns, given (T, B, 3H): W_ih x."""
        _, w_hh, b_ih, b_hh = self.parameters()
        use_bfloat16 = self.use_bfloat16 and self.training
        out_TBH: Tensor = GRUSteps.apply(projected, state[0], w_hh, b_ih, b_hh, use_bfloat16)  # type: ignore[no-untyped-call]
        return out_TBH, (out_TBH[-1],)


RecurrentLayer = RNN | LSTM | GRU
CELL_LAYERS: dict[str, type[RecurrentLayer]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class GRUSteps(torch.autograd.Function):
    """All time steps of a GRU layer on the CPU, given the projected inputs.

    Forward, for t = 1 ... T, with p = W_ih x_t, sig the sigmoid, and * by elements:

        r   = sig(p_r + b_ir + W_hr h_{t-1} + b_hr)
        z   = sig(p_z + b_iz + W_hz h_{t-1} + b_hz)
        m   = W_hn h_{t-1} + b_hn                        hidden_n in the code
        n   = tanh(p_n + b_in + r * m)
        h_t = (1 - z) * n + z * h_{t-1}

    Backward, for t = T ... 1, where dh_t is the loss's whole derivative by h_t and a_r, a_z, a_n
    are what goes into the three activations:

        da_n     = dh_t * (1 - z) * (1 - n^2)
        dm       = da_n * r
        da_r     = dm * m * (1 - r)
        da_z     = dh_t * (h_{t-1} - n) * z * (1 - z)
        dh_{t-1} = dout_{t-1} + dh_t * z + W_hn' dm + W_hr' da_r + W_hz' da_z

    and, summed over steps and streams, dW_hn = dm h_{t-1}', dW_hr = da_r h_{t-1}' and
    dW_hz = da_z h_{t-1}', where ' transposes.

    The four gradients are dh_t times values that the forward pass has saved, so these factors are
    computed for all steps at once and the backward loop is one product and three operations on
    what it gives. They stand in the order m, r, z, n: the first three are the gradients of the
    recurrent side, the last three those of the input side in torch's order of gates, and each
    product reads its run without a copy. The recurrent weights stand in the order n, r, z for it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        h_BH: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        use_bfloat16: bool,
    ) -> Tensor:
        """Return out_TBH. projected: (T, B, 3H), W_ih x in torch's order, as products give it."""
        steps, rows, width = len(projected), *h_BH.shape
        weight = torch.cat([w_hh[2 * width :], w_hh[: 2 * width]])
        b_hn = torch.cat([b_hh[2 * width :], b_hh.new_zeros(2 * width)])
        packed_matmul = PackedLinear(weight, rows, use_bfloat16, b_hn)
        rz = projected[..., : 2 * width] + (b_ih + b_hh)[: 2 * width]
        n = (projected[..., 2 * width :] + b_ih[2 * width :]).mul_(2)
        h = h_BH.new_empty(steps + 1, rows, width)
        matmul_inputs = torch.empty_like(h[1:], dtype=torch.bfloat16) if use_bfloat16 else h[:-1]
        recurrent = h.new_empty(steps, rows, 3 * width)
        hidden_n, r, z = recurrent[..., :width], rz[..., :width], rz[..., width:]
        h[0] = h_BH
        minus_one = h.new_tensor(-1.0)
        states = _steps(h, h[1:], matmul_inputs, n)
        gates = _steps(recurrent, recurrent[..., width:], rz, hidden_n, r, z)
        for state_views, gate_views in zip(states, gates, strict=True):
            h_t, next_t, matmul_input_t, n_t = state_views
            recurrent_t, recurrent_rz_t, rz_t, hidden_n_t, r_t, z_t = gate_views
            if use_bfloat16:
                matmul_input_t.copy_(h_t)
            # Copied into float32, since operations on operands of two types are slow.
            recurrent_t.copy_(packed_matmul(matmul_input_t))
            rz_t.add_(recurrent_rz_t).sigmoid_()
            # tanh(a) = 2 sigmoid(2 a) - 1, and torch's sigmoid is several times as fast.
            n_t.addcmul_(r_t, hidden_n_t, value=2).sigmoid_()
            torch.add(minus_one, n_t, alpha=2, out=n_t)
            torch.lerp(n_t, h_t, z_t, out=next_t)
        ctx.save_for_backward(h, rz, n, hidden_n, weight, matmul_inputs)
        return h[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout_TBH: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of projected, h_BH, w_hh, b_ih and b_hh."""
        h, rz, n, hidden_n, weight, matmul_inputs = ctx.saved_tensors
        steps, rows, width = n.shape
        r, z = rz[..., :width], rz[..., width:]
        # Factors of dh_t at first; the loop turns them into gradients, step by step.
        gate_grads = gate_gradient_factors(h[:-1], r, z, n, hidden_n).to(matmul_inputs.dtype)
        packed_matmul = PackedLinear(weight.t(), rows, matmul_inputs.dtype == torch.bfloat16)
        flat = gate_grads.view(steps, rows, 4 * width)
        dh = dout_TBH[-1]
        # The gradient that reaches h_{t-1} from outside, which is none for the given state.
        earlier = [torch.zeros_like(dh), *dout_TBH[:-1]]
        views = zip(_steps(gate_grads, flat[..., : 3 * width], z), earlier, strict=True)
        for (gate_grads_t, recurrent_t, z_t), dout_t in reversed(list(views)):
            gate_grads_t.mul_(dh.to(gate_grads.dtype)[:, None])
            dh = torch.addcmul(dout_t, dh, z_t).add_(packed_matmul(recurrent_t))
        flat = flat.view(steps * rows, 4 * width)
        dw = flat[:, : 3 * width].t() @ matmul_inputs.reshape(steps * rows, width)
        # As a product with ones: a sum in float32 would copy everything first.
        db = (flat.new_ones(1, steps * rows) @ flat)[0].to(dh.dtype)
        dw_hh, db_hh = (
            torch.cat([grad[width : 3 * width], grad[:width]]) for grad in (dw.to(dh.dtype), db)
        )
        dprojected = flat[:, width:].view(steps, rows, 3 * width)
        return dprojected, dh, dw_hh, db[width:], db_hh, None


def _steps(*tensors: Tensor) -> Any:
    """Iterate over the time steps of several tensors at once, as views made in one call each."""
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=False)


def gate_gradient_factors(h: Tensor, r: Tensor, z: Tensor, n: Tensor, hidden_n: Tensor) -> Tensor:
    """Return (T, B, 4, H): dm, da_r, da_z and da_n of `GRUSteps`, each without its factor dh_t.

    h: the states before each step, h_{t-1}; all arguments are (T, B, H).
    """
    factors = n.new_empty(*n.shape[:2], 4, n.shape[2])
    by_hidden_n, by_r, by_z, by_n = factors.unbind(2)
    # In place, since these are the largest arrays of a window: a - a b instead of a (1 - b).
    torch.mul(n, n, out=by_n).neg_().add_(1)
    by_n.addcmul_(by_n, z, value=-1)
    torch.mul(by_n, r, out=by_hidden_n)
    torch.mul(by_hidden_n, hidden_n, out=by_r)
    by_r.addcmul_(by_r, r, value=-1)
    torch.sub(h, n, out=by_z).mul_(z)
    by_z.addcmul_(by_z, z, value=-1)
    return factors


class PackedLinear:
    """x @ weight.t() + bias for one weight (N, K) and many x of `rows` rows, on the CPU.

    oneDNN packs the weight once for all steps of a window; where it cannot, as in float64 or, on a
    CPU without AVX-512, in bfloat16, the plain product serves. use_bfloat16: x and weight are
    bfloat16, and so is the answer.
    """

    def __init__(
        self, weight: Tensor, rows: int, use_bfloat16: bool, bias: Tensor | None = None
    ) -> None:
        self.packed = None
        weight = weight.bfloat16() if use_bfloat16 else weight
        self.bias = bias.bfloat16() if use_bfloat16 and bias is not None else bias
        if can_pack(weight.dtype):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
            self.linear = torch.ops.mkldnn._linear_pointwise.default
        else:
            self.plain = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product (rows, N)."""
        if self.packed is not None:
            product: Tensor = self.linear(x, self.packed, self.bias, "none", [], "")
            return product
        return x @ self.plain if self.bias is None else torch.addmm(self.bias, x, self.plain)


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN packs weights of this type: float32, and bfloat16 on some CPUs only."""
    return (dtype == torch.float32 and HAS_ONEDNN) or (dtype == torch.bfloat16 and HAS_BFLOAT16)


def _packs_bfloat16() -> bool:
    """Tell whether oneDNN packs weights in bfloat16 on this CPU, by trying."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(1, 1, dtype=torch.bfloat16), 1)
    except RuntimeError:
        return False
    return True


# These operations are private to torch; they are what its compiler uses for CPU inference. A torch
# that was built without oneDNN has none of them.
HAS_ONEDNN: bool = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)
HAS_BFLOAT16: bool = HAS_ONEDNN and _packs_bfloat16()
