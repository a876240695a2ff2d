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

from ..cache.cached_scans import CachedScan
from ..run.run_folder import RunFolder
from .calibration import CohortCalibrator, leave_one_out_map, require_scans
from .calibration_statistics import HealthyResidual, ResidualSums

# Part of the work that is reconstruction; the rest is cleaning and counting.
_RECONSTRUCTION_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class CalibrationOutcome:
    """The ``calibration`` entry of a package's metadata, the tensors of its ``calibration.safetensors``, and the mean
    time of a scan's reconstruction on ``device``."""

    entry: dict[str, Any]
    tensors: dict[str, Tensor]
    seconds_per_scan: float
    device: str


def calibrated(
    detector: LearnedDetector, scans: Sequence[CachedScan], run: RunFolder, site: str = ""
) -> CalibrationOutcome:
    """Calibrate ``detector`` on held-out healthy scans of ``site``; maps wait in the run folder and are always removed.

    Each scan's map is scaled by the residuals of all the others, as a new scan's would be. Raises CalibrationError,
    Cancelled and Paused.
    """
    require_scans(len(scans))
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=run.path) as scratch:
        sums, seen, seconds = _reconstruct_all(detector, scans, run, Path(scratch))
        calibrator = CohortCalibrator(Path(scratch))
        for index, (scan, (scores, latent)) in enumerate(zip(scans, seen, strict=True)):
            run.obey()
            residual = HealthyResidual(_kept(Path(scratch), index), scan.mask())
            anomaly = leave_one_out_map(sums, residual, detector.config.floor, detector.cleans_map)
            calibrator.add(scan.prepared(detector.recipe), anomaly, scores, latent)
            run.progress("calibrate", _RECONSTRUCTION_SHARE + (1 - _RECONSTRUCTION_SHARE) * (index + 1) / len(scans))
        contrasts: tuple[Contrast, ...] = (scans[0].contrast,)
        cohort = calibrator.finish(contrasts, site)
    tensors = {"healthy_rms": sums.rms(), "healthy_mean": sums.mean(), **cohort.tensors()}
    return CalibrationOutcome(
        entry=cohort.entries(),
        tensors={name: _stored(name, value) for name, value in tensors.items()},
        seconds_per_scan=seconds / len(scans),
        device=detector.device,
    )


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


def _kept(scratch: Path, index: int) -> FloatArray:
    return np.asarray(np.load(scratch / f"raw_{index}.npy", allow_pickle=False), dtype=np.float32)


def _stored(name: str, value: FloatArray) -> Tensor:
    """Residual maps with 16 bits, everything else with 32."""
    tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return tensor.half() if name in ("healthy_rms", "healthy_mean") else tensor
