"""Slice scores: which axial slices look least healthy (Luo et al., Appendix E1, and an absolute variant)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import FloatArray, MaskArray


@dataclass(frozen=True, eq=False)
class SliceProfile:
    """Scores of the axial slices of the template grid, from inferior to superior.

    ``position_mm``: template z of each slice. ``normality``: Luo's s(u) in [0, 1], 0 for the least healthy slice of
    this scan. ``mean_anomaly``: absolute, mean anomaly over the slice's brain in the map's unit, comparable between
    scans. ``brain_fraction``: part of the slice that is brain.
    """

    position_mm: NDArray[np.float64]
    normality: NDArray[np.float64]
    mean_anomaly: NDArray[np.float64]
    brain_fraction: NDArray[np.float64]

    def to_json(self) -> dict[str, list[float]]:
        """All columns as lists."""
        return {name: np.round(column, 6).tolist() for name, column in vars(self).items()}


def slice_profile(anomaly: FloatArray, brain_mask: MaskArray, position_mm: NDArray[np.float64]) -> SliceProfile:
    """Profile over the last axis (k, RAS order) of a cleaned anomaly map in template space."""
    errors = np.abs(anomaly, dtype=np.float64).sum(axis=(0, 1))
    area = brain_mask.sum(axis=(0, 1))
    return SliceProfile(
        position_mm=position_mm,
        normality=normality_scores(errors),
        mean_anomaly=errors / np.maximum(area, 1),
        brain_fraction=area / float(brain_mask.shape[0] * brain_mask.shape[1]),
    )


def normality_scores(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Luo's s(u) = 1 - (e(u) - min e) / (max e - min e); 1 everywhere if all slices are equal."""
    span = float(errors.max() - errors.min())
    if span <= 0.0:
        return np.ones_like(errors)
    return np.asarray(1.0 - (errors - errors.min()) / span)
