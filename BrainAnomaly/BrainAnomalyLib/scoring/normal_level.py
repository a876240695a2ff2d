"""How high a map is in healthy brains, place by place, and a map relative to that.

Vessels, cisterns and folds that no affine registration matches raise a map in every healthy brain. Dividing by the
root of the healthy mean there keeps them from being findings, and where hardly any healthy scan had brain, a map says
nothing. Volumes are kept at half the resolution of the grid they belong to (template, 2 mm): they are smooth.
"""

from __future__ import annotations

import numpy as np

from ..io.geometry import FloatArray, MaskArray

_LEAST_COVERAGE = 0.2


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
