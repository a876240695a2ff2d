"""A row of a table of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bootstrap import Estimate
from .scan import EvaluatedScan

NOT_KNOWN = float("nan")


@dataclass(frozen=True)
class Row:
    """One number: what it measures, its value with interval, and, where a threshold was needed, where that came from.

    ``scans`` is how many scans it is of; ``threshold`` is NaN where there is none, or another for every scan.
    """

    metric: str
    estimate: Estimate
    threshold: float = NOT_KNOWN
    threshold_source: str = ""
    scans: int = 0


def plain(value: float, scans: Sequence[EvaluatedScan]) -> Estimate:
    """A value without an interval."""
    return Estimate(value, NOT_KNOWN, NOT_KNOWN, len({scan.subject for scan in scans}))


def common_threshold(thresholds: Sequence[float]) -> float:
    """The threshold that all scans share; NaN if they differ."""
    return thresholds[0] if len(set(thresholds)) == 1 else NOT_KNOWN
