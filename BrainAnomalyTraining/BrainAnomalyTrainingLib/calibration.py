"""Calibration on held-out healthy scans: what a network leaves behind where nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.geometry import FloatArray, MaskArray
from BrainAnomalyLib.scoring.residuals import cleaned

RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
_SMOOTHING_VOXELS = 2.0


@dataclass(frozen=True, eq=False)
class HealthyResidual:
    """Absolute residual of one healthy scan and its brain mask, on the template grid (i, j, k)."""

    absolute: FloatArray
    brain_mask: MaskArray


@dataclass(frozen=True)
class Calibration:
    """Thresholds from healthy scans.

    ``quantiles``: fraction of healthy brain voxels above a threshold -> the threshold. ``default_threshold`` is the
    smallest that leaves at most ``default_ml`` of findings per healthy scan on average.
    """

    scans: int
    quantiles: dict[float, float]
    default_threshold: float
    default_ml: float


def healthy_rms(residuals: list[HealthyResidual]) -> FloatArray:
    """Root mean square residual at every voxel, smoothed by 2 voxels, 0 where no scan has brain."""
    squares = np.sum([residual.absolute.astype(np.float64) ** 2 for residual in residuals], axis=0)
    counts = np.sum([residual.brain_mask for residual in residuals], axis=0, dtype=np.float64)
    smooth_squares, smooth_counts = (ndimage.gaussian_filter(part, _SMOOTHING_VOXELS) for part in (squares, counts))
    return np.sqrt(smooth_squares / np.maximum(smooth_counts, 1e-2)).astype(np.float32)


def leave_one_out_maps(residuals: list[HealthyResidual], floor: float) -> list[FloatArray]:
    """The cleaned anomaly map of every scan, scaled by the RMS map of all the others."""
    maps = []
    for index, residual in enumerate(residuals):
        others = healthy_rms(residuals[:index] + residuals[index + 1 :])
        maps.append(cleaned(residual.absolute / np.maximum(others, floor), residual.brain_mask))
    return maps


def calibrate(
    maps: list[FloatArray], masks: list[MaskArray], voxel_mm3: float, minimum_mm3: float = 20.0, most_ml: float = 1.0
) -> Calibration:
    """Quantiles over all healthy brain voxels and the default threshold, from cleaned maps of healthy scans."""
    pooled = np.concatenate([anomaly[mask] for anomaly, mask in zip(maps, masks, strict=True)])
    quantiles = {rate: float(np.quantile(pooled, 1.0 - rate)) for rate in RATES}
    low, high = quantiles[RATES[-1]], float(pooled.max())
    for _ in range(25):
        middle = (low + high) / 2.0
        volume = np.mean([false_positive_ml(anomaly, middle, voxel_mm3, minimum_mm3) for anomaly in maps])
        low, high = (middle, high) if volume > most_ml else (low, middle)
    return Calibration(len(maps), quantiles, high, most_ml)


def false_positive_ml(anomaly: FloatArray, threshold: float, voxel_mm3: float, minimum_mm3: float = 20.0) -> float:
    """Volume of all findings of a healthy scan at a threshold, in mL."""
    labels: NDArray[np.int32] = connected_components(anomaly > threshold, voxel_mm3, minimum_mm3)
    return float(np.count_nonzero(labels)) * voxel_mm3 / 1000.0
