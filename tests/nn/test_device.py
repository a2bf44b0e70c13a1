"""Choice of the device, settings that are put back, and the speed probe."""

import os

import pytest
import torch

from textgen.errors import MachineError
from textgen.nn import device


def pretend(monkeypatch, cuda=False, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("wanted", "cuda", "mps", "expected"),
    [
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("mps", False, True, "mps"),
        ("auto", True, True, "cuda"),
        ("auto", False, True, "cpu"),
        ("auto", False, False, "cpu"),
    ],
)
def test_choice_of_the_device(monkeypatch, wanted, cuda, mps, expected):
    pretend(monkeypatch, cuda, mps)
    assert device.choose_device(wanted) == torch.device(expected)


def test_each_process_of_a_machine_has_a_device_of_its_own(monkeypatch):
    pretend(monkeypatch, cuda=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.choose_device("auto", 1) == torch.device("cuda", 1)
    assert device.choose_device("cpu", 1) == torch.device("cpu")
    with pytest.raises(MachineError, match=r"process 3 of this machine has none: there are 2"):
        device.choose_device("cuda", 2)


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_device_that_is_not_there_is_an_error_and_never_another_one(monkeypatch, wanted):
    pretend(monkeypatch)
    with pytest.raises(MachineError, match=f"--device {wanted}") as caught:
        device.choose_device(wanted)
    assert caught.value.exit_code == 5
    assert "--device cpu" in caught.value.fix


@pytest.mark.parametrize(
    ("built", "visible", "problem", "fix"),
    [
        (None, None, "built without CUDA", "pip install"),
        (None, "", "built without CUDA", "pip install"),
        ("13.0", None, "CUDA 13.0 but finds no driver", "nvidia-smi"),
        ("13.0", "0", "CUDA 13.0 but finds no driver", "nvidia-smi"),
        ("13.0", "", "CUDA_VISIBLE_DEVICES hides", "unset it"),
        ("13.0", "-1", "CUDA_VISIBLE_DEVICES hides", "unset it"),
    ],
)
def test_what_cuda_lacks_is_named(monkeypatch, built, visible, problem, fix):
    pretend(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(MachineError) as caught:
        device.choose_device("cuda")
    assert problem in caught.value.problem and fix in caught.value.fix
    assert "\n" not in str(caught.value)


def smallest_product():
    """Half of the smallest normal float: a denormal number, or zero where those are flushed."""
    smallest = torch.full((64,), torch.finfo(torch.float32).tiny)
    return (smallest * 0.5).max().item()


def test_cpu_settings_set_threads_and_flush_denormals_and_put_both_back():
    threads = torch.get_num_threads()
    assert smallest_product() > 0
    with device.cpu_settings(threads + 1):
        assert torch.get_num_threads() == threads + 1
        assert smallest_product() == 0
    assert torch.get_num_threads() == threads
    assert smallest_product() > 0


def test_cpu_settings_put_everything_back_after_an_error():
    threads = torch.get_num_threads()
    with pytest.raises(KeyError), device.cpu_settings(threads + 1):
        raise KeyError
    assert torch.get_num_threads() == threads
    assert smallest_product() > 0


def test_cpu_settings_work_where_the_c_library_has_no_such_setting(monkeypatch):
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: object())
    with device.cpu_settings(1):
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("kind", "abilities", "expected"),
    [
        ("cpu", {"avx2": True, "avx512_bf16": True}, True),
        ("cpu", {"amx_bf16": True, "avx512_bf16": False}, True),
        ("cpu", {"avx2": True, "avx512_bf16": False}, False),
        ("cpu", {}, False),
        ("cuda", {"avx512_bf16": True}, False),
    ],
)
def test_bfloat16_is_multiplied_by_a_cpu_that_says_so(monkeypatch, kind, abilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert device.multiplies_bfloat16(torch.device(kind)) is expected


def test_cpu_that_cannot_be_asked_multiplies_no_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not device.multiplies_bfloat16(torch.device("cpu"))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.0099, 0.0099, 0.0099, 0.0099, 0.0099], 256),  # 2 * 1024^3 / 0.0099 s = 217 GFLOP/s
        ([0.5, 0.002, 0.02, 0.003, 0.1], 64 * 2**0.5),  # the median of five counts: 107
        ([0.012, 0.001, 0.02, 0.011, 0.03], 128 * 2**0.5),  # 179
        ([4.0] * 5, 0.5),  # 0.54
    ],
)
def test_probe_rounds_the_median_speed_to_a_power_of_the_root_of_two(
    monkeypatch, seconds, expected
):
    times = [
        t for number, one in enumerate(seconds) for t in (100.0 * number, 100.0 * number + one)
    ]
    ticks = iter(times)
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(ticks))
    assert device.measure_gflops(torch.device("cpu")) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("message", "lacking"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes", True),
        ("CUDA out of memory. Tried to allocate 9 GiB", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("unsupported memory format option", False),
    ],
)
def test_only_a_lack_of_memory_is_called_one(message, lacking):
    with (
        pytest.raises(MachineError if lacking else RuntimeError, match="memory"),
        device.memory_checked(),
    ):
        raise RuntimeError(message)


def test_a_lack_of_memory_says_what_would_fit():
    with pytest.raises(MachineError) as caught, device.memory_checked(lambda: "use --batch 8"):
        raise MemoryError
    assert caught.value.fix == "use --batch 8"
    with pytest.raises(MachineError) as caught, device.memory_checked(lambda: None):
        raise MemoryError
    assert "--batch" in caught.value.fix


def test_memory_of_a_machine_is_what_the_system_says(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda given: (3, 5))
    assert device.memory_of(torch.device("cuda")) == 5
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert device.memory_of(torch.device("cpu")) == 4_096_000
    monkeypatch.delattr(os, "sysconf")
    assert device.memory_of(torch.device("cpu")) == 0
