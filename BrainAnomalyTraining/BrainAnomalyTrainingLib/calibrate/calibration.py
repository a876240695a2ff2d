"""Calibration on held-out healthy scans: what a detector leaves behind where nothing is wrong.

Thresholds, expected false positives and scan-level banks are all measured on scans the detector never learned from,
cleaned and scored as a user's scan is. What is said about their accuracy leaves each subject out in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from BrainAnomalyLib.errors import BrainAnomalyError
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.findings.slice_profile import slice_means
from BrainAnomalyLib.io.geometry import Array, FloatArray, MaskArray
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.conformal import LEVELS, needed_scans
from BrainAnomalyLib.scoring.guard import GuardBank
from BrainAnomalyLib.scoring.residuals import cleaned
from BrainAnomalyLib.scoring.scan_level import scan_features, scan_scores

from .calibration_statistics import (
    HealthyMaps,
    HealthyResidual,
    PooledQuantiles,
    Rate,
    ResidualSums,
    clustered_rate,
    counted_rate,
    histogram,
    histogram_quantile,
)

RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
FEWEST_SCANS = 2
MINIMUM_MM3 = 20.0
MOST_ML = 1.0
_CURVE_POINTS = 20
_BISECTIONS = 14


class Maps(Protocol):
    """Cleaned anomaly maps (i, j, k) of healthy scans with their brain masks, which can be gone through repeatedly."""

    def __len__(self) -> int:
        """Number of scans."""

    def __iter__(self) -> Iterator[tuple[FloatArray, MaskArray]]:
        """Map and mask of each scan, always in the same order."""


class CalibrationError(BrainAnomalyError):
    """The healthy scans do not allow a calibration."""

    exit_code = 3


@dataclass(frozen=True)
class Calibration:
    """Thresholds from healthy scans.

    ``quantiles``: fraction of healthy brain voxels above a threshold -> the threshold, off by at most
    ``quantile_relative_error`` of itself. ``default_threshold`` is the smallest that leaves at most ``default_ml`` of
    findings per healthy scan on average. ``mean_ml_by_threshold``: thresholds, rising, and the mean volume of findings
    per healthy scan (mL), falling. ``realised``: what scans left out of the calibration get (see ``realised_rates``).
    """

    scans: int
    quantiles: dict[float, float]
    default_threshold: float
    default_ml: float
    mean_ml_by_threshold: tuple[tuple[float, float], ...] = ()
    realised: dict[str, Any] = field(default_factory=dict)
    quantile_relative_error: float = 0.0
    site: str = ""

    def entries(self) -> dict[str, Any]:
        """The ``calibration`` of a package's metadata, but for the guard's names (``GuardBank.entries``)."""
        place = f" of {self.site}" if self.site else ""
        source = (
            f"at most {self.default_ml:g} mL of findings per healthy scan on average, "
            f"measured on {self.scans} held-out healthy scans{place}"
        )
        if self.scans == 1:
            source = f"at most {self.default_ml:g} mL of findings in one healthy scan{place}, which is no cohort"
        return {
            "scans": self.scans,
            "quantiles": {f"{rate:g}": round(value, 6) for rate, value in self.quantiles.items()},
            "quantile_relative_error": self.quantile_relative_error,
            "default_threshold": _rounded_up(self.default_threshold),
            "default_source": source,
            "mean_ml_by_threshold": [[round(at, 6), round(volume, 4)] for at, volume in self.mean_ml_by_threshold],
            "realised": self.realised,
            "presets": available_presets(self.scans),
            **({"site": self.site} if self.site else {}),
        }


def left_out_map(
    sums: ResidualSums,
    residual: HealthyResidual,
    floor: float,
    cleans: bool = True,
    further: Sequence[HealthyResidual] = (),
) -> FloatArray:
    """The map of one of the scans in ``sums``, scaled by the RMS map of the others; cleaned unless ``cleans`` is False.

    ``further`` are the other scans of the same subject. Raises CalibrationError where no other subject is left.
    """
    require_scans(sums.scans - len(further))
    scaled = (residual.absolute / np.maximum(sums.rms(without=(residual, *further)), floor)).astype(np.float32)
    return cleaned(scaled, residual.brain_mask) if cleans else scaled


def require_scans(count: int) -> None:
    """Raises CalibrationError for too few healthy scans."""
    if count < FEWEST_SCANS:
        there = {0: "there is none", 1: "there is only one"}[count]
        raise CalibrationError(
            f"A calibration needs at least {FEWEST_SCANS} healthy scans that were not trained on; {there}.",
            "Add healthy scans of other subjects.",
        )


def calibrate_maps(
    maps: Maps,
    voxel_mm3: float,
    minimum_mm3: float = MINIMUM_MM3,
    most_ml: float = MOST_ML,
    site: str = "",
    alone: bool = False,
    subjects: Sequence[str] = (),
) -> Calibration:
    """Thresholds and what they realise, from cleaned maps (at least 0) of healthy scans, read several times in turn.

    ``subjects`` says whose each map is where somebody was scanned more than once.
    Raises CalibrationError for fewer than 2 scans (1 with ``alone``, which realises nothing that could be measured),
    for values that are not finite, or for maps without any anomaly.
    """
    require_scans(len(maps) + (alone and len(maps) == 1))
    pooled = _pooled(maps)
    quantiles = {rate: pooled.quantile(1.0 - rate) for rate in RATES}
    thresholds = curve_thresholds(quantiles[RATES[-1]], pooled.highest)
    volumes = np.asarray([[false_positive_ml(a, t, voxel_mm3, minimum_mm3) for t in thresholds] for a, _ in maps])

    def mean_ml(threshold: float) -> float:
        return float(np.mean([false_positive_ml(a, threshold, voxel_mm3, minimum_mm3) for a, _ in maps]))

    default = _default_threshold(thresholds, volumes.mean(axis=0), most_ml, mean_ml)
    return Calibration(
        scans=len(maps),
        quantiles=quantiles,
        default_threshold=default,
        default_ml=most_ml,
        mean_ml_by_threshold=tuple(zip(thresholds.tolist(), volumes.mean(axis=0).tolist(), strict=True)),
        realised={} if len(maps) == 1 else realised_rates(maps, pooled, thresholds, volumes, most_ml, subjects),
        quantile_relative_error=pooled.relative_error,
        site=site,
    )


def curve_thresholds(lowest: float, highest: float) -> NDArray[np.float64]:
    """About 20 rising thresholds, evenly apart in ratio, from the 10 % quantile to just above which nothing lies."""
    start = max(lowest, highest / 1000.0)
    if start >= highest:
        return np.asarray([highest])
    return np.unique(np.append(np.geomspace(start, highest, _CURVE_POINTS)[:-1], highest))


def false_positive_ml(anomaly: FloatArray, threshold: float, voxel_mm3: float, minimum_mm3: float = 20.0) -> float:
    """Volume of all findings of a healthy scan at a threshold, in mL."""
    labels: NDArray[np.int32] = connected_components(anomaly > threshold, voxel_mm3, minimum_mm3)
    return float(np.count_nonzero(labels)) * voxel_mm3 / 1000.0


def realised_rates(
    maps: Maps,
    pooled: PooledQuantiles,
    thresholds: Array,
    volumes: Array,
    most_ml: float,
    subjects: Sequence[str] = (),
) -> dict[str, Any]:
    """What each healthy scan gets from the thresholds of all other subjects, as JSON values.

    ``voxel_rates``: by nominal rate, the mean share of a left-out scan's brain above the others' quantile, with its
    interval. ``default_threshold``: the left-out scans' findings in mL at the others' default threshold (between the
    curve's thresholds by linear interpolation), and the share of scans with more than ``most_ml``.
    """
    whose = np.asarray(subjects or [str(index) for index in range(len(volumes))])
    own = _histograms(maps, whose)
    pairs = zip(maps, whose, strict=True)
    above = np.asarray([_left_out_rates(anomaly[mask], pooled.counts - own[name]) for (anomaly, mask), name in pairs])
    left_out_ml = np.asarray(
        [_left_out_ml(index, whose != whose[index], thresholds, volumes, most_ml) for index in range(len(volumes))]
    )
    over = counted_rate(int(np.count_nonzero(left_out_ml > most_ml)), len(volumes))
    return {
        "method": "each healthy subject left out in turn; 95 % intervals (Clopper-Pearson)",
        "voxel_rates": {
            f"{rate:g}": {**_rate_json(clustered_rate(column)), "per_scan": [round(float(r), 6) for r in column]}
            for rate, column in zip(RATES, above.T, strict=True)
        },
        "default_threshold": {
            "mean_ml": round(float(left_out_ml.mean()), 4),
            "ml_per_scan": [round(float(volume), 4) for volume in left_out_ml],
            "scans_over_limit": _rate_json(over),
            "limit_ml": most_ml,
        },
    }


def available_presets(scans: int) -> dict[str, Any]:
    """Which presets a calibration on ``scans`` healthy scans allows: voxel rates, and scan-level levels by p-value."""
    voxel = {f"{rate:g}": {"available": scans >= FEWEST_SCANS, "needed_scans": FEWEST_SCANS} for rate in RATES}
    levels = {f"{at:g}": {"available": scans >= needed_scans(at), "needed_scans": needed_scans(at)} for at in LEVELS}
    return {"voxel_rates": voxel, "scan_levels": levels}


@dataclass(frozen=True, eq=False)
class CohortCalibration:
    """A calibration with the arrays for ``calibration.safetensors`` (by name, beside the residual maps)."""

    calibration: Calibration
    bank: GuardBank
    healthy_slice_means: FloatArray

    def tensors(self) -> dict[str, FloatArray]:
        """The guard's bank and the healthy slice means (scans, slices)."""
        return {"healthy_slice_means": self.healthy_slice_means, **self.bank.tensors()}

    def entries(self) -> dict[str, Any]:
        """The ``calibration`` of the package's metadata."""
        return {**self.calibration.entries(), **self.bank.entries()}


class CohortCalibrator:
    """Takes healthy scans one at a time and states the calibration; maps wait in ``scratch``, which is the caller's."""

    def __init__(self, scratch: Path) -> None:
        self._maps = HealthyMaps(scratch)
        self._features: list[Array] = []
        self._scores: list[dict[str, float]] = []
        self._latents: list[Array] = []
        self._slices: list[Array] = []
        self._subjects: list[str] = []
        self._voxel_mm3 = 0.0

    def add(
        self,
        prepared: PreparedScan,
        anomaly: FloatArray,
        scores: Mapping[str, float] | None = None,
        latent: Array | None = None,
        subject: str = "",
    ) -> None:
        """One healthy scan with its final map on the template grid, and the detector's own scan-level scores and code.

        The map must be made as a user's is, but by what was fitted to other subjects (``left_out_map``). ``subject``
        says whose it is; a scan without one counts as another subject.
        """
        self._subjects.append(subject or f"scan {len(self)}")
        _require_map(anomaly, prepared.brain_mask)
        self._maps.add(anomaly, prepared.brain_mask)
        self._features.append(scan_features(prepared, anomaly))
        self._scores.append({**scan_scores(anomaly, prepared.brain_mask), **(scores or {})})
        self._latents += [] if latent is None else [latent]
        self._slices.append(slice_means(anomaly, prepared.brain_mask))
        self._voxel_mm3 = prepared.template.grid.voxel_volume_mm3

    def __len__(self) -> int:
        return len(self._maps)

    def finish(
        self,
        contrasts: tuple[Contrast, ...],
        site: str = "",
        most_ml: float = MOST_ML,
        method: str = "",
        alone: bool = False,
    ) -> CohortCalibration:
        """The calibration of all scans so far, for a package of these contrasts. Raises CalibrationError.

        ``method`` says how left-out scans were treated where that is more than ``realised_rates`` does; ``alone``
        allows a single scan.
        """
        whose = self._subjects
        stated = calibrate_maps(self._maps, self._voxel_mm3, MINIMUM_MM3, most_ml, site, alone, whose)
        calibration = replace(stated, realised=stated.realised | ({"method": method} if method else {}))
        names = [name for name in self._scores[0] if all(name in scores for scores in self._scores)]
        scores = {name: np.asarray([scan[name] for scan in self._scores]) for name in names}
        finite = {name: values for name, values in scores.items() if np.isfinite(values).all()}
        latents = np.stack(self._latents) if len(self._latents) == len(self._maps) else None
        bank = GuardBank(np.stack(self._features), finite, contrasts, latents)
        return CohortCalibration(calibration, bank, np.stack(self._slices).astype(np.float32))


def _require_map(anomaly: FloatArray, mask: MaskArray) -> None:
    if not mask.any():
        raise CalibrationError("A healthy scan has an empty brain mask.", "Leave the scan out.")
    if not np.isfinite(anomaly).all():
        raise CalibrationError(
            "The anomaly map of a healthy scan holds numbers that are not finite.", "Train the model again."
        )


def _pooled(maps: Maps) -> PooledQuantiles:
    pooled = PooledQuantiles()
    for anomaly, mask in maps:
        _require_map(anomaly, mask)
        pooled.add(anomaly[mask])
    if pooled.highest <= 0.0:
        raise CalibrationError("The anomaly maps of all healthy scans are empty.", "Train the model again.")
    return pooled


def _default_threshold(thresholds: Array, means: Array, most_ml: float, mean_ml: Callable[[float], float]) -> float:
    """The smallest threshold with at most ``most_ml`` on average, by bisection between two of the curve's."""
    first = int(np.argmax(means <= most_ml))
    if first == 0:
        return float(thresholds[0])
    low, high = float(thresholds[first - 1]), float(thresholds[first])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if mean_ml(middle) > most_ml else (low, middle)
    return high


def _histograms(maps: Maps, whose: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    """Counts of every subject's values."""
    counts: dict[str, NDArray[np.int64]] = {}
    for (anomaly, mask), name in zip(maps, whose, strict=True):
        counts[name] = counts.get(name, 0) + histogram(anomaly[mask])
    return counts


def _left_out_rates(values: FloatArray, others: NDArray[np.int64]) -> list[float]:
    """Share of a scan's voxels above the quantiles of all other subjects."""
    return [float(np.mean(values > histogram_quantile(others, 1.0 - rate))) for rate in RATES]


def _left_out_ml(index: int, others: MaskArray, thresholds: Array, volumes: Array, most_ml: float) -> float:
    means = volumes[others].mean(axis=0)
    first = int(np.argmax(means <= most_ml))
    if first == 0:
        return float(volumes[index, 0])
    pair = slice(first - 1, first + 1)
    threshold = np.interp(-most_ml, -means[pair], thresholds[pair])
    return float(np.interp(threshold, thresholds, volumes[index]))


def _rate_json(rate: Rate) -> dict[str, float]:
    return {name: round(value, 6) for name, value in vars(rate).items()}


def _rounded_up(threshold: float) -> float:
    """Six digits behind the point, never below the threshold, so that the promised volume holds."""
    return float(np.ceil(threshold * 1e6) / 1e6)
