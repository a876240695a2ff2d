"""What evidence is read off: tables of healthy values, and how high maps and intensities are at a place in healthy
brains.

Volumes are kept at half the resolution of the grid they belong to (template, 2 mm): they are smooth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from BrainAnomalyLib.io.geometry import Array, FloatArray, MaskArray
from BrainAnomalyLib.scoring.evidence import LEVELS
from BrainAnomalyLib.scoring.normal_level import smoothed_inside
from BrainAnomalyLib.scoring.normative_intensity import LEAST_DEVIATION, SMOOTHED_VOXELS, NormativeIntensity

from .calibration_statistics import PooledQuantiles

_LEVEL_SMOOTHED_VOXELS = 3.0
_LEAST_LEVEL = 0.5
_FEWEST_BRAINS = 0.5


def evidence_table(healthy: PooledQuantiles) -> FloatArray:
    """Quantiles of pooled healthy values at ``scoring.evidence.LEVELS``."""
    return np.asarray([healthy.quantile(1.0 - 10.0 ** -float(level)) for level in LEVELS], dtype=np.float32)


class NormalLevel(NamedTuple):
    """``levels``: root of a map's smoothed healthy mean over its median in the brain (at least half), by its name.

    ``coverage``: part of the healthy scans whose brain reaches a voxel. All (i/2, j/2, k/2).
    """

    levels: dict[str, FloatArray]
    coverage: FloatArray


def normal_level(scans: Iterable[tuple[dict[str, FloatArray], MaskArray]]) -> NormalLevel:
    """From the named maps (i, j, k; even sizes) and brain masks of healthy scans on one grid."""
    sums: dict[str, Array] = {}
    brains: Array = np.zeros(0)
    count = 0
    for maps, mask in scans:
        if not count:
            brains = np.zeros(mask.shape)
            sums = {name: np.zeros(mask.shape, dtype=np.float64) for name in maps}
        brains, count = brains + mask, count + 1
        for name, values in maps.items():
            sums[name] += np.where(mask, np.nan_to_num(values), 0.0)
    levels = {name: halved(_level(total, brains, count)) for name, total in sums.items()}
    return NormalLevel(levels, halved(brains / count))


def normative_intensity(scans: Iterable[tuple[FloatArray, MaskArray]]) -> NormativeIntensity:
    """From images (i, j, k; even sizes) and brain masks of healthy scans on one grid."""
    count = total = squares = np.zeros(1)
    for image, mask in scans:
        values = smoothed_inside(image, mask, SMOOTHED_VOXELS).astype(np.float64)
        count, total, squares = count + mask, total + values, squares + values**2
    brains = np.maximum(halved(count).astype(np.float64), _FEWEST_BRAINS)
    mean = halved(total) / brains
    variance = np.maximum(halved(squares) / brains - mean**2, 0.0)
    return NormativeIntensity(mean.astype(np.float32), np.sqrt(variance + LEAST_DEVIATION**2).astype(np.float32))


def halved(volume: Array) -> FloatArray:
    """Means of 2 x 2 x 2 voxels of a volume with even sizes."""
    i, j, k = (size // 2 for size in volume.shape)
    return np.asarray(volume.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5)), dtype=np.float32)


def _level(total: Array, brains: Array, count: int) -> Array:
    """Root of the smoothed mean over its median where most healthy scans have brain; its highest where none has."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(brains, _LEVEL_SMOOTHED_VOXELS)
    known = weight > 0.5
    mean = ndimage.gaussian_filter(total, _LEVEL_SMOOTHED_VOXELS) / np.maximum(weight, 0.5)
    middle = max(float(np.median(mean[brains > count / 2])), 1e-6)
    mean = np.where(known, mean, mean[known].max())
    return np.asarray(np.sqrt(np.maximum(mean / middle, _LEAST_LEVEL)))
