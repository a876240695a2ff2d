"""Running a trained detector over healthy scans it has not seen, and stating its calibration."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.io.geometry import FloatArray
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.scoring.residuals import cleaned

from ..cache.cached_scans import CachedScan
from ..run.run_folder import RunFolder
from .calibration import CohortCalibrator, left_out_map, require_scans
from .calibration_statistics import HealthyResidual, ResidualSums

# Part of the work that is reconstruction; the rest is cleaning and counting.
_RECONSTRUCTION_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class CalibrationOutcome:
    """The ``calibration`` entry of a package's metadata, the tensors of its ``calibration.safetensors``, and the mean
    time of a scan's reconstruction on ``device``. With ``of_contrast`` they are of ``contrast`` alone, and a package
    keeps those of its other contrasts."""

    entry: dict[str, Any]
    tensors: dict[str, Tensor]
    seconds_per_scan: float
    device: str
    contrast: Contrast
    of_contrast: bool = False


def calibrated_by_residual(
    detector: LearnedDetector, scans: Sequence[CachedScan], run: RunFolder, site: str = ""
) -> CalibrationOutcome:
    """Calibrate ``detector`` on held-out healthy scans of ``site``; maps wait in the run folder and are always removed.

    Each scan's map is scaled by the residuals of all other subjects, as a new scan's would be. Raises CalibrationError,
    Cancelled and Paused.
    """
    require_scans(len({scan.subject for scan in scans}))
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=run.path) as scratch:
        sums, seen, seconds = _reconstruct_all(detector, scans, run, Path(scratch))
        calibrator = CohortCalibrator(Path(scratch))
        for index, (scan, (scores, latent)) in enumerate(zip(scans, seen, strict=True)):
            run.obey()
            same = [other for other, one in enumerate(scans) if one.subject == scan.subject and other != index]
            residual, *further = (_kept(Path(scratch), one, scans[one]) for one in (index, *same))
            anomaly = left_out_map(sums, residual, detector.config.floor, detector.cleans_map, further)
            calibrator.add(scan.prepared(detector.recipe), anomaly, scores, latent, scan.subject)
            run.progress("calibrate", _RECONSTRUCTION_SHARE + (1 - _RECONSTRUCTION_SHARE) * (index + 1) / len(scans))
        contrast = scans[0].contrast
        cohort = calibrator.finish((contrast,), site)
    tensors = {"healthy_rms": sums.rms(), **cohort.tensors()}
    return CalibrationOutcome(
        entry=cohort.entries(),
        tensors={name: stored(value) for name, value in tensors.items()},
        seconds_per_scan=seconds / len(scans),
        device=detector.device,
        contrast=contrast,
    )


def elsewhere(detector: LearnedDetector, scans: Sequence[CachedScan], run: RunFolder) -> dict[str, Any]:
    """The ``calibration`` entry of a calibrated detector for a contrast that it was not calibrated on, one scan or
    more.

    Its maps stay scaled by the healthy scans of its own contrast, so that only thresholds are new. Raises
    CalibrationError, Cancelled and Paused.
    """
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=run.path) as scratch:
        calibrator = CohortCalibrator(Path(scratch))
        for scan in scans:
            run.obey()
            prepared = scan.prepared(detector.recipe)
            score = detector.score(prepared, detector.reconstruct(prepared))
            anomaly = cleaned(score.anomaly, score.evaluated) if detector.cleans_map else score.anomaly
            calibrator.add(prepared, anomaly, subject=scan.subject)
        return calibrator.finish((scans[0].contrast,), alone=True).calibration.entries()


def _reconstruct_all(
    detector: LearnedDetector, scans: Sequence[CachedScan], run: RunFolder, scratch: Path
) -> tuple[ResidualSums, list[tuple[dict[str, float], FloatArray | None]], float]:
    """Sums of the raw maps, which are kept in ``scratch``; each scan's own scores and code; seconds in total."""
    sums, seen, started = ResidualSums(), [], time.monotonic()
    for index, scan in enumerate(scans):
        run.obey()
        image, mask = scan.image(), scan.mask()
        reconstruction: Reconstruction = detector.restore_volume(image, mask)
        raw = detector.raw_map(image, mask, reconstruction)
        np.save(scratch / f"raw_{index}.npy", raw)
        sums.add(HealthyResidual(raw, mask))
        seen.append((reconstruction.scan_scores, reconstruction.latent))
        elapsed, done = time.monotonic() - started, index + 1
        run.progress("calibrate", _RECONSTRUCTION_SHARE * done / len(scans), elapsed / done * (len(scans) - done))
    return sums, seen, time.monotonic() - started


def _kept(scratch: Path, index: int, scan: CachedScan) -> HealthyResidual:
    return HealthyResidual(np.load(scratch / f"raw_{index}.npy", allow_pickle=False), scan.mask())


def stored(value: FloatArray) -> Tensor:
    """Volumes with 16 bits, everything else with 32."""
    tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return tensor.half() if tensor.ndim == 3 else tensor
