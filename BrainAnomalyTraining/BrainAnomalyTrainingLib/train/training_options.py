"""How long, where and with which optimizer a training runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import nn

from BrainAnomalyLib.detectors.learning import OptimizerSettings, Phase
from BrainAnomalyLib.devices import Precision, choose_device

# The first process may prepare a large cohort for a long time while the others wait for it.
_WAIT = timedelta(days=2)


@dataclass(frozen=True)
class TrainingOptions:
    """How long and where to train.

    ``patience`` is the number of validations without a better one after which the training ends early (0: never);
    validations before the last phase has begun do not count. Zeros of the other intervals mean a sensible share of
    ``steps``. ``minutes`` ends the training after that time as if its last step were reached.
    """

    steps: int
    batch: int
    seed: int = 7
    minutes: float = math.inf
    device: str = "auto"
    precision: Precision = "no"
    validate_every: int = 0
    log_every: int = 0
    checkpoint_every: int = 0
    checkpoint_seconds: float = 120.0
    patience: int = 0

    def every(self, name: Literal["validate", "log", "checkpoint"]) -> int:
        """The interval in steps."""
        shares = {"validate": 20, "log": 200, "checkpoint": 10}
        return int(getattr(self, f"{name}_every")) or max(1, self.steps // shares[name])


def accelerator_for(device: str, precision: Precision) -> Accelerator:
    """An accelerator on the chosen device. Raises OptionsError for a device that is not there."""
    chosen = choose_device(device)
    if not torch.distributed.is_initialized():
        # A program may train twice, on another device or with another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True), InitProcessGroupKwargs(timeout=_WAIT)]
    if precision == "auto":
        precision = "no" if chosen == "cpu" else "fp16"
    return Accelerator(cpu=chosen == "cpu", mixed_precision=precision, kwargs_handlers=handlers)


def optimizer_for(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, or AdamW for decoupled weight decay."""
    kind = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
    return kind(
        parameters,
        settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        amsgrad=settings.amsgrad,
    )


def learning_rate(phase: Phase, step: int, steps: int) -> float:
    """The rate of a phase at a step: linear warmup, then constant or a cosine to 0 over the phase."""
    settings = phase.optimizer
    first, length = phase.starts * steps, max(1.0, (phase.ends - phase.starts) * steps)
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - first) / length)))
    return rate * min(1.0, (step - first + 1.0) / settings.warmup) if settings.warmup else rate
