"""How high a map is in healthy brains, place by place, and a map relative to that.

Vessels, cisterns and folds that no affine registration matches raise a map in every healthy brain. Dividing by the
root of the healthy mean there keeps them from being findings, and where hardly any healthy scan had brain, a map says
nothing. Volumes are kept at half the resolution of the grid they belong to (template, 2 mm): they are smooth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..io.geometry import Array, FloatArray, MaskArray

_SMOOTHED_VOXELS = 3.0
_LEAST_LEVEL = 0.5
_LEAST_COVERAGE = 0.2


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


def relative(values: FloatArray, level: FloatArray) -> FloatArray:
    """``values`` (i, j, k) over their normal ``level`` (half resolution)."""
    return np.asarray(values / on_grid(level, values.shape), dtype=np.float32)


def covered(coverage: FloatArray, shape: tuple[int, ...]) -> MaskArray:
    """Where at least a fifth of the healthy scans have brain, at full resolution."""
    return np.asarray(on_grid(coverage, shape) >= _LEAST_COVERAGE)


def on_grid(volume: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """A volume of half the resolution at the full one, linear between the middles of its voxels."""
    from scipy import ndimage

    factors = [full / half for full, half in zip(shape, volume.shape, strict=True)]
    full = ndimage.zoom(volume.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
    return np.asarray(full, dtype=np.float32)


def smoothed_inside(values: FloatArray, inside: MaskArray, sigma_voxels: float) -> FloatArray:
    """Gaussian mean of the voxels of ``inside`` alone, 0 elsewhere."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma_voxels)
    mean = ndimage.gaussian_filter(np.where(inside, values, 0.0).astype(np.float32), sigma_voxels)
    return np.where(inside, mean / np.maximum(weight, 1e-3), 0.0).astype(np.float32)


def halved(volume: Array) -> FloatArray:
    """Means of 2 x 2 x 2 voxels of a volume with even sizes."""
    i, j, k = (size // 2 for size in volume.shape)
    return np.asarray(volume.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5)), dtype=np.float32)


def _level(total: Array, brains: Array, count: int) -> Array:
    """Root of the smoothed mean over its median where most healthy scans have brain; its highest where none has."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(brains, _SMOOTHED_VOXELS)
    known = weight > 0.5
    mean = ndimage.gaussian_filter(total, _SMOOTHED_VOXELS) / np.maximum(weight, 0.5)
    middle = max(float(np.median(mean[brains > count / 2])), 1e-6)
    mean = np.where(known, mean, mean[known].max())
    return np.asarray(np.sqrt(np.maximum(mean / middle, _LEAST_LEVEL)))
