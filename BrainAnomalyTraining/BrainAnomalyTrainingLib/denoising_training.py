"""Train the coarse-noise denoising autoencoder on healthy T1w scans and write it as a package.

    python -m BrainAnomalyTrainingLib.denoising_training --data SHARED --out FOLDER [--steps N] [--minutes N]

Run it again with the same folder to resume; the result is the same as without the interruption, up to the order of
floating-point sums. Afterwards ``denoising_export`` calibrates the network on held-out scans and writes the package.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from BrainAnomalyLib.detectors.denoising import DenoisingConfig, build_network, center_crop
from BrainAnomalyLib.preparation.recipe import Recipe

from .augmentation import augment
from .cache import Prepared, prepared_scans
from .cohort import CohortSplit, shared_t1w_cohort, split_subjects
from .corruption import corrupt

RECIPE = Recipe(grid="template_2mm")


@dataclass(frozen=True)
class TrainingOptions:
    """Optimization settings (Kascenas et al.: Adam amsgrad, cosine to 0, gradient norm 0.5, masked mean square)."""

    steps: int = 12_000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    gradient_norm: float = 0.5
    average_decay: float = 0.999
    batch: int = 1
    seed: int = 7
    checkpoint_every: int = 250
    mixed_precision: bool = True


class DenoisingTrainer:
    """The network, its running average and the optimizer, with atomic checkpoints in ``folder``."""

    def __init__(self, folder: Path, config: DenoisingConfig, options: TrainingOptions) -> None:
        self.folder, self.config, self.options = folder, config, options
        torch.manual_seed(options.seed)
        self.network = build_network(config).to(memory_format=torch.channels_last_3d)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), options.learning_rate, weight_decay=options.weight_decay, amsgrad=True
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, batches: Iterator[tuple[Tensor, Tensor]], minutes: float, log: Path) -> None:
        """Train to the last step or for ``minutes``, whichever comes first; checkpoints as it goes."""
        started = time.monotonic()
        losses: list[float] = []
        while self.step < self.options.steps and time.monotonic() - started < 60.0 * minutes:
            losses.append(self._train_on(*next(batches)))
            if self.step % self.options.checkpoint_every == 0:
                self._report(losses, time.monotonic() - started, log)
                losses.clear()
                self.save()
        self.save()

    def save(self) -> None:
        """Write the checkpoint beside the old one, then replace it."""
        tensors = {f"average.{name}": value.contiguous() for name, value in self.average.items()}
        tensors |= {f"network.{name}": value.contiguous() for name, value in self.network.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in state.items()}
        unfinished = self.folder / "checkpoint.partial"
        save_file(tensors, unfinished, metadata={"step": str(self.step)})
        unfinished.replace(self.folder / "checkpoint.safetensors")
        (self.folder / "step.json").write_text(json.dumps({"step": self.step}), encoding="utf-8")

    def resume(self) -> None:
        """Load the folder's checkpoint, if there is one."""
        if not (self.folder / "checkpoint.safetensors").is_file():
            return
        tensors = load_file(self.folder / "checkpoint.safetensors")
        self.step = int(json.loads((self.folder / "step.json").read_text(encoding="utf-8"))["step"])
        self.average = _below(tensors, "average")
        self.network.load_state_dict(_below(tensors, "network"))
        state = self.optimizer.state_dict()
        state["state"] = _optimizer_state(_below(tensors, "optimizer"))
        self.optimizer.load_state_dict(state)

    def _train_on(self, clean: Tensor, corrupted: Tensor) -> float:
        self._schedule()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.options.mixed_precision):
            restored = self.network(corrupted.contiguous(memory_format=torch.channels_last_3d))
        loss = masked_loss(restored.float(), clean)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_norm)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return float(loss.detach())

    def _schedule(self) -> None:
        progress = self.step / self.options.steps
        rate = self.options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1.0, (self.step + 1) / 100.0)

    def _update_average(self) -> None:
        decay = min(self.options.average_decay, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1.0 - decay)

    def _report(self, losses: list[float], seconds: float, log: Path) -> None:
        entry = {"step": self.step, "loss": float(np.mean(losses)), "seconds": round(seconds, 1)}
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        print(entry, flush=True)


def masked_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean square error over the brain (clean > 0), times 10."""
    inside = (clean > 0).float()
    return 10.0 * ((restored - clean) ** 2 * inside).sum() / inside.sum().clamp(min=1.0)


def batches(
    scans: list[Prepared], config: DenoisingConfig, options: TrainingOptions, first_step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (clean, corrupted) batches; batch n depends on the seed and n alone, so that resuming is exact."""
    cropped = [tuple(center_crop(part.astype(np.float32), config.crop) for part in scan) for scan in scans]
    step = first_step
    while True:
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        chosen = torch.randint(0, len(cropped), (options.batch,), generator=generator).tolist()
        images, masks = (torch.from_numpy(np.stack([cropped[i][part] for i in chosen]))[:, None] for part in (0, 1))
        clean, _ = augment(images, masks, generator)
        yield clean, corrupt(clean, generator)
        step += 1


def training_scans(split: CohortSplit, cache: Path, workers: int) -> list[Prepared]:
    """Prepared training scans, ordered by subject."""
    prepared = prepared_scans(split.training, RECIPE, cache, workers)
    return [prepared[subject] for subject in sorted(prepared)]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, entry = name.split(".", 1)
        state.setdefault(int(index), {})[entry] = value
    return state


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the denoising autoencoder.")
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for cache, checkpoints and log")
    parser.add_argument("--steps", type=int, default=TrainingOptions.steps)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Prepare the cohort, train, and leave a checkpoint that ``denoising_export`` turns into a package."""
    arguments: Any = _arguments()
    torch.set_num_threads(arguments.threads)
    split = split_subjects(shared_t1w_cohort(arguments.data))
    scans = training_scans(split, arguments.out / "cache", arguments.threads)
    config, options = DenoisingConfig(), TrainingOptions(steps=arguments.steps)
    trainer = DenoisingTrainer(arguments.out / "run", config, options)
    trainer.resume()
    trainer.fit(batches(scans, config, options, trainer.step), arguments.minutes, arguments.out / "run" / "log.jsonl")


if __name__ == "__main__":
    main()
