"""Sums over healthy scans that come one at a time: residual maps, quantiles of pooled voxels, honest intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from BrainAnomalyLib.evaluation.healthy import clopper_pearson
from BrainAnomalyLib.io.geometry import Array, FloatArray, MaskArray
from BrainAnomalyLib.scoring.evidence import LEVELS

SMOOTHING_VOXELS = 2.0
EXACT_VALUES = 20_000_000
# A histogram bin holds the numbers that share their first 10 binary digits; its middle is off by at most this share.
HISTOGRAM_RELATIVE_ERROR = 2.0**-11
_DROPPED_BITS = 13
_BINS = 1 << (31 - _DROPPED_BITS)
_CONFIDENCE = 0.95
_EQUAL_RATES = 1e-9


@dataclass(frozen=True, eq=False)
class HealthyResidual:
    """Absolute residual (or raw score) of one healthy scan and its brain mask, on the template grid (i, j, k)."""

    absolute: FloatArray
    brain_mask: MaskArray


class ResidualSums:
    """Root mean square residual at every voxel, from scans added one at a time (two volumes of memory)."""

    def __init__(self) -> None:
        self.scans = 0
        self._sums: tuple[NDArray[np.float64], ...] = ()

    def add(self, residual: HealthyResidual) -> None:
        """Count one more healthy scan."""
        parts = _parts(residual)
        before = self._sums or tuple(np.zeros_like(part) for part in parts)
        self._sums = tuple(total + part for total, part in zip(before, parts, strict=True))
        self.scans += 1

    def rms(self, without: Sequence[HealthyResidual] = ()) -> FloatArray:
        """Root mean square residual, smoothed by 2 voxels, 0 where no scan has brain; ``without`` some added scans."""
        squares, counts = self._smoothed(without)
        return np.sqrt(squares / np.maximum(counts, 1e-2)).astype(np.float32)

    def _smoothed(self, without: Sequence[HealthyResidual]) -> list[NDArray[np.float64]]:
        """The sums (squared residuals, scans with brain), less the parts of some scans."""
        parts = [_parts(residual) for residual in without]
        sums = [np.maximum(total - sum(part[index] for part in parts), 0.0) for index, total in enumerate(self._sums)]
        return [ndimage.gaussian_filter(part, SMOOTHING_VOXELS) for part in sums]


def _parts(residual: HealthyResidual) -> tuple[NDArray[np.float64], ...]:
    """The residual's square and the brain."""
    return residual.absolute.astype(np.float64) ** 2, residual.brain_mask.astype(np.float64)


class PooledQuantiles:
    """Quantiles of the voxels (at least 0) of many scans in bounded memory.

    Exact up to ``exact_values`` voxels (80 MB); beyond, from a histogram of 2 MB whose bins are so narrow that
    ``relative_error`` holds.
    """

    def __init__(self, exact_values: int = EXACT_VALUES) -> None:
        self._exact_values = exact_values
        self._kept: list[FloatArray] = []
        self.counts = np.zeros(_BINS, dtype=np.int64)
        self.highest = 0.0

    @property
    def size(self) -> int:
        """Number of voxels so far."""
        return int(self.counts.sum())

    @property
    def relative_error(self) -> float:
        """How far a quantile may be off, relative to itself; 0 while exact."""
        return 0.0 if self.size <= self._exact_values else HISTOGRAM_RELATIVE_ERROR

    def add(self, values: FloatArray) -> None:
        """Pool the voxels of one more scan."""
        self.counts += histogram(values)
        self.highest = max(self.highest, float(values.max(initial=0.0)))
        if self.size <= self._exact_values:
            self._kept.append(values.astype(np.float32))
        else:
            self._kept.clear()

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of all voxels lie."""
        if self.relative_error == 0.0:
            return float(np.quantile(np.concatenate(self._kept), share))
        return histogram_quantile(self.counts, share)


def evidence_table(healthy: PooledQuantiles) -> FloatArray:
    """Quantiles of pooled healthy values at ``scoring.evidence.LEVELS``."""
    return np.asarray([healthy.quantile(1.0 - 10.0 ** -float(level)) for level in LEVELS], dtype=np.float32)


def histogram(values: Array) -> NDArray[np.int64]:
    """Counts of non-negative values in bins of equal relative width, by the leading bits of their 32-bit floats."""
    bits = np.maximum(np.ascontiguousarray(values, dtype=np.float32), 0.0).view(np.uint32)
    return np.bincount(bits >> _DROPPED_BITS, minlength=_BINS).astype(np.int64)


def histogram_quantile(counts: NDArray[np.int64], share: float) -> float:
    """The middle of the bin in which the quantile lies, off by at most HISTOGRAM_RELATIVE_ERROR of itself."""
    place = share * (int(counts.sum()) - 1)
    code = int(np.searchsorted(np.cumsum(counts), place, side="right"))
    edges = (np.asarray([code, code + 1], dtype=np.uint32) << _DROPPED_BITS).view(np.float32)
    return float(edges.astype(np.float64).mean()) if code else 0.0


class HealthyMaps:
    """Cleaned anomaly maps and brain masks of healthy scans, kept in files and read one at a time.

    Only the box around each brain is stored. ``folder`` is the caller's to remove.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, anomaly: FloatArray, brain_mask: MaskArray) -> None:
        """Store one scan's map and mask (i, j, k)."""
        box = ndimage.find_objects(brain_mask.astype(np.int8))[0]
        np.save(self._folder / f"{len(self)}_map.npy", anomaly[box].astype(np.float32), allow_pickle=False)
        np.save(self._folder / f"{len(self)}_mask.npy", brain_mask[box], allow_pickle=False)
        self._count += 1

    def __iter__(self) -> Iterator[tuple[FloatArray, MaskArray]]:
        """Maps and masks of the boxes around the brains, in the order they came."""
        for index in range(len(self)):
            anomaly, mask = (np.load(self._folder / f"{index}_{part}.npy") for part in ("map", "mask"))
            yield anomaly, mask


@dataclass(frozen=True)
class Rate:
    """A rate over healthy scans with its 95 % interval."""

    rate: float
    low: float
    high: float


def clustered_rate(rates: Array) -> Rate:
    """Mean of the rates of n scans and its Clopper-Pearson interval for voxels that hang together within a scan.

    The number of independent trials is p (1 - p) over the variance of the mean, less what n - 1 degrees of freedom cost
    (Korn & Graubard 1998, 'Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data', Survey Methodology 24); n where all rates are equal.
    """
    values = np.asarray(rates, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    trials = float(count)
    if count > 1 and np.ptp(values) > _EQUAL_RATES:
        variance = float(values.var(ddof=1)) / count
        tail = 1.0 - (1.0 - _CONFIDENCE) / 2.0
        trials = mean * (1.0 - mean) / variance * (stats.norm.ppf(tail) / stats.t.ppf(tail, count - 1)) ** 2
    return Rate(mean, *clopper_pearson(mean * trials, trials))


def counted_rate(successes: int, scans: int) -> Rate:
    """The share of scans of which something holds, and its Clopper-Pearson interval."""
    return Rate(successes / scans, *clopper_pearson(successes, scans))
