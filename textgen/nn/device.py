"""The machine that training runs on: device, threads, allocator, and how fast it is.

Nothing here happens at import.

    >>> device = choose_device("auto")
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from textgen.errors import MachineError

# What torch says in a RuntimeError; an "illegal memory access" is a bug, not a lack.
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")
# Parameters of glibc's mallopt, and what both are set to: memory below 1 GiB is kept.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def choose_device(wanted: str, number: int = 0) -> torch.device:
    """Return the device of a name, never another one than was asked for.

    Args:
        wanted: "auto", "cpu", "cuda" or "mps". auto takes CUDA where there is one and the CPU
            otherwise: for models of this size Apple's GPU is not faster than its CPU, so mps must
            be asked for.
        number: which of several CUDA devices.

    Raises:
        MachineError: the device is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        problem, fix = _lack_of_cuda()
        raise MachineError("--device cuda", problem, fix)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise MachineError("--device mps", "this torch sees no MPS device", "use --device cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cuda" or number == 0:
        return torch.device(wanted)
    if number >= (devices := torch.cuda.device_count()):
        problem = f"process {number + 1} of this machine has none: there are {devices}"
        raise MachineError("--device cuda", problem, "start as many processes as devices")
    return torch.device("cuda", number)


def _lack_of_cuda() -> tuple[str, str]:
    """Return what CUDA lacks on this machine, and how to get it."""
    version = torch.version.cuda or torch.version.hip
    if version is None:
        fix = "get one on Linux with: pip install --force-reinstall torch; or use --device cpu"
        return "this torch is built without CUDA", fix
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU", "unset it, or use --device cpu"
    problem = f"this torch is built with CUDA {version} but finds no driver or no GPU"
    return problem, "see what nvidia-smi says, or use --device cpu"


@contextlib.contextmanager
def cpu_settings(threads: int) -> Iterator[None]:
    """Within it torch has so many CPU threads, takes denormals for zero and keeps freed memory.

    Denormal numbers make float arithmetic tens of times slower. Keeping freed memory saves the page
    faults that a window's large arrays otherwise cost at every step: a fifth of the time (the entry
    of docs/log.md on the speed of the GRU). Threads and denormals are put back at the end.

    Args:
        threads: how many.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    # Only glibc has mallopt.
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def memory_checked(advise: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turn a lack of memory within it into an error of one line.

    Args:
        advise: asked then for what would fit, if somebody knows.

    Raises:
        MachineError: python, torch or the device ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        message = str(error)
        if isinstance(error, RuntimeError) and not any(text in message for text in NO_MEMORY):
            raise
        fix = advise() or "use a smaller --hidden, --layers, --batch or --window"
        raise MachineError("training", "not enough memory", fix) from error


def memory_of(device: torch.device) -> int:
    """Return how many bytes of memory a device has in all, 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device is a CPU with instructions for products of bfloat16 numbers.

    False for a GPU, where training stays in float32.
    """
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def measure_gflops(device: torch.device) -> float:
    """Return the speed of a large matrix product in GFLOP/s, rounded to a power of sqrt(2).

    In float16 on CUDA, where recurrent layers run in it, in float32 elsewhere. It takes about
    0.1 s. Thanks to median and rounding the same machine mostly gives the same answer, so that the
    sizes chosen from it seldom change from run to run; why sqrt(2) and not 2 is in docs/log.md,
    "three seeds of ten minutes".
    """
    # A product of the smaller size is over on a GPU before the next one is begun.
    side, dtype = (8192, torch.float16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    if device.type == "cuda":
        # The first product loads the library.
        (a @ b)[0, 0].item()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        # Asking for a number waits for the GPU.
        (a @ b)[0, 0].item()
        times.append(time.perf_counter() - start)
    gflops = 2 * side**3 / statistics.median(times) / 1e9
    return float(2 ** (round(2 * math.log2(gflops)) / 2))
