"""A CUDA device without a GPU: tensors that have a device, a shape and a type, but no numbers.

torch's FakeTensorMode runs every operation for its device, shape and type alone, forward and
backward, on a torch that was built without CUDA. A tensor that was left on the CPU is an error
there, and so is whatever asks for a number (`.item()`), which a GPU would have to be waited for.
`fake_cuda` adds what FakeTensorMode lacks, and notes what would make the CPU wait for the GPU.

    >>> with fake_cuda() as watch:
    ...     model = CharRNN(sizes, device=torch.device("cuda"))
    ...     loss_of(model).backward()
    >>> watch.waits
    []

What a real GPU does beyond that (its kernels, their speed, their last bits) is not tried here. Two
operations have no fake kernel, the fused cell of the GRU and its backward; `GRU_KERNELS` has them.
cuDNN is not there either: recurrent layers are run step by step from torch's own cells.
"""

from __future__ import annotations

import contextlib
import ctypes
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
CUDA_TYPE = 1
# Slots of the virtual functions in at::AcceleratorHooksInterface, the first behind the destructors.
IS_BUILT, HAS_CONTEXT, SLOTS = 2, 4, 64
# In another release the slots may stand in another order, and a wrong one ends the process.
KNOWN_TORCH = "2.13."
REGISTER = "_ZN3c104impl19registerDeviceGuardENS_10DeviceTypeEPKNS0_24DeviceGuardImplInterfaceE"
MEMORY = (20 * 2**30, 24 * 2**30)
aten = torch.ops.aten
# C++ keeps pointers to these for good.
KEPT: list[object] = []


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))


def _register_guard() -> bool:
    """Give CUDA the guard that does nothing; tell whether this torch lets us.

    Autograd asks a guard for the streams of a device. torch has one for a CUDA build that finds no
    GPU, and installs it where the guard that is there counts no devices: so one is registered that
    answers 0 to everything. It must be there before autograd's first backward pass, which starts
    a thread for each device.
    """
    if torch.version.cuda is not None or torch.version.hip is not None:
        return False
    if not torch.__version__.startswith(KNOWN_TORCH):
        return False
    try:
        library = _library("libc10.so")
        register = getattr(library, REGISTER)
        install = library._ZN3c104impl24ensureCUDADeviceGuardSetEv
        _hooks()
    except (OSError, AttributeError):
        return False
    zero = ctypes.CFUNCTYPE(ctypes.c_int8)(lambda: 0)
    table = (ctypes.c_void_p * SLOTS)(*[ctypes.cast(zero, ctypes.c_void_p).value] * SLOTS)
    guard = (ctypes.c_void_p * 1)(ctypes.addressof(table))
    register.argtypes, register.restype = [ctypes.c_int8, ctypes.c_void_p], None
    register(CUDA_TYPE, ctypes.addressof(guard))
    install()
    KEPT.extend([zero, table, guard])
    return True


def _hooks() -> ctypes.c_void_p:
    """Return the pointer to the virtual functions of what this torch knows of CUDA."""
    get = _library("libtorch_cpu.so")._ZN2at6detail12getCUDAHooksEv
    get.restype = ctypes.c_void_p
    return ctypes.c_void_p.from_address(get())


HAS_GUARD = _register_guard()
needs_fake_cuda = pytest.mark.skipif(
    not HAS_GUARD, reason=f"takes torch {KNOWN_TORCH}x without CUDA, on Linux"
)


@contextlib.contextmanager
def _built_with_cuda():
    """Within it torch says that it was built with CUDA, as autograd asks before each backward."""
    pointer = _hooks()
    before = pointer.value
    table = (ctypes.c_void_p * SLOTS)(*(ctypes.c_void_p * SLOTS).from_address(before))
    yes = ctypes.CFUNCTYPE(ctypes.c_bool)(lambda: True)
    no = ctypes.CFUNCTYPE(ctypes.c_bool)(lambda: False)
    table[IS_BUILT] = ctypes.cast(yes, ctypes.c_void_p).value
    table[HAS_CONTEXT] = ctypes.cast(no, ctypes.c_void_p).value
    KEPT.extend([table, yes, no])
    pointer.value = ctypes.addressof(table)
    try:
        yield
    finally:
        pointer.value = before


class Watch(TorchDispatchMode):
    """Notes what would make the CPU wait for the GPU, and numbers of float64 on the GPU.

    Attributes:
        waits: operations that wait, in their order.
        answers: whether who asks for a single number gets 1 instead of an error.
        doubles: operations that made tensors of float64; a single number is none.
        halves: operations that made tensors of float16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.answers = False
        self.doubles: list[str] = []
        self.halves: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "is_nonzero", "nonzero", "equal"):
            self.waits.append(name)
            if self.answers and name == "_local_scalar_dense":
                return 1.0 if args[0].is_floating_point() else 1
        result = func(*args, **kwargs)
        if name in ("_to_copy", "copy_", "copy"):
            source = args[0] if name == "_to_copy" else args[1]
            waiting = not (
                kwargs.get("non_blocking") or (name != "_to_copy" and args[2:3] == (True,))
            )
            devices = {source.device.type, result.device.type}
            if waiting and devices == {"cpu", "cuda"}:
                self.waits.append(f"{name} {source.device.type} to {result.device.type}")
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                if tensor.dtype == torch.float64 and tensor.dim():
                    self.doubles.append(name)
                if tensor.dtype == torch.float16:
                    self.halves.append(name)
        return result


class FakeGenerator(torch.Generator):
    """A generator that says it is on the GPU; fake tensors take it, as they draw no numbers."""

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls)
        generator.asked = torch.device(device)
        return generator

    def __init__(self, device="cpu") -> None:
        pass

    def __deepcopy__(self, memo):
        return FakeGenerator(self.asked).manual_seed(self.initial_seed())

    @property
    def device(self):
        return CUDA if self.asked.type == "cuda" else self.asked


class FakeEvent:
    """A moment in the GPU's work, which is always over."""

    def __init__(self, enable_timing=False, blocking=False) -> None:
        self.recorded = False

    def record(self) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        assert self.recorded, "waits for what was never begun"


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return zeros for what a real tensor would hold; refuse what a real one would refuse."""
    if tensor.device.type != "cpu":
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if tensor.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")
    return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _copy(tensor: torch.Tensor, memo: dict[int, object]) -> torch.Tensor:
    """Return a copy for `copy.deepcopy`, which else copies the storage that a fake one lacks."""
    copied = tensor.detach().clone()
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    copied = torch.nn.Parameter(copied, tensor.requires_grad) if is_parameter else copied
    memo[id(tensor)] = copied
    return copied


def _gru_cell(input_gates, hidden_gates, hx, input_bias=None, hidden_bias=None):
    return torch.empty_like(hx), hx.new_empty(hx.shape[0], 5 * hx.shape[1])


def _gru_cell_backward(grad_hy, workspace, has_bias):
    rows, width = grad_hy.shape
    gates = [grad_hy.new_empty(rows, 3 * width) for _ in range(2)]
    biases = [grad_hy.new_empty(3 * width) if has_bias else None for _ in range(2)]
    return *gates, torch.empty_like(grad_hy), *biases


# Shapes as at::native's own kernels give them.
GRU_KERNELS = {
    "_thnn_fused_gru_cell": _gru_cell,
    "_thnn_fused_gru_cell_backward": _gru_cell_backward,
}


@contextlib.contextmanager
def fake_cuda():
    """Within it all tensors are fake and a CUDA device is there; yield a `Watch`."""
    kernels = torch.library.Library("aten", "IMPL", "Meta")
    for name, kernel in GRU_KERNELS.items():
        kernels.impl(name, kernel)
    patches = [
        # Else FakeTensorMode asks the GPU that `is_available` promises.
        mock.patch.object(FakeTensorMode, "avoid_device_init", True),
        # torch swaps a module's fake parameters on `to` unless something refers to them weakly,
        # which the recurrent layers and FakeTensorMode do without minding.
        mock.patch.object(torch.utils, "weakref", types.SimpleNamespace(getweakrefs=lambda t: [])),
        mock.patch.object(torch, "Generator", FakeGenerator),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        mock.patch.object(FakeTensor, "numpy", _numbers),
        mock.patch.object(FakeTensor, "__deepcopy__", _copy),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(torch.cuda, "mem_get_info", lambda device=None: MEMORY),
        mock.patch.object(torch.cuda, "synchronize", lambda device=None: None),
        mock.patch.object(torch.cuda, "Event", FakeEvent),
        mock.patch.object(torch.backends.cudnn, "is_acceptable", lambda tensor: False),
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(kernels._destroy)
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(_built_with_cuda())
        # Arrays become real tensors on the CPU first.
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield stack.enter_context(Watch())
