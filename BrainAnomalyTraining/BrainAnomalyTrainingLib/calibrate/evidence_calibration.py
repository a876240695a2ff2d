"""Calibration of detectors that weigh evidence, every threshold out of sample.

The tables that evidence is read off are fitted to all folds of the healthy subjects but one, and the fold left out is
scored by them. Thresholds, rates and the guard come from these maps alone. What the package then holds is fitted to all
of them. A fold is a scanner where there are several, so that a threshold promises what another scanner will have.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.evidence_detector import TABLE_PREFIX, EvidenceDetector
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.geometry import FloatArray
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.scoring.guard import FEWEST_SCANS

from ..cache.cached_scans import CachedScan
from ..run.run_folder import RunFolder
from .calibration import MOST_ML, CohortCalibrator, require_scans
from .calibration_run import CalibrationOutcome, stored
from .calibration_statistics import PooledQuantiles, evidence_table

FOLDS = 5
# Tables of fewer subjects of one scanner say too little of another.
_FEWEST_OF_A_SCANNER = 3
_COMPONENT_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class HeldComponents:
    """A healthy scan whose component maps wait in a file, and what the detector says of it as a whole."""

    scan: CachedScan
    recipe: Recipe
    file: Path
    scores: dict[str, float]

    def load(self) -> tuple[PreparedScan, Reconstruction]:
        """The scan and its components."""
        prepared = self.scan.prepared(self.recipe)
        with np.load(self.file, allow_pickle=False) as stored_maps:
            return prepared, Reconstruction(prepared.image, scan_scores=self.scores, parts=dict(stored_maps))


def calibrated_by_evidence(
    detector: EvidenceDetector,
    scans: Sequence[CachedScan],
    run: RunFolder,
    site: str = "",
    alone: bool = False,
) -> CalibrationOutcome:
    """Calibrate ``detector`` for the contrast of healthy scans that its networks have not learned from.

    ``alone`` allows a single subject, whose thresholds are in sample and say so. Component maps wait in the run folder
    and are always removed. Raises CalibrationError, OptionsError for a contrast that the detector is not for, Cancelled
    and Paused.
    """
    contrast, folds = contrast_for(detector, scans), folds_of(scans)
    if not alone:
        require_scans(len(folds))
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=run.path) as scratch:
        started = time.monotonic()
        held = list(_held(detector, scans, run, Path(scratch)))
        seconds = (time.monotonic() - started) / len(held)
        calibrator = CohortCalibrator(Path(scratch))
        _add_left_out(calibrator, detector, contrast, held, folds, run)
        cohort = calibrator.finish((contrast,), site, MOST_ML, _method(folds, scans), alone)
        tensors = table_tensors(detector, contrast, held)
    said = rests_on(len(scans), site)
    for what, whom in said.items():
        run.stage("calibrate", f"{what.capitalize()}: {whom}.")
    known = cohort.tensors() if len(scans) >= FEWEST_SCANS else {"healthy_slice_means": cohort.healthy_slice_means}
    return CalibrationOutcome(
        entry=cohort.entries() | {"rests_on": said},
        tensors={name: stored(value) for name, value in {**tensors, **known}.items()},
        seconds_per_scan=seconds,
        device=next((part.device for part in detector.parts.values()), "cpu"),
        contrast=contrast,
        of_contrast=True,
    )


def contrast_for(detector: EvidenceDetector, scans: Sequence[CachedScan]) -> Contrast:
    """The contrast of the scans. Raises CalibrationError without any, OptionsError if the detector is not for it."""
    if not scans:
        require_scans(0)
    contrast = scans[0].contrast
    if contrast not in detector.contrasts:
        meant = " and ".join(detector.contrasts)
        raise OptionsError(f"'{detector.title}' is for {meant}, not for {contrast}.", "Calibrate the package for it.")
    return contrast


def folds_of(scans: Sequence[CachedScan], most: int = FOLDS) -> list[list[int]]:
    """Indices of each fold's scans; a subject's scans stay together.

    Every scanner is a fold where there are several with some subjects each; else subjects are dealt to the folds.
    """
    subjects = sorted({(scan.scanner, scan.subject) for scan in scans})
    each = Counter(scanner for scanner, _ in subjects)
    if len(each) > 1 and min(each.values()) >= _FEWEST_OF_A_SCANNER:
        return [[index for index, scan in enumerate(scans) if scan.scanner == name] for name in sorted(each)]
    count = min(most, len(subjects))
    fold_of = {subject: index % count for index, (_, subject) in enumerate(subjects)}
    return [[index for index, scan in enumerate(scans) if fold_of[scan.subject] == fold] for fold in range(count)]


def table_tensors(
    detector: EvidenceDetector, contrast: Contrast, held: Sequence[HeldComponents]
) -> dict[str, FloatArray]:
    """A table of healthy values for every component."""
    pools = {name: PooledQuantiles() for name in detector.weights(contrast)}
    for one in held:
        prepared, made = one.load()
        inside = detector.evaluated(prepared)
        for name, pool in pools.items():
            pool.add(made.parts[name][inside])
    return {TABLE_PREFIX + name: evidence_table(pool) for name, pool in pools.items()}


def rests_on(count: int, site: str = "") -> dict[str, str]:
    """What was fitted, and the healthy scans that it was fitted to, in words."""
    own = f"{count} healthy scan{'s' if count > 1 else ''}{f' of {site}' if site else ''}"
    if count >= FEWEST_SCANS:
        return {"evidence tables": own, "thresholds and guard": own}
    return {"evidence tables": own, "thresholds": own, "guard": f"none: {FEWEST_SCANS} scans are needed"}


def _add_left_out(
    calibrator: CohortCalibrator,
    detector: EvidenceDetector,
    contrast: Contrast,
    own: Sequence[HeldComponents],
    folds: Sequence[Sequence[int]],
    run: RunFolder,
) -> None:
    """Every scan's map by what was fitted to the other folds; a lone fold's by what was fitted to itself."""
    for fold in folds:
        run.obey()
        learned = [one for index, one in enumerate(own) if index not in fold] or own
        fitted = detector.fitted_to(contrast, table_tensors(detector, contrast, learned))
        for index in fold:
            prepared, made = own[index].load()
            anomaly, subject = fitted.score(prepared, made).anomaly, own[index].scan.subject
            calibrator.add(prepared, anomaly, made.scan_scores, subject=subject)
            done = _COMPONENT_SHARE + (1.0 - _COMPONENT_SHARE) * len(calibrator) / len(own)
            run.progress("calibrate", done)


def _held(
    detector: EvidenceDetector, scans: Sequence[CachedScan], run: RunFolder, scratch: Path
) -> Iterator[HeldComponents]:
    """Every scan with its components on disk."""
    started = time.monotonic()
    for index, scan in enumerate(scans):
        run.obey()
        file = scratch / f"components_{index}.npz"
        made = detector.reconstruct(scan.prepared(detector.recipe))
        np.savez(file, **made.parts)  # type: ignore[arg-type]
        each, done = (time.monotonic() - started) / (index + 1), index + 1
        run.progress("calibrate", _COMPONENT_SHARE * done / len(scans), each * (len(scans) - done))
        yield HeldComponents(scan, detector.recipe, file, made.scan_scores)


def _method(folds: Sequence[Sequence[int]], scans: Sequence[CachedScan]) -> str:
    """How the maps came about that thresholds and rates are of."""
    if len(folds) == 1:
        return "in sample: tables and threshold are of the same subject"
    scanners = {frozenset(scans[index].scanner for index in fold) for fold in folds}
    apart = len(scanners) == len(folds) and all(len(names) == 1 for names in scanners)
    what = f"{len(folds)} scanners" if apart else f"{len(folds)} folds of the subjects"
    return (
        f"maps of each of {what} by tables of the others; of these maps, thresholds of all subjects but one for that "
        "one; 95 % intervals (Clopper-Pearson)"
    )
