"""Evidence of several contrasts as one: a weighted sum whose healthy distribution is known, dependence included.

Every contrast's anomaly map becomes -log10 of the part of healthy voxels that are as high, by the thresholds that its
calibration states. ln(10) times that is exponential in healthy brains; a weighted sum of such parts that depend on
each other is close to a gamma distribution with the same mean and variance (Brown 1975, doi:10.2307/2529826; Kost &
McDermott 2002, doi:10.1016/S0167-7152(02)00310-3). So the pooled map means what each single one means.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..io.geometry import FloatArray

JOINT = "joint"
UNIT = "-log10 of the part of healthy voxels as high, over all contrasts together"
MOST_EVIDENCE = 12.0
# What one contrast's evidence counts, and that of all intensities together. The latter count little: they lose more on
# painted heads with lesions of multiple sclerosis than they gain on a glioma, where FLAIR at 4 is best beside them,
# Testing/benchmarks/several_contrasts.py. PD is taken for T2w.
WEIGHTS = {"FLAIR": 4.0, "T2w": 1.0, "T1w": 1.0, "PD": 1.0, JOINT: 1.0}
# Mean correlation of the parts in three healthy painted heads, Testing/benchmarks/several_contrasts.py --part painted.
_PARTS = ("FLAIR", "T2w", "T1w", JOINT)
_CORRELATION = np.array(
    [
        [1.0, 0.61, 0.57, 0.02],
        [0.61, 1.0, 0.68, 0.07],
        [0.57, 0.68, 1.0, -0.02],
        [0.02, 0.07, -0.02, 1.0],
    ]
)
# 1 mL of the 1500 mL of a brain, as the default thresholds of single contrasts are promised.
DEFAULT_EVIDENCE = 3.2


def map_evidence(values: FloatArray, by_rate: Mapping[float, float]) -> FloatArray:
    """-log10 of the part of healthy voxels as high, of a map's ``values`` (any shape), 0 to ``MOST_EVIDENCE``.

    ``by_rate`` are the map's thresholds by that part; the line through the last entries carries on beyond them.
    """
    rates = sorted(by_rate, reverse=True)
    levels = np.asarray([0.0, *(-np.log10(rate) for rate in rates)])
    steps = np.asarray([0.0, *(by_rate[rate] for rate in rates)])
    slope = (levels[-1] - levels[-3]) / (steps[-1] - steps[-3])
    inside = np.interp(values, steps, levels)
    beyond = levels[-1] + (values - steps[-1]) * slope
    found = np.clip(np.where(values > steps[-1], beyond, inside), 0.0, MOST_EVIDENCE)
    return np.asarray(found, dtype=np.float32)


def pooled(parts: Mapping[str, FloatArray]) -> FloatArray:
    """The evidence of all ``parts`` (contrast or ``JOINT`` to evidence, of one shape) together, of the same unit."""
    from scipy.special import gammaincc

    names = list(parts)
    weights = np.asarray([WEIGHTS[name] for name in names])
    total = np.tensordot(weights, np.stack([parts[name] for name in names]), axes=1) * np.log(10.0)
    mean, variance = float(weights.sum()), float(weights @ correlation(names) @ weights)
    tail = gammaincc(mean**2 / variance, total * mean / variance)
    return np.asarray(-np.log10(np.maximum(tail, 10.0**-MOST_EVIDENCE)), dtype=np.float32)


def correlation(names: list[str]) -> FloatArray:
    """Of the parts of these names in healthy brains (n, n)."""
    places = [_PARTS.index("T2w" if name == "PD" else name) for name in names]
    return np.asarray(_CORRELATION[np.ix_(places, places)])
