"""Voxel-wise scores of an anomaly map against a lesion mask."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """AP = sum (R_n - R_{n-1}) P_n over all distinct scores (scikit-learn)."""
    return float(average_precision_score(truth, score))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|); NaN if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else float("nan")


def best_dice(truth: np.ndarray, score: np.ndarray, steps: int = 200) -> float:
    """Largest Dice over thresholds at ``steps`` quantiles of the score: an oracle, since it looks at the truth."""
    levels = np.quantile(score, 1.0 - np.geomspace(1e-4, 0.5, steps))
    return max(dice(score > level, truth) for level in levels)
