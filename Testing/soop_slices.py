"""Axial FLAIR slices of the shared stroke data on the 2 mm template grid, split by subject number.

Slices lie at z = +18 mm. Subjects whose number ends in 0 or 5 are the test, all others may be learned from; only
slices without an acute lesion count as healthy, although the patients are not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.fitting import center_fit
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.detectors.shipped.combined import CombinedDetector
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from cached_scans import HeldScan
from family_proof import on_template

GRID = (96, 112)
_RECIPE = Recipe(grid="template_2mm")
# Copies of a slice on either side, so that what smooths and erodes in three dimensions has something to work on.
_COPIES = 2
_LEAST_BRAIN_PIXELS = 2000
_HEIGHT_MM = 18.0
# Sure white matter this much brighter than its own median counts as a chronic lesion.
_BRIGHT = 1.2


@dataclass(frozen=True, eq=False)
class Slices:
    """``image`` (i, j, n), brain median 1, 0 outside; ``brain_mask`` and ``lesion`` likewise. RAS axis order, 2 mm."""

    image: np.ndarray
    brain_mask: np.ndarray
    lesion: np.ndarray

    def scan(self) -> HeldScan:
        """The slices as one healthy scan to learn from."""
        return HeldScan(self.image, self.brain_mask)


def template_slice() -> int:
    """Which axial slice of the 2 mm template the slices are."""
    affine = load_template("template_2mm").grid.affine
    return round(float((np.linalg.inv(affine) @ [0.0, 0.0, _HEIGHT_MM, 1.0])[2]))


def as_slab(slices: Slices, index: int) -> PreparedScan:
    """One slice, five times over, in the template's place; white matter is 1, as the preparation has it."""
    template, height = load_template("template_2mm"), template_slice()
    image, mask = np.zeros(template.grid.shape, dtype=np.float32), np.zeros(template.grid.shape, dtype=bool)
    inside = slices.brain_mask[..., index]
    white = inside & (template.white_matter[:, :, height] > 0.8)
    levels = slice(height - _COPIES, height + _COPIES + 1)
    image[:, :, levels] = (slices.image[..., index] / np.median(slices.image[..., index][white]))[..., None]
    mask[:, :, levels] = inside[..., None]
    slab = on_template(image, mask, _RECIPE)
    return replace(slab, contrast=replace(slab.contrast, contrast="FLAIR"))


def slab_maps(detector: CombinedDetector, slab: PreparedScan) -> Reconstruction:
    """The components' maps of a slab; one slice has too little to register its mirror image to: no asymmetry."""
    network = detector.network.score(slab, detector.network.reconstruct(slab)).anomaly
    maps = {"network": network, "tissue": detector.anatomy(slab), "asymmetry": np.zeros_like(network)}
    return Reconstruction(slab.image, parts=maps)


def calmest(slices: Slices, share: float = 0.5) -> Slices:
    """The ``share`` of the slices with the least bright white matter: stroke patients often have chronic lesions there.

    Nothing but intensities and the template's white matter decides.
    """
    white = load_template("template_2mm").white_matter[:, :, template_slice()] > 0.8
    bright = []
    for index in range(slices.image.shape[2]):
        values = slices.image[..., index][white & slices.brain_mask[..., index]]
        bright.append(float(np.mean(values > _BRIGHT * np.median(values))))
    chosen = np.sort(np.argsort(bright)[: max(1, round(share * len(bright)))])
    return Slices(slices.image[..., chosen], slices.brain_mask[..., chosen], slices.lesion[..., chosen])


def load(data: Path) -> tuple[Slices, Slices, Slices]:
    """Healthy slices to train on, healthy slices to calibrate with, and all slices of the test subjects."""
    numbers, flair, lesion = _stored(data)
    test = numbers % 5 == 0
    healthy = ~test & (lesion.sum(axis=(1, 2)) == 0)
    calibration = healthy & (numbers % 5 == 1)
    parts = (healthy & ~calibration, calibration, test)
    training, held_out, tested = (_slices(flair[part], lesion[part]) for part in parts)
    return training, held_out, tested


def with_lesions(data: Path) -> Slices:
    """Slices with acute lesions of subjects that are not the test's; nothing is trained on them."""
    numbers, flair, lesion = _stored(data)
    chosen = (numbers % 5 != 0) & (lesion.sum(axis=(1, 2)) > 0)
    return _slices(flair[chosen], lesion[chosen])


def _stored(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subject number, FLAIR and lesion of every axial slice (n, i, j), as deposited."""
    with np.load(data / "soop_flair_2d" / "soop_flair_2d.npz", allow_pickle=False) as stored:
        numbers = np.array([int(name.split("-")[1]) for name in stored["ids"]])
        return numbers, stored["flair_ax"], stored["lesion_ax"]


def _slices(flair: np.ndarray, lesion: np.ndarray) -> Slices:
    pairs = [(_halved(one), _halved(mask) > 0.5) for one, mask in zip(flair, lesion > 0, strict=True)]
    pairs = [pair for pair in pairs if (pair[0] > 0).sum() > _LEAST_BRAIN_PIXELS]
    image = np.stack([one / np.median(one[one > 0]) for one, _ in pairs], axis=-1).astype(np.float32)
    return Slices(image, image > 0, np.stack([mask for _, mask in pairs], axis=-1))


def _halved(plane: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels, left to right turned (LAS to RAS), about the middle of the template grid."""
    even = center_fit(plane[::-1].astype(np.float32), tuple(2 * size for size in GRID))
    return even.reshape(GRID[0], 2, GRID[1], 2).mean(axis=(1, 3))
