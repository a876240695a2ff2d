"""Maps of different detectors on one scale: how rarely a healthy voxel is as high, and the mean of that.

A map's value becomes -log10 of the part of healthy brain voxels that are higher (its calibrated p-value), read off a
table of healthy quantiles and carried on in a straight line beyond it, so that the order of voxels stays. The mean of
several maps' evidence is Fisher's statistic (Fisher 1925) up to a constant; the maps are not independent, so the mean
is a score, not a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..io.geometry import FloatArray

# -log10 of the part of healthy voxels above each entry of a table.
LEVELS = np.asarray([0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.3, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0], dtype=np.float64)
MOST_EVIDENCE = 12.0
_LEAST_RISE = 1e-6


def evidence(values: FloatArray, table: FloatArray) -> FloatArray:
    """-log10 p of ``values`` (any shape), from 0 to ``MOST_EVIDENCE``."""
    steps = np.maximum.accumulate(table.astype(np.float64)) + _LEAST_RISE * np.arange(len(LEVELS))
    inside = np.interp(values, steps, LEVELS)
    slope = (LEVELS[-1] - LEVELS[-5]) / max(steps[-1] - steps[-5], _LEAST_RISE)
    beyond = LEVELS[-1] + (values - steps[-1]) * slope
    return np.minimum(np.where(values > steps[-1], beyond, inside), MOST_EVIDENCE).astype(np.float32)


def weighted_evidence(parts: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Weighted mean of several maps' evidence (Good 1955 for weights on Fisher's statistic)."""
    return np.asarray(np.average(np.stack(parts), axis=0, weights=weights), dtype=np.float32)
