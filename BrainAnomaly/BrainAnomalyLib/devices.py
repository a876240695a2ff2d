"""Choosing where a network runs."""

from __future__ import annotations

import os
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
