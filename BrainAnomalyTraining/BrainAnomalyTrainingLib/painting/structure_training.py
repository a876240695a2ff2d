"""Training of the structure network on painted scans: resumable, every step a function of the seed and its number.

The data folder holds ``synthseg_label_maps``, ``ms_lesion_shapes_mni_1mm`` and ``lesion_shapes_mni_1mm``. The folder
that is written receives the bank of anatomies, a checkpoint, a log, and at the end the averaged weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from BrainAnomalyLib.detectors.anatomy.structure_network import (
    NETWORK_FILE,
    PLACE_PRIOR,
    WEIGHTS_FILE,
    NetworkSize,
    build,
)
from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE
from BrainAnomalyLib.evaluation.voxels import average_precision, ranking
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
from .bank import Bank, make_bank, read_bank
from .painted_lesions import LesionBank
from .painter import lesion_bank, training_pairs

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class StructureRecipe:
    """Every choice of the training. ``held_out`` label maps are never learned from; they measure."""

    steps: int = 35_000
    slabs: int = 2
    anatomies_each: int = 12
    learning_rate: float = 1.5e-3
    warm_up: int = 300
    weight_decay: float = 1e-4
    average: float = 0.999
    seed: int = 14
    held_out: tuple[str, ...] = ("training_seg_05.nii.gz", "training_seg_18.nii.gz")
    checkpoint_every: int = 500
    measured_slabs: int = 40


class PaintedBatches(IterableDataset[Batch]):
    """Batches from ``start`` on; batch n depends on the seed and n alone."""

    def __init__(self, bank: Bank, lesions: LesionBank, recipe: StructureRecipe, start: int) -> None:
        self.bank, self.lesions, self.recipe, self.start = bank, lesions, recipe, start

    def __iter__(self) -> Iterator[Batch]:
        """Endless."""
        step = self.start
        while True:
            yield painted_batch(self.bank, self.lesions, self.recipe.slabs, (self.recipe.seed, step))
            step += 1


def painted_batch(bank: Bank, lesions: LesionBank, slabs: int, seed: tuple[int, ...]) -> Batch:
    """Seen (n, channel, i, j), shares (n, structure, i, j), lesions and masks (n, i, j), two slices of each slab."""
    random = np.random.default_rng(seed)
    pairs = [pair for _ in range(slabs) for pair in training_pairs(bank, lesions, random)]
    parts = zip(*((pair.seen, pair.structures, pair.lesions, pair.mask) for pair in pairs), strict=True)
    seen, shares, lesion, masks = (torch.from_numpy(np.stack(part)) for part in parts)
    return seen, shares, lesion, masks


def structure_loss(scores: Tensor, shares: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of soft labels inside the mask, and one minus the soft Dice of every structure there.

    ``scores`` and ``shares`` are (n, structure, i, j), ``masks`` (n, i, j).
    """
    inside = masks[:, None].float()
    entropy = -(shares * torch.log_softmax(scores, 1)).sum(1) * masks
    found = torch.softmax(scores, 1) * inside
    wanted = shares * inside
    both = (found * wanted).sum((0, 2, 3))
    sizes = (found + wanted).sum((0, 2, 3))
    seen = wanted.sum((0, 2, 3)) > 1.0
    dice = (2.0 * both + 1.0) / (sizes + 1.0)
    return entropy.sum() / inside.sum().clamp(min=1.0) + (1.0 - dice[seen]).mean()


def lesion_loss(scores: Tensor, lesions: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of lesions (n, i, j; 0 to 1) inside the mask, and one minus their soft Dice in the batch."""
    entropy = nn.functional.binary_cross_entropy_with_logits(scores, lesions, reduction="none") * masks
    found, wanted = torch.sigmoid(scores) * masks, lesions * masks
    dice = (2.0 * (found * wanted).sum() + 10.0) / ((found + wanted).sum() + 10.0)
    return entropy.sum() / masks.sum().clamp(min=1.0) + (1.0 - dice)


class StructureTraining:
    """The network, its running average, the optimizer and the step they are at."""

    def __init__(self, recipe: StructureRecipe, folder: Path, device: str = "cpu") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device, self.step = recipe, folder, device, 0
        self.network = build(NetworkSize()).to(device)
        self.average = build(NetworkSize()).to(device).eval()
        self.average.load_state_dict(self.network.state_dict())
        parameters = self.network.parameters()
        self.optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)

    def advance(self, batch: Batch) -> float:
        """One step; returns the loss."""
        seen, shares, lesions, masks = (part.to(self.device) for part in batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate()
        with torch.autocast(self.device, dtype=torch.bfloat16):
            scores = self.network(seen.to(memory_format=torch.channels_last)).float()
        loss = structure_loss(scores[:, :-1], shares, masks) + lesion_loss(scores[:, -1], lesions, masks)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    def save(self) -> None:
        """Replace the checkpoint."""
        tensors = named("network", self.network.state_dict()) | named("average", self.average.state_dict())
        tensors |= named("optimizer", optimizer_tensors(self.optimizer))
        write_checkpoint(self.folder / CHECKPOINT, tensors, {"step": str(self.step)})

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if (self.folder / CHECKPOINT).is_file():
            tensors, counters = read_checkpoint(self.folder / CHECKPOINT)
            self.step = int(counters["step"])
            self.network.load_state_dict(below(tensors, "network"))
            self.average.load_state_dict(below(tensors, "average"))
            restore_optimizer(self.optimizer, below(tensors, "optimizer"))

    def _rate(self) -> float:
        """Linear rise, then half a cosine down to nothing at the recipe's last step."""
        progress = min(self.step / self.recipe.steps, 1.0)
        return min(1.0, (self.step + 1) / self.recipe.warm_up) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def _follow(self) -> None:
        share = min(self.recipe.average, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, 1.0 - share)


def structure_dice(network: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """Dice of every structure over all pixels inside the masks, shares taken as the most likely structure."""
    both, sizes = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for seen, shares, _, masks in batches:
        with torch.inference_mode():
            found = network(seen)[:, :-1].argmax(1)[masks].numpy()
        wanted = shares.argmax(1)[masks].numpy()
        both += np.bincount(found[found == wanted], minlength=len(NAMES))
        sizes += np.bincount(found, minlength=len(NAMES)) + np.bincount(wanted, minlength=len(NAMES))
    return {name: float(2.0 * both[k] / sizes[k]) for k, name in enumerate(NAMES) if k != OUTSIDE and sizes[k]}


def lesion_precision(network: nn.Module, batches: list[Batch]) -> float:
    """Average precision of the lesions (more than half of a pixel) over all pixels inside the masks."""
    scores, wanted = [], []
    for seen, _, lesions, masks in batches:
        with torch.inference_mode():
            scores.append(network(seen)[:, -1][masks].numpy())
        wanted.append((lesions[masks] > 0.5).numpy())
    return average_precision(ranking(np.concatenate(wanted), np.concatenate(scores)))


def train(data: Path, folder: Path, recipe: StructureRecipe, minutes: float = math.inf, device: str = "cpu") -> None:
    """Make the bank, train to the recipe's last step or for ``minutes``, write checkpoint, log and averaged weights."""
    files = sorted((data / "synthseg_label_maps").glob("*.nii.gz"))
    make_bank(files, recipe.anatomies_each, folder / "bank", recipe.seed)
    lesions = lesion_bank(data)
    learned = read_bank(folder / "bank", [file for file in files if file.name not in recipe.held_out])
    held_out = read_bank(folder / "bank", [file for file in files if file.name in recipe.held_out])
    measured = [painted_batch(held_out, lesions, 1, (recipe.seed, 1, n)) for n in range(recipe.measured_slabs)]
    training = StructureTraining(recipe, folder, device)
    training.resume()
    start, losses = time.monotonic(), []
    loader = DataLoader(PaintedBatches(learned, lesions, recipe, training.step), batch_size=None, num_workers=1)
    for batch in loader:
        if training.step >= recipe.steps or time.monotonic() - start > 60.0 * minutes:
            break
        losses.append(training.advance(batch))
        if training.step % recipe.checkpoint_every == 0:
            training.save()
            _report(training, float(np.mean(losses)), measured, time.monotonic() - start)
            losses = []
    training.save()
    export(training, learned)


def export(training: StructureTraining, learned: Bank) -> None:
    """Averaged weights in half precision with the place prior at 4 mm, and what they were made from."""
    prior = learned.place_prior()
    halves = prior.reshape(len(NAMES), *(size for side in prior.shape[1:] for size in (side // 2, 2))).mean((2, 4, 6))
    tensors = {name: value.half().contiguous() for name, value in training.average.state_dict().items()}
    tensors[PLACE_PRIOR] = torch.from_numpy(np.ascontiguousarray(halves)).half()
    save_file(tensors, training.folder / WEIGHTS_FILE)
    sources = sorted(set(learned.sources))
    facts = {"structures": NAMES, "step": training.step, "label_maps": sources, "recipe": asdict(training.recipe)}
    facts |= {"channels": NetworkSize().channels}
    (training.folder / NETWORK_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    sums = {name: sha256(training.folder / name) for name in (WEIGHTS_FILE, NETWORK_FILE)}
    (training.folder / "SHA256SUMS.json").write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def _report(training: StructureTraining, loss: float, measured: list[Batch], seconds: float) -> None:
    dice = structure_dice(training.average, measured)
    words = " ".join(f"{name.split()[0]} {value:.3f}" for name, value in dice.items())
    precision = lesion_precision(training.average, measured)
    found = f"dice {np.mean(list(dice.values())):.4f} lesions {precision:.4f}"
    line = f"step {training.step} {seconds:.0f} s loss {loss:.4f} {found}: {words}"
    print(line, flush=True)
    with (training.folder / "log.txt").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
