"""Lesion-wise metrics: which lesions are hit, which findings are false, by size, and FROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings.components import connected_components
from .scan import EvaluatedScan
from .voxels import COMPONENT_MM3

SIZES_ML = ((0.0, 0.1), (0.1, 1.0), (1.0, 10.0), (10.0, float("inf")))
FROC_RATES = (0.5, 1.0, 2.0, 4.0, 8.0)
LEAST_OVERLAP = 0.1
_FROC_THRESHOLDS = 25


@dataclass(frozen=True, eq=False)
class LesionCounts:
    """A scan's lesions (``sizes_ml``, and the part of each that was found) and findings (part that is lesion)."""

    sizes_ml: NDArray[np.float64]
    covered: NDArray[np.float64]
    purity: NDArray[np.float64]

    def hit(self, least: float = LEAST_OVERLAP) -> NDArray[np.bool_]:
        """Lesions of which at least ``least`` was found; any voxel for 0."""
        return self.covered >= least if least > 0.0 else self.covered > 0.0

    def recall(self, least: float = LEAST_OVERLAP) -> float:
        """Part of the lesions that was hit, NaN without lesions."""
        return float(self.hit(least).mean()) if self.sizes_ml.size else float("nan")

    def precision(self, least: float = LEAST_OVERLAP) -> float:
        """Part of the findings that overlap a lesion, NaN without findings."""
        good = self.purity >= least if least > 0.0 else self.purity > 0.0
        return float(good.mean()) if self.purity.size else float("nan")

    def f1(self, least: float = LEAST_OVERLAP) -> float:
        """Harmonic mean of recall and precision; 0 where nothing was found though there are lesions."""
        recall, precision = self.recall(least), self.precision(least)
        if not self.sizes_ml.size:
            return float("nan")
        precision = 0.0 if np.isnan(precision) else precision
        return 2.0 * recall * precision / (recall + precision) if recall + precision > 0.0 else 0.0

    def false_findings(self, least: float = LEAST_OVERLAP) -> int:
        """Findings that are no lesion."""
        return int(np.count_nonzero(self.purity < least))


def lesion_counts(scan: EvaluatedScan, threshold: float, minimum_mm3: float = COMPONENT_MM3) -> LesionCounts:
    """Lesions are the truth's 26-connected components, findings those of the map above the threshold."""
    return _counted(scan, _lesions(scan), threshold, minimum_mm3)


def _lesions(scan: EvaluatedScan) -> NDArray[np.int32]:
    return connected_components(scan.truth & scan.evaluated, scan.voxel_mm3, 0.0)


def _counted(scan: EvaluatedScan, lesions: NDArray[np.int32], threshold: float, minimum_mm3: float) -> LesionCounts:
    findings = connected_components((scan.anomaly > threshold) & scan.evaluated, scan.voxel_mm3, minimum_mm3)
    sizes, covered = _parts(lesions, findings > 0)
    return LesionCounts(sizes * scan.voxel_mm3 / 1000.0, covered, _parts(findings, lesions > 0)[1])


def froc_points(scans: Sequence[EvaluatedScan], minimum_mm3: Sequence[float]) -> NDArray[np.float64]:
    """(thresholds, scans, 3): lesions hit, lesions and false findings, from the highest threshold to the lowest.

    ``minimum_mm3``: the size that findings must exceed, for each scan.
    """
    values = np.concatenate([scan.anomaly[scan.evaluated & (scan.anomaly > 0)] for scan in scans])
    shares = 1.0 - np.geomspace(1e-4, 0.5, _FROC_THRESHOLDS)
    thresholds = np.append(np.quantile(values, shares) if values.size else [], 0.0)
    points = np.zeros((len(thresholds), len(scans), 3))
    for column, (scan, least) in enumerate(zip(scans, minimum_mm3, strict=True)):
        lesions = _lesions(scan)
        for row, threshold in enumerate(thresholds):
            count = _counted(scan, lesions, float(threshold), least)
            points[row, column] = count.hit().sum(), count.sizes_ml.size, count.false_findings()
    return points


def froc_part(points: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[float, float]:
    """The curve at ``FROC_RATES`` with scans counted ``weights`` times, NaN without lesions.

    A threshold counts only if none above it has more false findings: where findings run into one another there are
    fewer of them again, though nothing got better.
    """
    hit, lesions, false = np.moveaxis(points, 2, 0) @ weights
    if not lesions[0]:
        return dict.fromkeys(FROC_RATES, float("nan"))
    highest = np.maximum.accumulate(false / weights.sum())
    return {rate: float(np.max(hit[highest <= rate], initial=0.0) / lesions[0]) for rate in FROC_RATES}


def _parts(labels: NDArray[np.int32], other: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxels of each component, and the part of them inside ``other``."""
    count = int(labels.max(initial=0))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.float64)
    inside = np.bincount(labels[other].ravel(), minlength=count + 1)[1:].astype(np.float64)
    return sizes, inside / np.maximum(sizes, 1.0)
