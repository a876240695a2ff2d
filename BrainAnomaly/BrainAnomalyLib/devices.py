"""Choosing where a network runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, ParamSpec, TypeVar, get_args

from .errors import OptionsError

# How networks are trained: "auto" is fp16 on a graphics card, full precision on the processor.
Precision = Literal["auto", "no", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
_P = ParamSpec("_P")
_R = TypeVar("_R")


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


class _AtOnce(Executor):
    """Does what it is given when it is given."""

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        """What ``fn`` returns or raises, as a future that is done."""
        done = Future[_R]()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@contextmanager
def side_branch() -> Iterator[Executor]:
    """Takes work that runs beside that of this thread; torch's threads are divided among both, since each waits for its
    own only. Where one processor is allowed, such as in a cohort's workers, the work is done when it is submitted."""
    import torch

    if processor_count() == 1:
        yield _AtOnce()
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        with ThreadPoolExecutor(1) as beside:
            yield beside
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
