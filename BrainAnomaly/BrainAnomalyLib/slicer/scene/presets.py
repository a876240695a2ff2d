"""Thresholds in terms a reader can judge: how much of a healthy brain would lie above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# The shares of healthy brain voxels that the panel offers.
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)


def thresholds_by_rate(detector: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Pairs (share of healthy brain voxels above, threshold), rarest first; empty without a calibration.

    ``detector`` is the description that goes with every result.
    """
    found = detector.get("thresholds_by_rate", {})
    return tuple(sorted((float(rate), float(value)) for rate, value in found.items()))


def healthy_share(by_rate: Sequence[tuple[float, float]], threshold: float) -> tuple[float, float]:
    """Bounds of the share of healthy brain voxels above ``threshold``, both the same between measured thresholds.

    ``by_rate`` is not empty, as ``thresholds_by_rate`` gives it. In between, the logarithm of the share is interpolated
    linearly: the tail of a map falls about exponentially.
    """
    thresholds, rates = np.array([value for _, value in by_rate]), np.array([rate for rate, _ in by_rate])
    order = np.argsort(thresholds)
    if threshold > thresholds.max():
        return 0.0, float(rates.min())
    if threshold < thresholds.min():
        return float(rates.max()), 1.0
    share = float(np.exp(np.interp(threshold, thresholds[order], np.log(rates[order]))))
    return share, share
