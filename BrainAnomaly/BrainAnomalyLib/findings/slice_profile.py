"""Slice scores: which axial slices look least healthy (Luo et al., Appendix E1, and an absolute variant)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import FloatArray, MaskArray


@dataclass(frozen=True, eq=False)
class SliceProfile:
    """Scores of the axial slices of the template grid, from inferior to superior.

    ``position_mm``: template z of each slice. ``normality``: Luo's s(u) in [0, 1], 0 for the least healthy slice of
    this scan. ``mean_anomaly``: mean anomaly over the slice's brain in the map's unit, comparable between scans.
    ``absolute_normality``: share of healthy scans whose mean anomaly at the same level is at least as high, in (0, 1];
    NaN for detectors without a healthy calibration. ``brain_fraction``: part of the slice that is brain.
    """

    position_mm: NDArray[np.float64]
    normality: NDArray[np.float64]
    mean_anomaly: NDArray[np.float64]
    absolute_normality: NDArray[np.float64]
    brain_fraction: NDArray[np.float64]

    def to_json(self) -> dict[str, list[float | None]]:
        """All columns as lists; None for what is not calibrated."""
        return {name: _listed(column) for name, column in vars(self).items()}


def slice_profile(
    anomaly: FloatArray,
    brain_mask: MaskArray,
    position_mm: NDArray[np.float64],
    healthy_means: FloatArray | None = None,
) -> SliceProfile:
    """Profile over the last axis (k, RAS order) of a cleaned anomaly map in template space.

    ``healthy_means`` (scans, slices) are ``slice_means`` of healthy scans on the same grid.
    """
    errors, area = _slice_sums(anomaly), brain_mask.sum(axis=(0, 1))
    means = errors / np.maximum(area, 1)
    return SliceProfile(
        position_mm=position_mm,
        normality=normality_scores(errors),
        mean_anomaly=means,
        absolute_normality=absolute_normality(means, healthy_means),
        brain_fraction=area / float(brain_mask.shape[0] * brain_mask.shape[1]),
    )


def normality_scores(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Luo's s(u) = 1 - (e(u) - min e) / (max e - min e); 1 everywhere if all slices are equal."""
    span = float(errors.max() - errors.min())
    if span <= 0.0:
        return np.ones_like(errors)
    return np.asarray(1.0 - (errors - errors.min()) / span)


def slice_means(anomaly: FloatArray, brain_mask: MaskArray) -> NDArray[np.float64]:
    """Mean absolute anomaly over the brain of every axial slice, 0 where there is no brain."""
    return np.asarray(_slice_sums(anomaly) / np.maximum(brain_mask.sum(axis=(0, 1)), 1))


def absolute_normality(means: NDArray[np.float64], healthy_means: FloatArray | None) -> NDArray[np.float64]:
    """S(u) = (1 + number of healthy scans with a mean of at least this one's at level u) / (1 + healthy scans)."""
    if healthy_means is None:
        return np.full(means.shape, np.nan)
    return np.asarray((1.0 + (healthy_means >= means).sum(axis=0)) / (1.0 + len(healthy_means)))


def _slice_sums(anomaly: FloatArray) -> NDArray[np.float64]:
    return np.asarray(np.abs(anomaly).sum(axis=(0, 1), dtype=np.float64))


def _listed(column: NDArray[np.float64]) -> list[float | None]:
    return [round(float(value), 6) if np.isfinite(value) else None for value in column]
