"""What a scan should look like where it is healthy: its own levels of the structures that belong at each voxel.

E = sum over structures k of P_k v_k, with v_k the scan's own robust level of structure k, and a slow field that bias
and place leave. z = (scan - E) / s, with s from each structure's own spread and from the mixture. Scale and offset of
the intensities cancel. Outliers of one pass are left out of the next, as in Van Leemput et al. 2001.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...io.geometry import FloatArray, MaskArray
from ...io.resampling import smoothed
from .structures import OUTSIDE

_PASSES = 3
# A voxel is sure of its structure above this share; fewer than so many sure voxels say nothing about a structure.
_SURE, _FEWEST = 0.8, 30
# Deviations beyond which a voxel counts as an outlier; the median absolute deviation of a normal distribution.
_OUTLIER, _MAD_TO_SIGMA = 3.0, 1.4826
# The slow field: 20 mm.
_FIELD_VOXELS = 10.0
# A place that hardly any anatomy has still gets this much of a structure.
_LEAST_PRIOR = 0.02
# The least spread of a structure, of the range of its scan's levels, and how much of the mixture's variance counts: the
# network is surer than its shares say. Both by lesions inserted into healthy scans of three contrasts.
_LEAST_SPREAD, _MIXTURE = 0.06, 0.25
# Below so many deviations the pseudo-healthy scan keeps the scan's own texture; above the second nothing of it.
_KEPT, _REPLACED = 1.5, 3.0
# The same for the probability that a lesion covers the voxel.
_KEPT_SURE, _REPLACED_SURE = 0.2, 0.6


class ExpectedScan(NamedTuple):
    """``expected`` in the scan's units and ``deviation`` z, signed (i, j, k); both 0 outside the brain mask.

    ``explained`` is the share of the variance that is expected, of the voxels that are no outliers.
    """

    expected: FloatArray
    deviation: FloatArray
    explained: float


def with_place(shares: FloatArray, prior: FloatArray) -> FloatArray:
    """Shares (structure, i, j, k) times what is common at a place (structure, i, j, k), adding up to one again."""
    weighed = shares * (prior + _LEAST_PRIOR)
    return np.asarray(weighed / np.maximum(weighed.sum(axis=0), 1e-6), dtype=np.float32)


def expected_scan(image: FloatArray, mask: MaskArray, shares: FloatArray) -> ExpectedScan:
    """From a scan (i, j, k; any unit and offset), its brain mask and the structures' shares (structure, i, j, k)."""
    usable = mask & (shares[OUTSIDE] < 1.0 - _SURE)
    inliers, field = usable.copy(), np.zeros_like(image)
    expected = deviation = np.zeros_like(image)
    for _ in range(_PASSES):
        levels, spreads = _levels(image - field, shares, inliers)
        base = np.tensordot(levels, shares, axes=1)
        weight = smoothed(inliers.astype(np.float32), _FIELD_VOXELS)
        residual = np.where(inliers, image - base, 0.0).astype(np.float32)
        field = np.asarray(smoothed(residual, _FIELD_VOXELS) / np.maximum(weight, 1e-3), dtype=np.float32)
        expected = base + field
        mixture = np.tensordot(levels**2, shares, axes=1) - base**2
        variance = np.tensordot(spreads**2, shares, axes=1) + _MIXTURE * np.maximum(mixture, 0.0)
        deviation = (image - expected) / np.sqrt(variance)
        inliers = usable & (np.abs(deviation) < _OUTLIER)
    return ExpectedScan(
        np.where(mask, expected, 0.0).astype(np.float32),
        np.where(mask, deviation, 0.0).astype(np.float32),
        _explained(image[inliers], expected[inliers]),
    )


def pseudo_healthy(image: FloatArray, found: ExpectedScan, lesion: FloatArray) -> FloatArray:
    """The scan with its own texture where it is as expected, what is expected where it is not, blended in between.

    ``lesion`` is the probability that something else covers a voxel (i, j, k).
    """
    from scipy import ndimage

    size = ndimage.gaussian_filter(np.abs(found.deviation), 0.7)
    blend = np.clip((size - _KEPT) / (_REPLACED - _KEPT), 0.0, 1.0)
    blend = np.maximum(blend, np.clip((lesion - _KEPT_SURE) / (_REPLACED_SURE - _KEPT_SURE), 0.0, 1.0))
    return np.asarray(image + blend * (found.expected - image), dtype=np.float32)


def _explained(values: FloatArray, expected: FloatArray) -> float:
    """Share of the variance of ``values`` that is expected; 0 where they do not vary."""
    variance = float(np.var(values)) if len(values) else 0.0
    return 1.0 - float(np.mean((values - expected) ** 2)) / variance if variance > 0.0 else 0.0


def _levels(image: FloatArray, shares: FloatArray, inliers: MaskArray) -> tuple[FloatArray, FloatArray]:
    """Median and robust spread of every structure's sure voxels; one with too few takes those of all."""
    count = len(shares)
    levels, spreads = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
    known = np.zeros(count, dtype=np.bool_)
    for k in range(1, count):
        values = image[inliers & (shares[k] > _SURE)]
        if len(values) >= _FEWEST:
            levels[k], known[k] = np.median(values), True
            spreads[k] = _MAD_TO_SIGMA * np.median(np.abs(values - levels[k]))
    if not known.any():
        levels[:], spreads[:] = np.median(image[inliers]) if inliers.any() else 0.0, 1.0
        return levels, spreads
    levels[~known], spreads[~known] = np.median(levels[known]), np.ptp(levels[known])
    least = max(_LEAST_SPREAD * float(np.ptp(levels[known])), 1e-9)
    return levels, np.maximum(spreads, least)
