"""Training of the structure network on painted scans: resumable, every step a function of the seed and its number.

The data folder holds ``synthseg_label_maps``, ``ms_lesion_shapes_mni_1mm`` and ``lesion_shapes_mni_1mm``. The folder
that is written receives the bank of anatomies, a checkpoint, a log, and at the end the averaged weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from BrainAnomalyLib.detectors.anatomy.structure_network import (
    FIELD,
    GRID,
    NETWORK_FILE,
    PLACE_PRIOR,
    WEIGHTS_FILE,
    NetworkSize,
    build,
    with_places,
)
from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE
from BrainAnomalyLib.evaluation.voxels import average_precision, ranking
from BrainAnomalyLib.io.geometry import Array, FloatArray
from BrainAnomalyLib.preparation.space.grids import grid_named
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
from .anatomies import field_shape, made_anatomy
from .bank import Bank, make_bank, read_bank
from .fields import Random
from .painted_lesions import LesionBank
from .painter import lesion_bank, painted_scan

# Lesions are a small part of a brain: their cross-entropy counts as much as that of the structures.
_ENTROPY = 4.0
# Processes that paint for a GPU; anatomies of each label map that the place prior is the mean of.
_PAINTERS, _EACH = 6, 6


@dataclass(frozen=True)
class StructureRecipe:
    """Every choice of the training. ``held_out`` label maps are never learned from; they measure."""

    steps: int = 11_000
    batch: int = 2
    real_share: float = 0.3
    learning_rate: float = 1.5e-3
    warm_up: int = 300
    weight_decay: float = 1e-4
    average: float = 0.999
    seed: int = 14
    held_out: tuple[str, ...] = ("training_seg_05.nii.gz", "training_seg_18.nii.gz")
    checkpoint_every: int = 500
    measured_scans: int = 12


class Batch(NamedTuple):
    """Scans as seen (n, channel, i, j, k), shares of structures (n, structure, i, j, k; uint8, 0 to 255), lesions and
    masks (n, i, j, k), and whether the shares are known (n)."""

    seen: Tensor
    shares: Tensor
    lesions: Tensor
    masks: Tensor
    known: Tensor


class PaintedBatches(IterableDataset[Batch]):
    """Batches from ``start`` on; batch n depends on the seed, n and the kind of device alone.

    Several workers of a DataLoader paint in turns and keep the order.
    """

    def __init__(self, bank: Bank, lesions: LesionBank, recipe: StructureRecipe, start: int, device: str) -> None:
        self.bank, self.lesions, self.recipe, self.start, self.device = bank, lesions, recipe, start, device

    def __iter__(self) -> Iterator[Batch]:
        """Endless."""
        worker = get_worker_info()
        first, apart = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in count(self.start + first, apart):
            yield painted_batch(self.bank, self.lesions, self.recipe, (self.recipe.seed, step), self.device)


def painted_batch(
    bank: Bank, lesions: LesionBank, recipe: StructureRecipe, seed: tuple[int, ...], device: str
) -> Batch:
    """The batch of a seed, painted on ``device``; the tensors are the CPU's."""
    random = Random(seed, device)
    scans = [painted_scan(bank, lesions, recipe.real_share, random) for _ in range(recipe.batch)]
    seen = torch.stack([with_places(scan.image, scan.mask) for scan in scans]).half()
    shares = torch.stack([(255.0 * scan.structures).round().to(torch.uint8) for scan in scans])
    lesion, masks = torch.stack([scan.lesions for scan in scans]).half(), torch.stack([scan.mask for scan in scans])
    known = torch.tensor([scan.known for scan in scans])
    return Batch(seen.cpu(), shares.cpu(), lesion.cpu(), masks.cpu(), known)


def structure_loss(scores: Tensor, shares: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of soft labels inside the mask, and one minus the soft Dice of every structure there.

    ``scores`` and ``shares`` are (n, structure, i, j, k), ``masks`` (n, i, j, k).
    """
    inside = masks[:, None].float()
    logs = torch.log_softmax(scores, 1)
    entropy = -(shares * logs).sum(1) * masks
    found, wanted = logs.exp() * inside, shares * inside
    both = (found * wanted).sum((0, 2, 3, 4))
    sizes = (found + wanted).sum((0, 2, 3, 4))
    seen = wanted.sum((0, 2, 3, 4)) > 1.0
    dice = (2.0 * both + 1.0) / (sizes + 1.0)
    return entropy.sum() / inside.sum().clamp(min=1.0) + (1.0 - dice[seen]).mean()


def lesion_loss(scores: Tensor, lesions: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of lesions (n, i, j, k; 0 to 1) inside the mask, and one minus their soft Dice in each scan."""
    entropy = nn.functional.binary_cross_entropy_with_logits(scores, lesions, reduction="none") * masks
    found, wanted = torch.sigmoid(scores) * masks, lesions * masks
    sizes = (found + wanted).sum((1, 2, 3))
    dice = (2.0 * (found * wanted).sum((1, 2, 3)) + 10.0) / (sizes + 10.0)
    return _ENTROPY * entropy.sum() / masks.sum().clamp(min=1.0) + (1.0 - dice).mean()


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
        seen, shares, lesions, masks, known = (part.to(self.device, non_blocking=True) for part in batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate()
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device != "cpu"):
            scores = self.network(seen.float()).float()
        loss = lesion_loss(scores[:, -1], lesions.float(), masks)
        if bool(known.any()):
            loss = loss + structure_loss(scores[known, :-1], shares[known].float() / 255.0, masks[known])
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


def measured_quality(network: nn.Module, batches: list[Batch], device: str) -> tuple[dict[str, float], float]:
    """Dice of every structure over all voxels inside the masks, shares taken as the most likely structure, and the
    average precision of the lesions (more than half of a voxel)."""
    both, sizes = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    odds, ill = [], []
    for batch in batches:
        with torch.inference_mode():
            scores = network(batch.seen.float().to(device)).cpu()
        found = scores[:, :-1].argmax(1)[batch.masks].numpy()
        wanted = batch.shares.argmax(1)[batch.masks].numpy()
        both += np.bincount(found[found == wanted], minlength=len(NAMES))
        sizes += np.bincount(found, minlength=len(NAMES)) + np.bincount(wanted, minlength=len(NAMES))
        odds.append(scores[:, -1][batch.masks].numpy())
        ill.append((batch.lesions[batch.masks] > 0.5).numpy())
    dice = {name: float(2.0 * both[k] / sizes[k]) for k, name in enumerate(NAMES) if k != OUTSIDE and sizes[k]}
    return dice, average_precision(ranking(np.concatenate(ill), np.concatenate(odds)))


def train(
    data: Path,
    scans: Iterable[Array],
    folder: Path,
    recipe: StructureRecipe,
    minutes: float = math.inf,
    device: str = "cpu",
) -> None:
    """Make the bank of label maps and healthy ``scans`` (``bank.as_bytes``), train to the recipe's last step or for
    ``minutes``, write checkpoint, log and averaged weights."""
    make_bank(sorted((data / "synthseg_label_maps").glob("*.nii.gz")), scans, folder)
    learn(folder, lesion_bank(data), recipe, minutes, device)


def learn(folder: Path, lesions: LesionBank, recipe: StructureRecipe, minutes: float, device: str) -> None:
    """As ``train``, from the bank that ``folder`` holds."""
    bank = read_bank(folder)
    learned, held_out = bank.without(recipe.held_out), bank.only(recipe.held_out)
    alone = replace(recipe, batch=1)
    measured = [
        painted_batch(held_out, lesions, alone, (recipe.seed, 1, n), device) for n in range(recipe.measured_scans)
    ]
    training = StructureTraining(recipe, folder, device)
    training.resume()
    start, losses = time.monotonic(), []
    batches = PaintedBatches(learned, lesions, recipe, training.step, device)
    painters = _PAINTERS if device.startswith("cuda") else 1
    loader = DataLoader(batches, batch_size=None, num_workers=painters, multiprocessing_context="spawn")
    for batch in loader:
        if training.step >= recipe.steps or time.monotonic() - start > 60.0 * minutes:
            break
        losses.append(training.advance(batch))
        if training.step % recipe.checkpoint_every == 0:
            training.save()
            _report(training, float(np.mean(losses)), measured, time.monotonic() - start)
            losses = []
    training.save()
    export(training, learned, device)


def export(training: StructureTraining, learned: Bank, device: str) -> None:
    """Averaged weights in half precision with the place prior at 4 mm, and what they were made from."""
    prior = place_prior(learned, training.recipe, device)
    halves = prior.reshape(len(NAMES), *(size for side in prior.shape[1:] for size in (side // 2, 2))).mean((2, 4, 6))
    tensors = {name: value.half().contiguous() for name, value in training.average.state_dict().items()}
    tensors[PLACE_PRIOR] = torch.from_numpy(np.ascontiguousarray(halves)).half()
    save_file(tensors, training.folder / WEIGHTS_FILE)
    sources = sorted(set(learned.sources))
    facts = {"structures": NAMES, "step": training.step, "label_maps": sources, "recipe": asdict(training.recipe)}
    facts |= {"channels": NetworkSize().channels, "healthy_scans": len(learned.scans)}
    (training.folder / NETWORK_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    sums = {name: sha256(training.folder / name) for name in (WEIGHTS_FILE, NETWORK_FILE)}
    (training.folder / "SHA256SUMS.json").write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def place_prior(bank: Bank, recipe: StructureRecipe, device: str) -> FloatArray:
    """Mean shares (structure, i, j, k) over some anatomies of every label map, both sides alike, on the 2 mm grid."""
    mean = np.zeros((len(NAMES), *grid_named(GRID).shape), dtype=np.float32)
    mean[OUTSIDE] = 1.0
    random = Random((recipe.seed, 2), device)
    total = torch.zeros(len(NAMES), *field_shape(), device=device)
    for one in bank.labels:
        labels = torch.from_numpy(one).to(device)
        for _ in range(_EACH):
            total += made_anatomy(labels, random).soft
    mean[(slice(None), *FIELD)] = (total / (_EACH * len(bank.labels))).cpu().numpy()
    return np.asarray((mean + mean[:, ::-1]) / 2.0, dtype=np.float32)


def _report(training: StructureTraining, loss: float, measured: list[Batch], seconds: float) -> None:
    dice, precision = measured_quality(training.average, measured, training.device)
    words = " ".join(f"{name.split()[0]} {value:.3f}" for name, value in dice.items())
    found = f"dice {np.mean(list(dice.values())):.4f} lesions {precision:.4f}"
    line = f"step {training.step} {seconds:.0f} s loss {loss:.4f} {found}: {words}"
    print(line, flush=True)
    with (training.folder / "log.txt").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
