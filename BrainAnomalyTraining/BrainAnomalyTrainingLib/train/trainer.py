"""The training loop of every family: phases, precision, devices and processes, checkpoints, early stop.

accelerate moves and wraps the network, so the same loop runs on a CPU, a GPU, several GPUs or several nodes, started by
``accelerate launch`` or ``torchrun``. Chance depends on (seed, step, process) alone and checkpoints are atomic, so that
a killed training goes on exactly where its last checkpoint stood.
"""

from __future__ import annotations

import json
import math
import operator
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import memory
from torch import Tensor, nn

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import Batch, HealthyScan, Phase, Preset, masked_mean
from BrainAnomalyLib.errors import BrainAnomalyError, Cancelled

from ..run.run_folder import Paused, RunFolder
from .augmentation import augment
from .checkpoints import (
    CHECKPOINT,
    below,
    named,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from .sampling import training_batch, validation_batch
from .training_options import TrainingOptions, accelerator_for, learning_rate, optimizer_for

BEST = "best.safetensors"
_MOST_DIVERGED = 20


class Trainer:
    """One training of one family. ``fit`` starts or resumes it; afterwards ``average`` holds the network to export.

    ``watch`` is called with (step, detector) at every validation, on the first process only, for example pictures.
    """

    def __init__(
        self,
        family: type[LearnedDetector],
        preset: Preset,
        options: TrainingOptions,
        run: RunFolder,
        accelerator: Accelerator | None = None,
        watch: Callable[[int, LearnedDetector], None] | None = None,
    ) -> None:
        self.family, self.preset, self.options, self.run = family, preset, options, run
        self.accelerator = accelerator or accelerator_for(options.device, options.precision)
        self.watch, self.config = watch, preset.config
        torch.manual_seed(options.seed)
        self.network = family.build(preset.config)
        self.average = deepcopy(self.network).requires_grad_(False).eval().to(self.accelerator.device)
        self.phases = family.phases(preset.config)
        self.optimizers = {phase.name: self._optimizer(phase) for phase in self.phases}
        self._losses = self.accelerator.prepare_model(_PhaseLosses(family, self.network, preset.config))
        self.step, self.seconds, self.piece = 0, 0.0, options.batch
        self.best, self._since_best, self._diverged = math.inf, 0, 0
        self.last_losses: dict[str, float] = {}
        self._history: list[dict[str, float]] = []

    def fit(self, scans: Sequence[HealthyScan], validation: Sequence[HealthyScan]) -> None:
        """Train to the end. Raises Paused or Cancelled when the user asks, BrainAnomalyError where it is impossible."""
        if not self.phases:
            self.family.fit(self.network, self.preset.config, scans)
            self.average.load_state_dict(self.network.state_dict())
            return
        self.resume()
        shown = validation_batch(validation, self.preset.config.crop, self.family.dimensions)
        saved = started = time.monotonic()
        before = self.seconds
        while not self._ends():
            parts = self._advance(scans)
            self.seconds = before + time.monotonic() - started
            self._report(parts, shown)
            if self._due("checkpoint") or time.monotonic() - saved > self.options.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            self._obey()
        self.save()
        self._take_best()
        images, masks = (part[: self.piece].to(self.accelerator.device) for part in shown)
        self.config = self.family.tuned(self.average, self.config, images, masks)

    def detector(self) -> LearnedDetector:
        """The averaged network as an uncalibrated detector."""
        return self.family(self.average, self.config, str(self.accelerator.device))

    def save(self) -> None:
        """Write the checkpoint, on the first process."""
        if not self.accelerator.is_main_process:
            return
        tensors = {**named("network", self.network.state_dict()), **named("average", self.average.state_dict())}
        for name, optimizer in self.optimizers.items():
            tensors |= named(f"optimizer.{name}", optimizer_tensors(optimizer.optimizer))
        counters = {name: repr(getattr(self, name)) for name in ("step", "seconds", "piece", "best", "_since_best")}
        counters["last_losses"] = json.dumps(self.last_losses)
        if self.accelerator.scaler is not None:
            counters["scaler"] = json.dumps(self.accelerator.scaler.state_dict())
        write_checkpoint(self.run.path / CHECKPOINT, tensors, counters)

    def resume(self) -> None:
        """Go on from the run folder's checkpoint, if there is one."""
        file = self.run.path / CHECKPOINT
        if not file.is_file():
            return
        tensors, counters = read_checkpoint(file)
        self.network.load_state_dict(below(tensors, "network"))
        self.average.load_state_dict(below(tensors, "average"))
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer.optimizer, below(tensors, f"optimizer.{name}"))
        self.step, self.piece, self._since_best = (int(counters[name]) for name in ("step", "piece", "_since_best"))
        self.seconds, self.best = float(counters["seconds"]), float(counters["best"])
        self.last_losses = json.loads(counters.get("last_losses", "{}"))
        if self.accelerator.scaler is not None and "scaler" in counters:
            self.accelerator.scaler.load_state_dict(json.loads(counters["scaler"]))

    def _ends(self) -> bool:
        """Whether the training is over: its steps, its time (of all sessions) or its patience have run out."""
        options = self.options
        over_time = self.seconds > 60.0 * options.minutes
        return self._agreed(self.step >= options.steps or over_time or 0 < options.patience <= self._since_best)

    def _advance(self, scans: Sequence[HealthyScan]) -> dict[str, float]:
        """One step: every active phase learns from the same batch."""
        process = self.accelerator.process_index
        seed = (self.options.seed * 1_000_003 + self.step) * 4099 + process
        crop, dimensions = self.preset.config.crop, self.family.dimensions
        images, masks, generator = training_batch(
            scans, crop, dimensions, self.options.batch, self.options.seed, self.step, process
        )
        if self.preset.augments:
            images, masks = augment(images, masks, generator)
        place = self.accelerator.device
        batch = Batch(images.to(place), masks.to(place), generator, self.step / self.options.steps)
        parts: dict[str, float] = {}
        for phase in self.phases:
            if phase.active(self.step, self.options.steps):
                parts |= self._update(phase, batch, seed)
        self._update_average()
        self.step += 1
        return parts

    def _update(self, phase: Phase, batch: Batch, seed: int) -> dict[str, float]:
        """One optimizer step of a phase; a batch that does not fit into memory is learned in smaller pieces."""
        state = batch.generator.get_state()
        while True:
            batch.generator.set_state(state)
            torch.manual_seed(seed)
            try:
                return self._learn(phase, batch)
            except (RuntimeError, MemoryError) as error:
                if not (isinstance(error, MemoryError) or memory.should_reduce_batch_size(error)):
                    raise
                self._take_smaller_pieces()

    def _take_smaller_pieces(self) -> None:
        if self.piece == 1 or self.accelerator.num_processes > 1:
            raise BrainAnomalyError(
                "The memory ran out in training, with the smallest batch that can be tried.",
                "Choose a smaller batch, the small preset or another device.",
            )
        self.piece = max(1, self.piece // 2)
        memory.clear_device_cache()
        self.run.warning(f"The memory ran out; the batch is now learned in pieces of {self.piece}.")

    def _learn(self, phase: Phase, batch: Batch) -> dict[str, float]:
        optimizer = self.optimizers[phase.name]
        parameters = [value for group in optimizer.param_groups for value in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(phase, self.step, self.options.steps)
        optimizer.zero_grad()
        totals: dict[str, float] = {}
        for start in range(0, len(batch.images), self.piece):
            images = batch.images[start : start + self.piece]
            part = Batch(images, batch.masks[start : start + self.piece], batch.generator, batch.progress)
            losses = self._losses(phase.name, part)
            share = len(images) / len(batch.images)
            self.accelerator.backward(losses["loss"] * share)
            for name, value in losses.items():
                key = f"{phase.name}.{name}"
                totals[key] = totals.get(key, 0.0) + share * float(value.detach())
        self._apply(optimizer, parameters)
        return totals

    def _apply(self, optimizer: Any, parameters: list[nn.Parameter]) -> None:
        """Clip and step; a gradient that is not finite changes nothing, too many of them end the training."""
        norm = self.accelerator.clip_grad_norm_(parameters, self.preset.gradient_norm or math.inf)
        scaled = self.accelerator.scaler is not None
        if scaled or norm is None or bool(torch.isfinite(torch.as_tensor(norm))):
            optimizer.step()
            self._diverged = 0
            return
        self._diverged += 1
        if self._diverged >= _MOST_DIVERGED:
            raise BrainAnomalyError(
                "The training diverged: its gradients are no longer finite.", "Choose a smaller learning rate."
            )

    def _update_average(self) -> None:
        decay = self.preset.average_decay
        share = 1.0 if decay is None else 1.0 - min(decay, (self.step + 1) / (self.step + 10))
        own = self.network.state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(own[name].to(mean), share)
            else:
                mean.copy_(own[name])

    def _report(self, parts: dict[str, float], shown: tuple[Tensor, Tensor]) -> None:
        self._history.append(parts)
        error = self._validate(shown) if self._due("validate") else None
        if not (self._due("log") or error is not None) or not self.accelerator.is_main_process:
            return
        means = {name: _mean([entry[name] for entry in self._history if name in entry]) for name in parts}
        self.last_losses = means
        main = next((value for name, value in means.items() if name.endswith(".loss")), 0.0)
        options, pace = self.options, self.seconds / self.step
        self.run.event(
            "loss",
            step=self.step,
            steps=options.steps,
            loss=main,
            parts=means,
            validation=error,
            seconds_per_step=round(pace, 4),
        )
        left = min(pace * (options.steps - self.step), max(0.0, 60.0 * options.minutes - self.seconds))
        fraction = self.step / options.steps
        self.run.progress("train", fraction, left)
        self._history.clear()

    def _validate(self, shown: tuple[Tensor, Tensor]) -> float:
        """Mean absolute error of restored validation images in the brain; keeps the best network so far."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator = torch.Generator().manual_seed(0)
            pieces = list(zip(*(part.split(self.piece) for part in shown), strict=True))
            errors = [self._restoration_error(images, masks, generator) for images, masks in pieces]
        weights = [float(masks.sum()) for _, masks in pieces]
        error = float(sum(map(operator.mul, errors, weights)) / max(sum(weights), 1.0))
        if self.watch is not None and self.accelerator.is_main_process:
            with torch.random.fork_rng(devices=[]):
                self.watch(self.step, self.detector())
        if self.step > max(phase.starts for phase in self.phases) * self.options.steps:
            self._keep_best(error)
        return error

    def _restoration_error(self, images: Tensor, masks: Tensor, generator: torch.Generator) -> float:
        images, masks = images.to(self.accelerator.device), masks.to(self.accelerator.device)
        restored = self.family.restore(self.average, self.preset.config, images, masks, generator)
        return float(masked_mean((restored.pseudo_healthy.float() - images).abs(), masks))

    def _keep_best(self, error: float) -> None:
        self._since_best += 1
        if error < self.best and self.options.patience:
            self.best, self._since_best = error, 0
            if self.accelerator.is_main_process:
                write_checkpoint(self.run.path / BEST, dict(self.average.state_dict()), {"step": str(self.step)})

    def _take_best(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.options.patience and (self.run.path / BEST).is_file():
            self.average.load_state_dict(read_checkpoint(self.run.path / BEST)[0])

    def _due(self, what: Literal["validate", "log", "checkpoint"]) -> bool:
        return self.step % self.options.every(what) == 0 or self.step == self.options.steps

    def _obey(self) -> None:
        """Do what the user asks for, on all processes alike: stop with a checkpoint, or without one."""
        wish = self.run.control() if self.accelerator.is_main_process else ""
        if self._agreed(wish == "cancel"):
            raise Cancelled("The training was cancelled.")
        if self._agreed(wish == "pause"):
            self.save()
            raise Paused(f"The training is paused after step {self.step}.")

    def _agreed(self, wanted: bool) -> bool:
        """The first process's word, on every process."""
        if self.accelerator.num_processes == 1:
            return wanted
        word = torch.tensor([float(wanted and self.accelerator.is_main_process)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(word, "sum").item() > 0)

    def _optimizer(self, phase: Phase) -> Any:
        places = [self.network.get_submodule(name) for name in phase.modules] or [self.network]
        parameters = [value for place in places for value in place.parameters() if value.requires_grad]
        return self.accelerator.prepare_optimizer(optimizer_for(phase.optimizer, parameters))


class _PhaseLosses(nn.Module):
    """The family's losses as a module's forward pass, so that wrappers for several processes see the gradients."""

    def __init__(self, family: type[LearnedDetector], network: nn.Module, config: Any) -> None:
        super().__init__()
        self.family, self.network, self.config = family, network, config

    def forward(self, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Losses of one phase."""
        return self.family.training_step(self.network, self.config, phase, batch)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
