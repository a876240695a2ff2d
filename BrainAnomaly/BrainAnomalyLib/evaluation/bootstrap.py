"""Intervals by resampling subjects, not voxels (Efron & Tibshirani 1993), for pooled voxel metrics at little cost.

Each subject's voxels are counted in bins of a common grid once; a resample is a weighted sum of these counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .scan import EvaluatedScan

Resample = NDArray[np.int64]
_BINS = 2000
_TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over ``subjects`` resampled subjects; NaN bounds for fewer than 2.

    ``draws`` are the resampled values; estimates of equal seeds over the same subjects can be paired.
    """

    value: float
    low: float
    high: float
    subjects: int
    draws: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    def text(self, digits: int = 3) -> str:
        """Like ``0.412 [0.350, 0.470]``; a dash where there is no value."""
        if np.isnan(self.value):
            return "-"
        if np.isnan(self.low):
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def resamples(count: int, times: int, seed: int = 0) -> list[Resample]:
    """How often each of ``count`` subjects is drawn, ``times`` times; the same for the same seed."""
    random = np.random.default_rng(seed)
    return [np.bincount(random.integers(0, count, count), minlength=count) for _ in range(times)]


def estimate_mean(values: Sequence[float], times: int = 1000, seed: int = 0) -> Estimate:
    """Mean of one value per subject; NaN values are left out."""
    known = np.asarray([value for value in values if not np.isnan(value)], dtype=np.float64)
    if not known.size:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return _estimate(float(known.mean()), len(known), lambda w: float(np.average(known, weights=w)), times, seed)


def estimate_ratio(
    above: Sequence[float], below: Sequence[float], subjects: Sequence[str], times: int = 1000, seed: int = 0
) -> Estimate:
    """Sum of ``above`` over sum of ``below``, one of each per scan; all scans of a subject are drawn together."""
    names = sorted(set(subjects))
    sums = np.zeros((2, len(names)))
    for name, one, other in zip(subjects, above, below, strict=True):
        sums[:, names.index(name)] += one, other
    return _estimate(_part(sums.sum(axis=1)), len(names), lambda weights: _part(sums @ weights), times, seed)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second over the same resamples of the same subjects; an interval without 0 is a difference."""
    value = first.value - second.value
    same = first.draws.shape == second.draws.shape and first.subjects == second.subjects
    return _with_interval(value, first.draws - second.draws if same else np.zeros(0), first.subjects)


def _part(sums: NDArray[np.float64]) -> float:
    return float(sums[0] / sums[1]) if sums[1] > 0 else float("nan")


class PooledCounts:
    """Lesion and healthy voxels of every subject in bins of the pooled score, the highest first."""

    def __init__(self, scans: Sequence[EvaluatedScan], bins: int = _BINS) -> None:
        names = sorted({scan.subject for scan in scans})
        sample = np.concatenate([_thinned(scan) for scan in scans])
        shares = np.unique(np.concatenate([np.linspace(0, 1, bins // 2), 1.0 - np.geomspace(1e-6, 0.5, bins // 2)]))
        edges = np.unique(np.quantile(sample, shares))
        self.lesion, self.healthy = (np.zeros((len(names), len(edges) + 1)) for _ in range(2))
        for scan in scans:
            row, truth = names.index(scan.subject), scan.truth[scan.evaluated]
            place = len(edges) - np.searchsorted(edges, scan.anomaly[scan.evaluated], side="left")
            self.lesion[row] += np.bincount(place[truth], minlength=len(edges) + 1)
            self.healthy[row] += np.bincount(place[~truth], minlength=len(edges) + 1)

    def curves(self, weights: Resample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True and false positives down to each bin, of a resample."""
        return np.cumsum(weights @ self.lesion), np.cumsum(weights @ self.healthy)

    def average_precision(self, weights: Resample) -> float:
        """AP of a resample, to the bins' resolution; NaN without lesions."""
        hits, false = self.curves(weights)
        if hits[-1] <= 0:
            return float("nan")
        precision = hits / np.maximum(hits + false, 1.0)
        return float(np.sum(np.diff(hits / hits[-1], prepend=0.0) * precision))

    def auroc(self, weights: Resample) -> float:
        """AUROC of a resample."""
        from scipy.integrate import trapezoid

        hits, false = self.curves(weights)
        if min(hits[-1], false[-1]) <= 0:
            return float("nan")
        return float(trapezoid(np.append(0.0, hits / hits[-1]), np.append(0.0, false / false[-1])))

    def estimate(self, value: float, metric: Callable[[Resample], float], times: int = 1000, seed: int = 0) -> Estimate:
        """An exact ``value`` with the interval of the resampled ``metric``, moved by what the bins miss."""
        missed = value - metric(np.ones(len(self.lesion), dtype=np.int64))
        return _estimate(value, len(self.lesion), lambda weights: metric(weights) + missed, times, seed)


def _estimate(value: float, count: int, metric: Callable[[Resample], float], times: int, seed: int) -> Estimate:
    if count < 2 or times < 2:
        return Estimate(value, float("nan"), float("nan"), count)
    return _with_interval(value, np.asarray([metric(weights) for weights in resamples(count, times, seed)]), count)


def _with_interval(value: float, draws: NDArray[np.float64], count: int) -> Estimate:
    known = draws[~np.isnan(draws)]
    if known.size < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"), count)
    low, high = np.percentile(known, _TAILS)
    return Estimate(value, float(low), float(high), count, draws)


def _thinned(scan: EvaluatedScan, most: int = 20_000) -> NDArray[np.float32]:
    values = scan.anomaly[scan.evaluated]
    return np.concatenate([values[:: max(1, len(values) // most)], scan.anomaly[scan.truth & scan.evaluated]])
