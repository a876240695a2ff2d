"""Trains the embedded brain mask network.

``python -m BrainAnomalyTrainingLib.brain_mask.training --data SHARED --out FOLDER [--resume]``

SHARED holds ``ixi_t1_2mm`` (T1 heads with DLMUSE labels, used as brain truth) and ``synthseg_label_maps``. FOLDER
receives a checkpoint every few hundred steps, a log, and at the end the files of Resources/BrainMask. Every step
draws its randomness from (seed, step), so an interrupted run resumed later continues exactly (with ``--minutes`` the
learning rate follows the clock as well).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage

from BrainAnomalyLib.preparation.brain.network import (
    ARCHITECTURE,
    NETWORK_FILE,
    SPACING_MM,
    WEIGHTS_FILE,
    build_network,
    normalized_intensities,
    padding_of,
    predicted,
)
from BrainAnomalyLib.resources import sha256

from ..train.checkpoints import (
    CHECKPOINT,
    below,
    named,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from .synthesis import SAME_TISSUE, LabelHead, RealHead, Sample, random_sample

Tensor = torch.Tensor
FloatArray = NDArray[np.float32]

DESCRIPTION: dict[str, Any] = {
    "architecture": ARCHITECTURE,
    "features": [16, 32, 48, 96, 128, 16],
    "spacing_mm": SPACING_MM,
}
WARM_UP_STEPS = 60
_FURTHEST_MM = 40.0


@dataclass(frozen=True)
class Recipe:
    """All choices of a training run."""

    steps: int = 4000
    seed: int = 21
    learning_rate: float = 1.3e-3
    weight_decay: float = 1e-4
    averaging: float = 0.995
    synthetic_share: float = 0.35
    checkpoint_every: int = 200


def held_out(index: int) -> bool:
    """Whether the IXI head at this position (subjects sorted by id) is kept for testing: two in five."""
    return index % 5 in (0, 3)


def ixi_heads(data: Path, test: bool, most: int = 100) -> list[tuple[str, FloatArray, NDArray[np.bool_]]]:
    """Identifier, T1 intensities and brain truth (i, j, k RAS, 2 mm) of ``most`` test or training heads."""
    folders = sorted(folder for folder in (data / "ixi_t1_2mm").iterdir() if folder.is_dir())
    chosen = [folder for index, folder in enumerate(folders) if held_out(index) == test]
    return [(folder.name, *_read_ixi(folder)) for folder in chosen[:most]]


def _read_ixi(folder: Path) -> tuple[FloatArray, NDArray[np.bool_]]:
    image = _read_ras(folder / f"{folder.name}_T1.nii.gz").astype(np.float32)
    labels = _read_ras(folder / f"{folder.name}_DLMUSE.nii.gz")
    return image, np.asarray(ndimage.binary_fill_holes(labels > 0))


def _read_ras(path: Path) -> NDArray[Any]:
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


def real_head(image: FloatArray, brain: NDArray[np.bool_]) -> RealHead:
    """A T1 head made ready for synthesis."""
    return RealHead(
        torch.from_numpy(normalized_intensities(image)), torch.from_numpy(brain).float(), _distance_mm(brain)
    )


def label_head(path: Path) -> LabelHead:
    """A SynthSeg label map (1 mm) made ready for synthesis.

    Its brain labels leave out the fluid between the gyri, the DLMUSE truth includes it: closing by 6 mm at 2 mm
    turns one into the other (Dice 0.99 where both are known).
    """
    labels = _read_ras(path).astype(np.int16)
    for label, same in SAME_TISSUE.items():
        labels[labels == label] = same
    labels = np.pad(labels, [(0, size % 2) for size in labels.shape])
    names, indices = np.unique(labels, return_inverse=True)
    anatomy = ((labels > 0) & (labels < 500) & (labels != 24)).astype(np.float32)
    small = functional.avg_pool3d(torch.from_numpy(anatomy)[None, None], 2)[0, 0].numpy() >= 0.5
    brain = closed(small, 3.0)
    return LabelHead(
        torch.from_numpy(indices.reshape(labels.shape).astype(np.uint8)),
        tuple(int(name) for name in names),
        torch.from_numpy(brain).float(),
        _distance_mm(brain),
    )


def closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """The mask with gaps of up to twice the radius (at most 7 voxels) and holes closed."""
    wide = np.pad(mask, 8)
    grown = ndimage.distance_transform_edt(~wide) <= radius
    filled = ndimage.binary_fill_holes(ndimage.distance_transform_edt(grown) > radius)
    return np.asarray(filled[8:-8, 8:-8, 8:-8])


def _distance_mm(brain: NDArray[np.bool_]) -> Tensor:
    distance = np.minimum(ndimage.distance_transform_edt(~brain) * SPACING_MM, _FURTHEST_MM)
    return torch.from_numpy(distance.astype(np.float32))


def loss_of(logits: Tensor, brain: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice loss."""
    probability = torch.sigmoid(logits)
    dice = (2.0 * (probability * brain).sum() + 10.0) / (probability.sum() + brain.sum() + 10.0)
    return functional.binary_cross_entropy_with_logits(logits, brain) + 1.0 - dice


def learning_rate_at(step: int, progress: float, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak as ``progress`` goes from 0 to 1."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


class Training:
    """The state of a run: network, its moving average, optimiser and step; saved and resumed exactly."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.folder = folder
        self.network = build_network(DESCRIPTION)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )
        self.step = 0

    def advance(self, sample: Sample, progress: float) -> float:
        """One optimiser step on one sample; the loss. A step whose gradient is not finite changes nothing."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, progress, self.recipe)
        with torch.autocast("cpu", torch.bfloat16):
            logits = predicted(self.network, sample.image)
        loss = loss_of(logits.float(), sample.brain)
        self.optimizer.zero_grad()
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)):
            self.optimizer.step()
            self._update_average()
        self.step += 1
        return float(loss.detach())

    def _update_average(self) -> None:
        share = min(self.recipe.averaging, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1.0 - share)

    def save(self) -> None:
        """Write everything needed to resume."""
        tensors = {
            **named("network", self.network.state_dict()),
            **named("average", self.average.state_dict()),
            **named("optimizer", optimizer_tensors(self.optimizer)),
        }
        write_checkpoint(self.folder / CHECKPOINT, tensors, {"step": str(self.step)})

    def resume(self) -> None:
        """Continue from the checkpoint of the folder."""
        tensors, counters = read_checkpoint(self.folder / CHECKPOINT)
        self.step = int(counters["step"])
        self.network.load_state_dict(below(tensors, "network"))
        self.average.load_state_dict(below(tensors, "average"))
        restore_optimizer(self.optimizer, below(tensors, "optimizer"))


def export(network: torch.nn.Module, folder: Path) -> None:
    """Half-precision weights, their description and checksums, as brain_network reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS_FILE)
    (folder / NETWORK_FILE).write_text(json.dumps(DESCRIPTION, indent=2) + "\n", encoding="utf-8")
    sums = {name: sha256(folder / name) for name in (WEIGHTS_FILE, NETWORK_FILE)}
    (folder / "SHA256SUMS.json").write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def monitored_dice(network: torch.nn.Module, heads: list[RealHead]) -> list[float]:
    """Dice of each head as it is and with its contrast inverted inside the head."""
    return [
        _dice(network, image, head.brain)
        for head in heads
        for image in (head.intensities, (1.3 - head.intensities).clamp_min(0.0) * (head.intensities > 0.08))
    ]


def _dice(network: torch.nn.Module, image: Tensor, brain: Tensor) -> float:
    padding = [part for added in reversed(padding_of(image.shape)) for part in (0, added)]
    with torch.inference_mode():
        logits = predicted(network, functional.pad(image, padding)[None, None])[0, 0]
    found = logits[: image.shape[0], : image.shape[1], : image.shape[2]] > 0
    return float(2.0 * (found * brain).sum() / (found.sum() + brain.sum()))


def train(data: Path, folder: Path, recipe: Recipe, minutes: float, resume: bool) -> None:
    """Trains for ``recipe.steps`` steps, or until ``minutes`` have passed, and exports the averaged network."""
    heads = [real_head(image, brain) for _, image, brain in ixi_heads(data, test=False)]
    monitored, heads = heads[::15], [head for index, head in enumerate(heads) if index % 15]
    label_heads = [label_head(path) for path in sorted((data / "synthseg_label_maps").glob("*.nii.gz"))]
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(recipe, folder)
    if resume:
        training.resume()
    start, losses = time.monotonic(), []
    while (progress := max(training.step / recipe.steps, (time.monotonic() - start) / (60.0 * minutes))) < 1.0:
        random = np.random.default_rng((recipe.seed, training.step))
        sample = random_sample(heads, label_heads, random, recipe.synthetic_share)
        losses.append(training.advance(sample, progress))
        if training.step % recipe.checkpoint_every == 0:
            training.save()
            _report(training, losses, monitored, time.monotonic() - start)
            losses = []
    training.save()
    export(training.average, folder)


def _report(training: Training, losses: list[float], monitored: list[RealHead], seconds: float) -> None:
    dice = monitored_dice(training.average, monitored)
    line = f"step {training.step} {seconds:.0f} s loss {np.mean(losses):.4f} dice " + " ".join(f"{x:.3f}" for x in dice)
    print(line, flush=True)
    with (training.folder / "log.txt").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the brain mask network of BrainAnomaly.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ixi_t1_2mm and synthseg_label_maps")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the finished weights")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--minutes", type=float, default=math.inf, help="finish within this time (less exact)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    train(chosen.data, chosen.out, Recipe(steps=chosen.steps), chosen.minutes, chosen.resume)


if __name__ == "__main__":
    main()
