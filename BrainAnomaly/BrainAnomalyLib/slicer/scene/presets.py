"""Thresholds in terms a reader can judge: how much of a healthy brain would lie above them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The shares of healthy brain voxels that the panel offers.
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)


def thresholds_by_rate(detector: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Pairs (share of healthy brain voxels above, threshold), rarest first; empty without a calibration.

    ``detector`` is the description that goes with every result.
    """
    found = detector.get("thresholds_by_rate", {})
    return tuple(sorted((float(rate), float(value)) for rate, value in found.items()))
