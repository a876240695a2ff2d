"""The scans that a recipe names, found below a data folder and prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from BrainAnomalyLib.detectors.learning import HealthyScan
from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.preparation.recipe import Recipe

from ..cache.cached_scans import CachedScan
from ..cache.cohort_preparation import prepared_reports
from ..cohort.cohort import CohortScan, subject_parts
from ..cohort.search import find_scans
from ..run.run_folder import RunFolder
from .label_map_scans import made_scans
from .recipe_file import CalibrationStep, PackageRecipe, Training
from .stroke_slices import calmest, training_slices


class CohortParts(NamedTuple):
    """The cohort's scans to learn from, to calibrate with, and those kept for tests."""

    training: list[CohortScan]
    calibration: list[CohortScan]
    test: list[CohortScan]


def cohort_parts(recipe: PackageRecipe, data: Path) -> CohortParts:
    """The recipe's cohort, split by subject within each scanner. Raises CohortError."""
    scans: list[CohortScan] = []
    for one in recipe.data:
        found = find_scans(data / one.folder, one.contrast).scans
        scans += [replace(scan, scanner=one.scanner) for scan in found]
    split = recipe.split
    calibration, test, training = subject_parts(scans, (split.calibration, split.test), split.seed)
    return CohortParts(training, calibration, test)


def step_scans(step: CalibrationStep, parts: CohortParts, data: Path) -> list[CohortScan]:
    """The healthy scans of a calibration: the split's part, or the step's own files, each another subject's.

    Their brains are found by the program, as those of users' scans are, unless the step takes the cohort's labels.
    Raises ScanError for a pattern that no file has.
    """
    if not step.files:
        return parts.calibration if step.brain_labels else [replace(s, brain_labels=None) for s in parts.calibration]
    files: list[Path] = []
    for pattern in step.files:
        found = sorted(data.glob(pattern))
        if not found:
            raise ScanError(f"There is no file '{pattern}' below '{data}'.", "Check the data folder.")
        files += found
    return [CohortScan(f"{file.parent.name}/{file.name}", "", file, contrast=step.contrast) for file in files]


def prepared(
    scans: Sequence[CohortScan], recipe: Recipe, cache: Path, run: RunFolder, workers: int | None = None
) -> list[CachedScan]:
    """The scans that can be prepared, in their own order; each is prepared once in ``cache``, the others are told."""
    cache.mkdir(parents=True, exist_ok=True)
    reports = list(prepared_reports(scans, recipe, cache, run, workers))
    for report in reports:
        if report.cached is None:
            run.event("scan", **report.event())
    order = {scan: index for index, scan in enumerate(scans)}
    kept = sorted((report for report in reports if report.cached is not None), key=lambda report: order[report.scan])
    return [report.cached for report in kept if report.cached is not None]


def further_scans(training: Training, data: Path, cohort: int) -> list[HealthyScan]:
    """What is learned from beside ``cohort`` scans: painted label maps, and slices repeated up to their share."""
    further: list[HealthyScan] = []
    maps, slices = training.label_maps, training.stroke_slices
    if maps is not None:
        further += made_scans([data / maps.folder / name for name in maps.files], maps.each, maps.seed)
    if slices is not None:
        share = slices.share / (1.0 - slices.share)
        further += [calmest(training_slices(data / slices.folder)).scan()] * round((cohort + len(further)) * share)
    return further
