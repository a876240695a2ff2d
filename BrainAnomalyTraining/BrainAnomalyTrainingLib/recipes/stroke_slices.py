"""Axial FLAIR slices of the shared stroke data on the 2 mm template grid, split by subject number.

Slices lie at z = +18 mm. Subjects whose number ends in 0 or 5 are the test, all others may be learned from; only
slices without an acute lesion count as healthy, although the patients are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.fitting import center_fit
from BrainAnomalyLib.io.geometry import Array
from BrainAnomalyLib.preparation.space.template import load_template

from .held_scan import HeldScan

GRID = (96, 112)
_LEAST_BRAIN_PIXELS = 2000
_HEIGHT_MM = 18.0
# Sure white matter this much brighter than its own median counts as a chronic lesion.
_BRIGHT = 1.2


@dataclass(frozen=True, eq=False)
class Slices:
    """``image`` (i, j, n), brain median 1, 0 outside; ``brain_mask`` and ``lesion`` likewise. RAS axis order, 2 mm."""

    image: Array
    brain_mask: Array
    lesion: Array

    def scan(self) -> HeldScan:
        """The slices as one healthy scan to learn from."""
        return HeldScan(self.image, self.brain_mask)


def template_slice() -> int:
    """Which axial slice of the 2 mm template the slices are."""
    affine = load_template("template_2mm").grid.affine
    return round(float((np.linalg.inv(affine) @ [0.0, 0.0, _HEIGHT_MM, 1.0])[2]))


def calmest(slices: Slices, share: float = 0.5) -> Slices:
    """The ``share`` of the slices with the least bright white matter: stroke patients often have chronic lesions in it.

    Nothing but intensities and the template's white matter decides.
    """
    white = load_template("template_2mm").white_matter[:, :, template_slice()] > 0.8
    bright = []
    for index in range(slices.image.shape[2]):
        values = slices.image[..., index][white & slices.brain_mask[..., index]]
        bright.append(float(np.mean(values > _BRIGHT * np.median(values))))
    chosen = np.sort(np.argsort(bright)[: max(1, round(share * len(bright)))])
    return Slices(slices.image[..., chosen], slices.brain_mask[..., chosen], slices.lesion[..., chosen])


def training_slices(data: Path) -> Slices:
    """Slices without an acute lesion of the subjects that may be learned from, not of numbers that end in 1 or 6."""
    return selected(data, lambda numbers, ill: ~ill & (numbers % 5 > 1))


def selected(data: Path, choose: Callable[[Array, Array], Array]) -> Slices:
    """Slices of the folder ``data`` chosen by subject numbers (n,) and whether there is an acute lesion (n,)."""
    numbers, flair, lesion = _stored(data)
    chosen = choose(numbers, np.asarray(lesion.any(axis=(1, 2))))
    return _slices(flair[chosen], lesion[chosen])


def _stored(data: Path) -> tuple[Array, Array, Array]:
    """Subject number, FLAIR and lesion of every axial slice (n, i, j), as deposited."""
    with np.load(data / "soop_flair_2d.npz", allow_pickle=False) as stored:
        numbers = np.array([int(name.split("-")[1]) for name in stored["ids"]])
        return numbers, stored["flair_ax"], stored["lesion_ax"]


def _slices(flair: Array, lesion: Array) -> Slices:
    pairs = [(_halved(one), _halved(mask) > 0.5) for one, mask in zip(flair, lesion > 0, strict=True)]
    pairs = [pair for pair in pairs if (pair[0] > 0).sum() > _LEAST_BRAIN_PIXELS]
    image = np.stack([one / np.median(one[one > 0]) for one, _ in pairs], axis=-1).astype(np.float32)
    return Slices(image, image > 0, np.stack([mask for _, mask in pairs], axis=-1))


def _halved(plane: Array) -> Array:
    """Mean of 2 x 2 pixels, left to right turned (LAS to RAS), about the middle of the template grid."""
    even = center_fit(plane[::-1].astype(np.float32), tuple(2 * size for size in GRID))
    return np.asarray(even.reshape(GRID[0], 2, GRID[1], 2).mean(axis=(1, 3)))
