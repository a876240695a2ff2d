"""Axial FLAIR slices of the shared stroke data on the 2 mm template grid, split by subject number.

Slices lie at z = +18 mm. Subjects whose number ends in 0 or 5 are the test, all others may be learned from; only
slices without an acute lesion count as healthy, although the patients are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.fitting import center_fit

GRID = (96, 112)
_LEAST_BRAIN_PIXELS = 2000


@dataclass(frozen=True, eq=False)
class Slices:
    """``image`` (i, j, n), brain median 1, 0 outside; ``brain_mask`` and ``lesion`` likewise. RAS axis order, 2 mm."""

    image: np.ndarray
    brain_mask: np.ndarray
    lesion: np.ndarray

    def scan(self) -> SliceScan:
        """The slices as one healthy scan to learn from."""
        return SliceScan(self)


@dataclass(frozen=True, eq=False)
class SliceScan:
    """Slices of many subjects where a trainer expects a volume."""

    slices: Slices

    def image(self) -> np.ndarray:
        """Intensities (i, j, n)."""
        return self.slices.image

    def mask(self) -> np.ndarray:
        """The brain (i, j, n)."""
        return self.slices.brain_mask


def load(data: Path) -> tuple[Slices, Slices, Slices]:
    """Healthy slices to train on, healthy slices to calibrate with, and all slices of the test subjects."""
    with np.load(data / "soop_flair_2d" / "soop_flair_2d.npz", allow_pickle=False) as stored:
        numbers = np.array([int(name.split("-")[1]) for name in stored["ids"]])
        flair, lesion = stored["flair_ax"], stored["lesion_ax"]
    test = numbers % 5 == 0
    healthy = ~test & (lesion.sum(axis=(1, 2)) == 0)
    calibration = healthy & (numbers % 5 == 1)
    parts = (healthy & ~calibration, calibration, test)
    training, held_out, tested = (_slices(flair[part], lesion[part]) for part in parts)
    return training, held_out, tested


def _slices(flair: np.ndarray, lesion: np.ndarray) -> Slices:
    pairs = [(_halved(one), _halved(mask) > 0.5) for one, mask in zip(flair, lesion > 0, strict=True)]
    pairs = [pair for pair in pairs if (pair[0] > 0).sum() > _LEAST_BRAIN_PIXELS]
    image = np.stack([one / np.median(one[one > 0]) for one, _ in pairs], axis=-1).astype(np.float32)
    return Slices(image, image > 0, np.stack([mask for _, mask in pairs], axis=-1))


def _halved(plane: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels, left to right turned (LAS to RAS), about the middle of the template grid."""
    even = center_fit(plane[::-1].astype(np.float32), tuple(2 * size for size in GRID))
    return even.reshape(GRID[0], 2, GRID[1], 2).mean(axis=(1, 3))
