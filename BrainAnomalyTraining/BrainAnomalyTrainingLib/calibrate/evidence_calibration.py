"""Calibration of detectors that weigh evidence, every threshold out of sample.

What evidence is read off (tables, and where a detector asks for it normal levels and intensities at a place) is fitted
to all folds of the healthy subjects but one, and the fold left out is scored by it. Thresholds, rates and the guard
come from these maps alone. What the package then holds is fitted to all of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from BrainAnomalyLib.detectors.evidence_detector import COVERAGE, LEVEL_PREFIX, TABLE_PREFIX, EvidenceDetector, Fitted
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.geometry import FloatArray
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.scoring.guard import FEWEST_SCANS
from BrainAnomalyLib.scoring.normative_intensity import NORMATIVE_DEVIATION, NORMATIVE_MEAN

from ..cache.cached_scans import CachedScan
from ..run.run_folder import RunFolder
from .calibration import CohortCalibrator, require_scans
from .calibration_run import CalibrationOutcome, stored
from .calibration_statistics import PooledQuantiles
from .healthy_fits import evidence_table, normal_level, normative_intensity

FOLDS = 5
# What healthy brains look like place by place needs as many subjects; with fewer, the package's own is kept.
ENOUGH_FOR_PLACES = 20
# Components are costly and normal levels are smooth: of more reference scans, every n-th gives them.
_LEVEL_SCANS = 40
_COMPONENT_SHARE = 0.8
_PLACES = (COVERAGE, LEVEL_PREFIX, NORMATIVE_MEAN, NORMATIVE_DEVIATION)


@dataclass(frozen=True, eq=False)
class HeldComponents:
    """A healthy scan whose component maps wait in a file."""

    scan: CachedScan
    recipe: Recipe
    file: Path

    def load(self) -> tuple[PreparedScan, Reconstruction]:
        """The scan and its components."""
        prepared = self.scan.prepared(self.recipe)
        with np.load(self.file, allow_pickle=False) as stored_maps:
            return prepared, Reconstruction(prepared.image, parts=dict(stored_maps))


class PlaceFit(NamedTuple):
    """Normal levels and intensities at a place: ``kept`` ones, or, with ``anew``, those of the scans at hand."""

    kept: Fitted
    anew: bool

    def tensors(self, detector: EvidenceDetector, contrast: Contrast, own: Sequence[HeldComponents]) -> Fitted:
        """Those that maps are to be judged by, if ``own`` are the scans that may be fitted to."""
        return place_tensors(detector, contrast, own, [one.scan for one in own]) if self.anew else self.kept


def calibrated_by_evidence(
    detector: EvidenceDetector,
    scans: Sequence[CachedScan],
    run: RunFolder,
    site: str = "",
    references: Sequence[CachedScan] = (),
    alone: bool = False,
) -> CalibrationOutcome:
    """Calibrate ``detector`` for the contrast of healthy scans that its networks have not learned from.

    Normal levels and intensities at a place are those of ``references`` (the networks may have seen them); without any,
    those of ``scans`` if there are enough subjects, else the detector's own. ``alone`` allows a single subject, whose
    thresholds are in sample and say so. Component maps wait in the run folder and are always removed. Raises
    CalibrationError, OptionsError for a contrast that the detector is not for, Cancelled and Paused.
    """
    contrast, folds = contrast_for(detector, scans), folds_of(scans)
    if not alone:
        require_scans(len(folds))
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=run.path) as scratch:
        started = time.monotonic()
        levels = references[:: max(1, ceil(len(references) / _LEVEL_SCANS))] if detector.fits_places else ()
        held = list(_held(detector, [*scans, *levels], run, Path(scratch)))
        seconds = (time.monotonic() - started) / len(held)
        own, others = held[: len(scans)], held[len(scans) :]
        fit = _place_fit(detector, contrast, own, others, references)
        calibrator = CohortCalibrator(Path(scratch))
        _add_left_out(calibrator, detector, contrast, own, folds, fit, run)
        cohort = calibrator.finish((contrast,), site, detector.allowed_ml, _method(len(folds)), alone)
        tensors = table_tensors(detector, contrast, own, fit.tensors(detector, contrast, own))
    said = rests_on(detector, scans, references, fit, site)
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
    """Indices of each fold's scans; a subject's scans stay together, and every scanner is spread over the folds."""
    subjects = sorted({(scan.scanner, scan.subject) for scan in scans})
    count = min(most, len(subjects))
    fold_of = {subject: index % count for index, (_, subject) in enumerate(subjects)}
    return [[index for index, scan in enumerate(scans) if fold_of[scan.subject] == fold] for fold in range(count)]


def place_tensors(
    detector: EvidenceDetector,
    contrast: Contrast,
    held: Sequence[HeldComponents],
    scans: Sequence[CachedScan],
) -> dict[str, FloatArray]:
    """How bright healthy brains are at a place (from ``scans``), and how high the components are (from ``held``)."""
    normal = normative_intensity((scan.image(), scan.mask()) for scan in scans)
    tensors = {NORMATIVE_MEAN: normal.mean, NORMATIVE_DEVIATION: normal.deviation}
    fitted = detector.fitted_to(contrast, tensors)
    loaded = (one.load() for one in held)
    found = normal_level((fitted.component_maps(*pair), pair[0].brain_mask) for pair in loaded)
    return {**tensors, COVERAGE: found.coverage, **{LEVEL_PREFIX + name: level for name, level in found.levels.items()}}


def table_tensors(
    detector: EvidenceDetector, contrast: Contrast, held: Sequence[HeldComponents], places: Fitted
) -> dict[str, FloatArray]:
    """``places`` and a table of healthy values for every component."""
    fitted = detector.fitted_to(contrast, places)
    pools = {name: PooledQuantiles() for name in detector.component_names()}
    for one in held:
        prepared, made = one.load()
        inside, maps = fitted.evaluated(prepared), fitted.component_maps(prepared, made)
        for name, pool in pools.items():
            pool.add(maps[name][inside])
    return {**places, **{TABLE_PREFIX + name: evidence_table(pool) for name, pool in pools.items()}}


def rests_on(
    detector: EvidenceDetector,
    scans: Sequence[CachedScan],
    references: Sequence[CachedScan],
    fit: PlaceFit,
    site: str = "",
) -> dict[str, str]:
    """What was fitted, and the healthy scans that it was fitted to, in words."""
    own = f"{len(scans)} healthy scan{'s' if len(scans) > 1 else ''}{f' of {site}' if site else ''}"
    guarded = len(scans) >= FEWEST_SCANS
    said = {"evidence tables": own, "thresholds and guard" if guarded else "thresholds": own}
    said |= {} if guarded else {"guard": f"none: {FEWEST_SCANS} scans are needed"}
    if not detector.fits_places:
        return said
    few = f"as before: {ENOUGH_FOR_PLACES} subjects are needed to fit these anew"
    elsewhere = f"{len(references)} healthy scans that the networks learned from" if references else few
    return {**said, "normal levels and intensities at a place": own if fit.anew else elsewhere}


def _place_fit(
    detector: EvidenceDetector,
    contrast: Contrast,
    own: Sequence[HeldComponents],
    others: Sequence[HeldComponents],
    references: Sequence[CachedScan],
) -> PlaceFit:
    kept = {name: value for name, value in detector.fitted.get(contrast, {}).items() if name.startswith(_PLACES)}
    enough = len({one.scan.subject for one in own}) >= ENOUGH_FOR_PLACES
    anew = detector.fits_places and not references and (enough or not kept)
    if detector.fits_places and references:
        kept = place_tensors(detector, contrast, others, references)
    return PlaceFit(kept, anew)


def _add_left_out(
    calibrator: CohortCalibrator,
    detector: EvidenceDetector,
    contrast: Contrast,
    own: Sequence[HeldComponents],
    folds: Sequence[Sequence[int]],
    fit: PlaceFit,
    run: RunFolder,
) -> None:
    """Every scan's map by what was fitted to the other folds; a lone fold's by what was fitted to itself."""
    for fold in folds:
        run.obey()
        learned = [one for index, one in enumerate(own) if index not in fold] or own
        tensors = table_tensors(detector, contrast, learned, fit.tensors(detector, contrast, learned))
        fitted = detector.fitted_to(contrast, tensors)
        for index in fold:
            prepared, made = own[index].load()
            calibrator.add(prepared, fitted.score(prepared, made).anomaly, subject=own[index].scan.subject)
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
        np.savez(file, **detector.reconstruct(scan.prepared(detector.recipe)).parts)  # type: ignore[arg-type]
        each, done = (time.monotonic() - started) / (index + 1), index + 1
        run.progress("calibrate", _COMPONENT_SHARE * done / len(scans), each * (len(scans) - done))
        yield HeldComponents(scan, detector.recipe, file)


def _method(folds: int) -> str:
    """How the maps came about that thresholds and rates are of."""
    if folds == 1:
        return "in sample: tables and threshold are of the same subject"
    return (
        f"maps of each of {folds} folds of the subjects by tables of the other folds; of these maps, thresholds of all "
        "subjects but one for that one; 95 % intervals (Clopper-Pearson)"
    )
