"""The layers against the equations written out, against torch.nn, and against differences."""

import subprocess
import sys

import naive
import numpy as np
import pytest
import torch

from textgen.config.model import CELLS, GATES
from textgen.nn import cells

INPUTS, HIDDEN = 3, 4
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
PACKED = [
    pytest.param(True, marks=pytest.mark.skipif(not cells.HAS_ONEDNN, reason="needs oneDNN")),
    False,
]


def random_layer(cell, inputs=INPUTS, hidden=HIDDEN, seed=0, dtype=torch.float64):
    layer = cells.make_layer(cell, inputs, hidden).to_empty(device="cpu").to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.9, 0.9, generator=generator)
    return layer


def normal(*shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def parts_of(cell):
    return 2 if cell == "lstm" else 1


def torch_stack(layers):
    """The same layers as one of torch.nn's with num_layers."""
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell_of(layers[0])]
    first = layers[0]
    stack = kind(first.input_size, first.hidden_size, len(layers), dtype=first.weight_hh_l0.dtype)
    with torch.no_grad():
        for number, layer in enumerate(layers):
            for name in NAMES:
                own = getattr(layer, f"{name}_l0")
                getattr(stack, f"{name}_l{number}").copy_(own)
    return stack


def cell_of(layer):
    return next(name for name, kind in cells.CELL_LAYERS.items() if isinstance(layer, kind))


def run_layers(layers, x, states):
    after = []
    for layer, state in zip(layers, states, strict=True):
        x, last = layer(x, state)
        after.append(last)
    return x, after


def run_torch(stack, x, states):
    """What run_layers returns; states None leaves the zero state to torch."""
    whole = None
    if states is not None:
        stacked = tuple(torch.stack(part) for part in zip(*states, strict=True))
        whole = stacked if len(stacked) == 2 else stacked[0]
    out, last = stack(x, whole)
    parts = last if isinstance(last, tuple) else (last,)
    return out, list(zip(*parts, strict=True))


def everything(run, modules, x, states):
    """Outputs, last states, and the gradients of all inputs under an arbitrary loss of both."""
    x = x.clone().requires_grad_()
    states = [tuple(p.clone().requires_grad_() for p in parts) for parts in states]
    out, after = run(x, states)
    finals = [part for parts in after for part in parts]
    loss = sum((normal(*t.shape, seed=9, dtype=t.dtype) * t).sum() for t in (out, *finals))
    weights = [parameter for module in modules for parameter in module.parameters()]
    leaves = [x, *(p for parts in states for p in parts), *weights]
    return [out, *finals, *torch.autograd.grad(loss, leaves)]


def assert_all_close(ours, theirs, tolerance):
    """Within tolerance of the largest number of each tensor: sums round at their own size."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        atol = tolerance * max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


def compare_with_torch(cell, layers, T, B, dtype, tolerance, inputs=INPUTS, hidden=HIDDEN):
    widths = [inputs] + [hidden] * (layers - 1)
    ours = [random_layer(cell, w, hidden, seed=i, dtype=dtype) for i, w in enumerate(widths)]
    stack = torch_stack(ours)
    x = normal(T, B, inputs, seed=1, dtype=dtype)
    states = [
        tuple(normal(parts_of(cell), B, hidden, seed=2 + i, dtype=dtype)) for i in range(layers)
    ]
    mine = everything(lambda x, s: run_layers(ours, x, s), ours, x, states)
    theirs = everything(lambda x, s: run_torch(stack, x, s), [stack], x, states)
    assert_all_close(mine, theirs, tolerance)


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("T", [1, 2, 17])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_equal_torch_nn_in_float64(cell, layers, T, B):
    compare_with_torch(cell, layers, T, B, torch.float64, 1e-9)


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_zero_state_equals_torch_nn_without_a_state(cell, B):
    layers = [random_layer(cell, seed=0), random_layer(cell, HIDDEN, seed=1)]
    x = normal(5, B, INPUTS, seed=1)
    zeros = [(torch.zeros(B, HIDDEN, dtype=torch.float64),) * parts_of(cell) for _ in layers]
    out, after = run_layers(layers, x, zeros)
    expected, expected_after = run_torch(torch_stack(layers), x, None)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9)
    for one, other in zip(after, expected_after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("T", [1, 2, 17])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_equal_torch_nn_in_float32(cell, T, B):
    compare_with_torch(cell, 2, T, B, torch.float32, 2e-5)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(("hidden", "B"), [(1, 1), (4, 3), (33, 7), (64, 32)])
def test_gru_equals_torch_nn_with_and_without_the_packed_product(monkeypatch, hidden, B, packed):
    monkeypatch.setattr(cells, "HAS_ONEDNN", packed)
    compare_with_torch("gru", 2, 5, B, torch.float32, 2e-5, inputs=5, hidden=hidden)


@pytest.mark.parametrize("packed", PACKED)
def test_packing_follows_the_type_and_what_torch_was_built_with(monkeypatch, packed):
    monkeypatch.setattr(cells, "HAS_ONEDNN", packed)
    assert cells.can_pack(torch.float32) == packed
    assert not cells.can_pack(torch.float64)


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_equal_the_written_equations(cell):
    layer = random_layer(cell)
    x, state = normal(17, 3, INPUTS, seed=1), tuple(normal(parts_of(cell), 3, HIDDEN, seed=2))
    out, after = layer(x, state)
    for b in range(3):
        before = tuple(part[b].numpy() for part in state)
        outputs, last = naive.layer(cell, naive_weights(layer), x[:, b].numpy(), before)
        np.testing.assert_allclose(out[:, b].detach(), outputs, rtol=0, atol=1e-9)
        np.testing.assert_allclose([p[b].detach() for p in after], last, rtol=0, atol=1e-9)


@pytest.mark.parametrize("T", [1, 17])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_the_derivatives_of_the_written_equations(cell, T):
    layer = random_layer(cell)
    x, state = normal(T, 2, INPUTS, seed=1), tuple(normal(parts_of(cell), 2, HIDDEN, seed=2))
    factors, last_factors = normal(T, 2, HIDDEN, seed=3), normal(2, HIDDEN, seed=4)

    def loss(values):
        total = 0
        for b in range(2):
            before = tuple(values[f"state {part}"][b] for part in range(len(state)))
            outputs, last = naive.layer(cell, values, values["x"][:, b], before)
            total += (factors[:, b].numpy() * outputs).sum()
            total += (last_factors[b].numpy() * last[-1]).sum()
        return total

    tensors = {"x": x, **{f"state {i}": part for i, part in enumerate(state)}}
    for tensor in tensors.values():
        tensor.requires_grad_()
    out, after = layer(x, tuple(tensors[f"state {i}"] for i in range(len(state))))
    ((factors * out).sum() + (last_factors * after[-1]).sum()).backward()
    tensors |= {name: getattr(layer, f"{name}_l0") for name in NAMES}
    values = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        direction = normal(*tensor.shape, seed=5).numpy()
        expected = naive.slope(loss, values, name, direction)
        assert (tensor.grad.numpy() * direction).sum() == pytest.approx(expected, abs=1e-9), name


def naive_weights(layer):
    return {name: getattr(layer, f"{name}_l0").detach().numpy() for name in NAMES}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_comparison_notices_two_exchanged_gates(cell):
    layer, stack = random_layer(cell), torch_stack([random_layer(cell)])
    with torch.no_grad():
        for name in NAMES:
            weight = getattr(layer, f"{name}_l0")
            first, second, *others = weight.chunk(GATES[cell])
            weight.copy_(torch.cat([second, first, *others]))
    x, states = normal(3, 2, INPUTS, seed=1), [tuple(normal(parts_of(cell), 2, HIDDEN, seed=2))]
    mine = everything(lambda x, s: run_layers([layer], x, s), [layer], x, states)
    theirs = everything(lambda x, s: run_torch(stack, x, s), [stack], x, states)
    with pytest.raises(AssertionError):
        assert_all_close(mine, theirs, 1e-3)


def gru_output(x, h, *weights):
    """The outputs of a GRU layer as a function of everything they depend on."""
    layer = random_layer("gru")
    named = dict(zip((f"{name}_l0" for name in NAMES), weights, strict=True))
    return torch.func.functional_call(layer, named, (x, (h,)))[0]


def gru_inputs(T, B):
    x, h = normal(T, B, INPUTS, seed=1), normal(B, HIDDEN, seed=2)
    return [t.detach().requires_grad_() for t in (x, h, *random_layer("gru").parameters())]


def test_gru_passes_gradcheck():
    assert torch.autograd.gradcheck(gru_output, gru_inputs(4, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_layout_in_memory_does_not_matter(cell, dtype):
    layer = random_layer(cell, dtype=dtype)
    batch_first = normal(3, 5, 2 * INPUTS, seed=1, dtype=dtype)
    x = batch_first[..., ::2].transpose(0, 1)
    row = normal(parts_of(cell), HIDDEN, seed=2, dtype=dtype)
    state = tuple(part.expand(3, HIDDEN) for part in row)
    assert not x.is_contiguous() and not state[0].is_contiguous()
    strided = everything(lambda x, s: run_layers([layer], x, s), [layer], x, [state])
    plain_state = tuple(part.contiguous() for part in state)
    plain = everything(
        lambda x, s: run_layers([layer], x, s), [layer], x.contiguous(), [plain_state]
    )
    out, after = layer(x, state)
    expected, expected_after = layer(x.contiguous(), plain_state)
    assert_all_close([out, *after], [expected, *expected_after], 1e-6)
    assert_all_close(strided, plain, 1e-5)


@pytest.mark.parametrize("packed", PACKED)
def test_gradient_of_a_plain_sum_arrives_though_it_has_no_memory_of_its_own(monkeypatch, packed):
    """The gradient of sum() is one number expanded over the tensor: strides of zero."""
    monkeypatch.setattr(cells, "HAS_ONEDNN", packed)
    layer = random_layer("gru", dtype=torch.float32)
    stack = torch_stack([layer])
    x = normal(5, 2, INPUTS, seed=1, dtype=torch.float32)
    layer(x, (torch.zeros(2, HIDDEN),))[0].sum().backward()
    stack(x)[0].sum().backward()
    assert_all_close(
        [p.grad for p in layer.parameters()], [p.grad for p in stack.parameters()], 2e-5
    )


def test_second_backward_pass_gives_the_same_gradients():
    layer = random_layer("gru")
    out, _ = layer(normal(5, 2, INPUTS, seed=1), (normal(2, HIDDEN, seed=2),))
    loss = (out**2).sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frozen_recurrent_weights_leave_the_other_gradients_alone():
    layer, x, state = (
        random_layer("gru"),
        normal(5, 2, INPUTS, seed=1),
        (normal(2, HIDDEN, seed=2),),
    )
    layer(x, state)[0].square().sum().backward()
    expected = layer.weight_ih_l0.grad.clone()
    layer.zero_grad()
    layer.weight_hh_l0.requires_grad_(False)
    layer(x, state)[0].square().sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert torch.equal(layer.weight_ih_l0.grad, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("cell", CELLS)
def test_without_gradients_the_numbers_are_the_same(cell, mode):
    layer = random_layer(cell)
    x, state = normal(5, 2, INPUTS, seed=1), tuple(normal(parts_of(cell), 2, HIDDEN, seed=2))
    expected, expected_after = layer(x, state)
    with mode():
        out, after = layer(x, state)
    assert not out.requires_grad
    assert_all_close(
        [out, *after], [expected.detach(), *(p.detach() for p in expected_after)], 1e-12
    )


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_not_modified(cell):
    layer = random_layer(cell)
    x, state = normal(5, 2, INPUTS, seed=1), tuple(normal(parts_of(cell), 2, HIDDEN, seed=2))
    kept = [x.clone(), *(part.clone() for part in state)]
    layer(x, state)[0].sum().backward()
    assert all(torch.equal(a, b) for a, b in zip([x, *state], kept, strict=True))


@pytest.mark.parametrize("cuts", [(1,), (16,), (5, 6, 13)])
@pytest.mark.parametrize("cell", CELLS)
def test_several_windows_with_carried_state_equal_one(cell, cuts):
    layer = random_layer(cell)
    x, state = normal(17, 2, INPUTS, seed=1), tuple(normal(parts_of(cell), 2, HIDDEN, seed=2))
    expected, expected_after = layer(x, state)
    pieces = []
    for piece in torch.tensor_split(x, cuts):
        out, state = layer(piece, state)
        pieces.append(out)
    assert_all_close([torch.cat(pieces), *state], [expected, *expected_after], 1e-12)


# Products of bfloat16 numbers


@pytest.mark.parametrize(
    "packed",
    [False, pytest.param(True, marks=pytest.mark.skipif(not cells.HAS_BFLOAT16, reason="AVX-512"))],
)
def test_bfloat16_products_are_near_and_leave_everything_else_in_float32(monkeypatch, packed):
    """bfloat16 has 8 bits: each input is off by up to 1 in 256."""
    monkeypatch.setattr(cells, "HAS_BFLOAT16", packed)
    layer = random_layer("gru", hidden=32, dtype=torch.float32)
    x, state = normal(9, 4, INPUTS, seed=1), normal(4, 32, seed=2)
    inputs = x.float(), [(state.float(),)]
    exact = everything(lambda x, s: run_layers([layer], x, s), [layer], *inputs)
    layer.use_bfloat16 = True
    near = everything(lambda x, s: run_layers([layer], x, s), [layer], *inputs)
    assert {tensor.dtype for tensor in near} == {torch.float32}
    for one, other in zip(near, exact, strict=True):
        assert 0 < (one - other).norm() < 0.02 * other.norm()


@pytest.mark.slow
def test_a_torch_without_onednn_trains_all_the_same():
    """Its operations are looked up where they are used, never at import."""
    code = (
        "import torch\n"
        "torch.backends.mkldnn.is_available = lambda: False\n"
        "torch.ops.mkldnn = None\n"
        "from textgen.nn import cells\n"
        "layer = cells.make_layer('gru', 3, 4).to_empty(device='cpu')\n"
        "layer.use_bfloat16 = True\n"
        "out, _ = layer(torch.ones(2, 1, 3), (torch.zeros(1, 4),))\n"
        "out.sum().backward()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bfloat16_products_are_of_training_alone():
    layer = random_layer("gru", dtype=torch.float32)
    x, state = normal(9, 2, INPUTS, seed=1).float(), (torch.zeros(2, HIDDEN),)
    expected, _ = layer(x, state)
    layer.use_bfloat16 = True
    assert not torch.equal(layer(x, state)[0], expected)
    assert torch.equal(layer.eval()(x, state)[0], expected)
