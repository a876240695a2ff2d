"""One row for every scan and detector: what was there, what was found, and how well they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .lesions import lesion_counts
from .scan import EvaluatedScan
from .voxels import COMPONENT_MM3, average_precision, best_dice_of_scan, dice, found_mask, ranking

SCAN_COLUMNS = (
    *("detector", "scan", "subject", "group", "lesion_ml", "lesion_ml_outside_brain_mask", "ap", "best_dice"),
    *("threshold", "threshold_source", "found_ml", "dice", "lesions", "lesions_hit", "findings", "false_findings"),
)


def scan_records(detector: str, scans: Sequence[EvaluatedScan]) -> list[dict[str, Any]]:
    """A flat record of every scan at the detector's own threshold, on the scan's grid; None for what is not known."""
    return [_record(detector, scan) for scan in scans]


def _record(detector: str, scan: EvaluatedScan) -> dict[str, Any]:
    found, truth = found_mask(scan, scan.threshold), scan.truth & scan.evaluated
    counts = lesion_counts(scan, scan.threshold, COMPONENT_MM3)
    ranked = ranking(scan.truth[scan.evaluated], scan.anomaly[scan.evaluated])
    values = {
        "detector": detector,
        "scan": scan.name or scan.subject,
        "subject": scan.subject,
        "group": scan.group,
        "lesion_ml": scan.ml(scan.truth),
        "lesion_ml_outside_brain_mask": scan.ml(scan.truth & ~scan.evaluated),
        "ap": average_precision(ranked),
        "best_dice": best_dice_of_scan(scan),
        "threshold": scan.threshold,
        "threshold_source": "package default",
        "found_ml": scan.ml(found),
        "dice": dice(found, truth),
        "lesions": counts.sizes_ml.size,
        "lesions_hit": int(counts.hit().sum()),
        "findings": counts.purity.size,
        "false_findings": int(counts.false_findings()),
    }
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in values.items()}
