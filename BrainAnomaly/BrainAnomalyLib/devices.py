"""Choosing where a network runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from .errors import OptionsError

# How networks are trained: "auto" is fp16 on a graphics card, full precision on the processor.
Precision = Literal["auto", "no", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


def processor_count() -> int:
    """How many processors one detection may use: what ``OMP_NUM_THREADS`` says, else all that this process has."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit() and int(allowed) > 0:
        return int(allowed)
    return available_processors()


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_failed(error: BaseException) -> bool:
    """Whether a failure is the graphics card's: its memory ran out, it lost its way, or torch knows no such step on it.

    torch has a class for the first, newer ones for the second; the rest is told by the message alone.
    """
    if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _DEVICE_WORDS)


# In messages of torch about graphics cards of all makers. NotImplementedError is a RuntimeError.
_DEVICE_WORDS = ("CUDA", "cuDNN", "CUDNN", "CUBLAS", "HIP error", "MPS")


@contextmanager
def shared_processors(branches: int) -> Iterator[None]:
    """Divides torch's threads among branches that run side by side; each waits for its own threads only."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // branches))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_device(wanted: str = "auto") -> str:
    """``cuda``, ``mps`` or ``cpu``; ``auto`` takes the fastest that is there. Raises OptionsError if it is not."""
    import torch

    if wanted not in get_args(Device):
        raise OptionsError(f"There is no device named '{wanted}'.", f"Choose one of {', '.join(get_args(Device))}.")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in present.items() if there)
    if not present[wanted]:
        raise OptionsError(f"This computer has no '{wanted}' device that torch can use.", "Choose 'auto' or 'cpu'.")
    return wanted
