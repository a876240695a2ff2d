"""Scans for tests of cohorts: brains that differ, at the coarsest voxel size that still aligns well."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from BrainAnomalyLib.io.geometry import FloatArray, Grid
from synthetic import flair_brain, grid_of

COARSE: Grid = grid_of((48, 56, 48), (4.0, 4.0, 4.0), center=(0.0, -17.0, 5.0))


def coarse_brain(seed: int) -> FloatArray:
    """A brain-extracted, FLAIR-like scan on ``COARSE`` with noise of its own."""
    image = _brain()
    noisy = image + np.random.default_rng(seed).normal(0.0, 1.0, image.shape)
    return np.where(image > 0, np.maximum(noisy, 1.0), 0.0).astype(np.float32)


def coarse_box(seed: int) -> FloatArray:
    """A box of noise with a brain's volume: taken for an extracted brain, but it fits no template."""
    image = np.zeros(COARSE.shape, dtype=np.float32)
    image[10:38, 14:42, 12:40] = np.random.default_rng(seed).uniform(50.0, 150.0, (28, 28, 28))
    return image


@lru_cache(maxsize=1)
def _brain() -> FloatArray:
    return flair_brain(COARSE, lesion=False)
