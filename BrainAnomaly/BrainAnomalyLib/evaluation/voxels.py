"""Voxel-wise metrics: average precision, areas under curves, and the dataset-wise Dice with its threshold search.

Scores are pooled over scans. A ``Ranking`` is sorted once; every curve and threshold is read off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings.components import connected_components
from ..io.geometry import MaskArray
from .scan import EvaluatedScan

Values = NDArray[np.floating]
# Meissen et al. drop components of up to 20 voxels of 1 mm3.
COMPONENT_MM3 = 20.0


@dataclass(frozen=True, eq=False)
class Ranking:
    """Counts at every distinct score, from the highest down: true and false positives at ``score >= values``."""

    values: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """Lesion voxels."""
        return int(self.true_positives[-1]) if self.values.size else 0

    @property
    def negatives(self) -> int:
        """Voxels outside lesions."""
        return int(self.false_positives[-1]) if self.values.size else 0

    def dice_above(self, thresholds: Values) -> NDArray[np.float64]:
        """D(t) = 2 TP / (found + true) for ``score > t`` at each threshold; 0 where both are empty."""
        last = np.searchsorted(-self.values, -np.asarray(thresholds, dtype=np.float64), side="left") - 1
        hits = np.where(last >= 0, self.true_positives[np.maximum(last, 0)], 0)
        found = hits + np.where(last >= 0, self.false_positives[np.maximum(last, 0)], 0)
        return np.asarray(2.0 * hits / np.maximum(found + self.positives, 1))


def ranking(truth: NDArray[np.bool_], scores: Values) -> Ranking:
    """Sort scores once; equal scores count as one step."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order].astype(np.float64), np.cumsum(truth[order], dtype=np.int64)
    ends = (
        np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.zeros(0, dtype=np.int64)
    )
    return Ranking(ordered[ends], hits[ends], ends + 1 - hits[ends])


def average_precision(ranked: Ranking) -> float:
    """AP = sum over distinct scores of (R_n - R_{n-1}) P_n; NaN without lesions."""
    if not ranked.positives:
        return float("nan")
    recall, precision = _curve(ranked)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def trapezoid_auprc(ranked: Ranking) -> float:
    """Area under the precision-recall curve by trapezoids from (0, 1), as Meissen et al. compute it; optimistic."""
    from scipy.integrate import trapezoid

    if not ranked.positives:
        return float("nan")
    recall, precision = _curve(ranked)
    return float(trapezoid(np.append(1.0, precision), np.append(0.0, recall)))


def auroc(ranked: Ranking) -> float:
    """Area under the ROC curve, equal scores counting half; NaN unless there are both kinds of voxels."""
    from scipy.integrate import trapezoid

    if not (ranked.positives and ranked.negatives):
        return float("nan")
    sensitivity = np.append(0.0, ranked.true_positives / ranked.positives)
    false_rate = np.append(0.0, ranked.false_positives / ranked.negatives)
    return float(trapezoid(sensitivity, false_rate))


def auroc_with_background(brain_auroc: float, brain_negatives: int, background: int) -> tuple[float, float]:
    """(AUROC, f) if ``background`` voxels that score below all brain voxels count too, f = brain part of the negatives.

    AUROC_all = 1 - f (1 - AUROC_brain).
    """
    fraction = brain_negatives / max(brain_negatives + background, 1)
    return 1.0 - fraction * (1.0 - brain_auroc), fraction


def linear_grid(scores: Values, steps: int = 100) -> NDArray[np.float64]:
    """Meissen's grid: equally spaced from the least to the greatest score."""
    return np.linspace(float(scores.min()), float(scores.max()), steps)


def quantile_grid(scores: Values, steps: int = 200) -> NDArray[np.float64]:
    """Quantiles of the scores, as MedIAnomaly; denser towards the top, where lesions are."""
    shares = np.unique(np.concatenate([np.linspace(0.0, 1.0, steps), 1.0 - np.geomspace(1e-5, 0.5, steps)]))
    return np.asarray(np.quantile(scores, shares), dtype=np.float64)


def fixed_grid(steps: int = 1000) -> NDArray[np.float64]:
    """Kascenas' grid: equally spaced in [0, 1]."""
    return np.linspace(0.0, 1.0, steps)


def best_threshold(ranked: Ranking, thresholds: Values) -> tuple[float, float]:
    """(threshold, Dice) of the largest dataset-wise Dice on a grid, without looking at components."""
    dice = ranked.dice_above(thresholds)
    best = int(np.argmax(dice))
    return float(thresholds[best]), float(dice[best])


def bisected_threshold(ranked: Ranking, low: float, high: float, steps: int = 10) -> tuple[float, float]:
    """(threshold, Dice) by the halving search of Zimmerer and Behrendt, which takes Dice for unimodal."""
    for _ in range(steps):
        middle = (low + high) / 2.0
        left, right = ranked.dice_above(np.asarray([(low + middle) / 2.0, (middle + high) / 2.0]))
        low, high = (low, middle) if left > right else (middle, high)
    threshold = (low + high) / 2.0
    return threshold, float(ranked.dice_above(np.asarray([threshold]))[0])


def pooled(scans: Sequence[EvaluatedScan]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Truth and scores of all brain voxels of all scans."""
    truth = np.concatenate([scan.truth[scan.evaluated] for scan in scans])
    return truth, np.concatenate([scan.anomaly[scan.evaluated] for scan in scans])


def found_mask(scan: EvaluatedScan, threshold: float, minimum_mm3: float = COMPONENT_MM3) -> MaskArray:
    """Brain voxels above the threshold in 26-connected components of more than ``minimum_mm3``."""
    above = (scan.anomaly > threshold) & scan.evaluated
    return np.asarray(connected_components(above, scan.voxel_mm3, minimum_mm3) > 0)


def dice(found: MaskArray, truth: MaskArray) -> float:
    """Dice of one scan: NaN if both are empty, 0 if only the truth is."""
    total = int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero(found & truth)) / total if total else float("nan")


def best_dice_of_scan(scan: EvaluatedScan) -> float:
    """Largest Dice of one scan over its own quantile grid: an oracle for every scan; NaN for healthy scans."""
    if scan.healthy:
        return float("nan")
    values = scan.anomaly[scan.evaluated]
    return best_threshold(ranking(scan.truth[scan.evaluated], values), quantile_grid(values))[1]


def _curve(ranked: Ranking) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = ranked.true_positives + ranked.false_positives
    return ranked.true_positives / ranked.positives, ranked.true_positives / np.maximum(found, 1)
