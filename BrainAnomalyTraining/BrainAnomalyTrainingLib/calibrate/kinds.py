"""The ways to calibrate a detector on healthy scans, by what its class declares (``calibrated_by``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from BrainAnomalyLib.detectors.protocol import CalibrationKind
from BrainAnomalyLib.errors import OptionsError

from ..cache.cached_scans import CachedScan
from ..run.run_folder import RunFolder
from .calibration_run import CalibrationOutcome, calibrated_by_residual
from .evidence_calibration import calibrated_by_evidence

KINDS: dict[CalibrationKind, Callable[..., CalibrationOutcome]] = {
    "residual": calibrated_by_residual,
    "evidence": calibrated_by_evidence,
}


def calibrated(detector: Any, scans: Sequence[CachedScan], run: RunFolder, site: str = "") -> CalibrationOutcome:
    """The calibration of any detector on healthy scans of ``site``; see the way that its class declares.

    Raises OptionsError for a detector that is not calibrated on healthy scans, CalibrationError, Cancelled and Paused.
    """
    kind = getattr(detector, "calibrated_by", None)
    if kind is None:
        raise OptionsError(f"The detector '{detector.name}' has no calibration of its own.", "Choose another package.")
    return KINDS[kind](detector, scans, run, site)
