"""The runs that a program can ask for, with their endings told in the run folder: train, prepare, calibrate."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.registry import load_detector, trainable_names
from BrainAnomalyLib.errors import BrainAnomalyError, Cancelled, OptionsError
from BrainAnomalyLib.packages.read import Package, read_package
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.resources import resources_folder
from BrainAnomalyLib.service.jobs import in_plain_words
from BrainAnomalyLib.service.workplace import running_process

from .cache.cached_scans import CachedScan
from .cache.cohort_preparation import prepare_cohort
from .calibrate.kinds import calibrated
from .export.package_export import preset_summary, recalibrated_package
from .run.run_folder import Event, Paused, RunFolder
from .training_job import TrainingJob, check_place, run_training, trainable

Listener = Callable[[Event], None] | None
_LEAST_FOR_CALIBRATION = 2


def train(settings: dict[str, Any], listener: Listener = None) -> Package | None:
    """``training_job.run_training`` by settings; ``config`` names a JSON file."""
    config = settings.pop("config", None)
    job = TrainingJob(**settings, config=None if config is None else _json_object(config))
    with told(job.run, listener):
        return run_training(job, listener)


def prepare(settings: dict[str, Any], listener: Listener = None) -> list[CachedScan]:
    """Check and prepare a cohort, by ``detector`` and ``preset`` or by ``grid``."""
    recipe = Recipe(grid=settings["grid"])
    if settings["detector"]:
        family = trainable(settings["detector"])
        recipe = family.recipe_for(family.presets[settings["preset"]].config)
    with told(settings["run"], listener) as run, run.working():
        run.clear_control()
        run.event("started", command="prepare", pid=os.getpid())
        scans = _prepared(settings, recipe, run)
        run.event("finished", package=None, calibration=None)
        return scans


def calibrate(settings: dict[str, Any], listener: Listener = None) -> Package:
    """Calibrate a package again on a site's own healthy scans and write it as a new one."""
    check_place(settings["out"])
    package = read_package(settings["package"])
    detector = load_detector(package.metadata["detector"], settings["package"], settings["device"])
    settings["contrast"] = settings["contrast"] or package.metadata["contrasts"][0]
    with told(settings["run"], listener) as run, run.working():
        run.clear_control()
        run.event("started", command="calibrate", pid=os.getpid())
        scans = _prepared(settings, package.recipe, run, _LEAST_FOR_CALIBRATION)
        run.stage("calibrate", f"Calibrating on {len(scans)} healthy scans.")
        outcome = calibrated(detector, scans, run, settings["site"])
        fresh = recalibrated_package(settings["out"], package, outcome)
        run.event("finished", package=str(settings["out"]), calibration=fresh.metadata["calibration"])
        return fresh


def rebuild_package(settings: dict[str, Any], listener: Listener = None) -> Path:
    """Make what a recipe says (``recipes.rebuild``); parts come from the embedded packages unless settings differ."""
    from .recipes.rebuild import RebuildJob, rebuild

    job = RebuildJob(**{**settings, "packages": settings["packages"] or resources_folder() / "Models"})
    with told(job.run, listener) as run:
        return rebuild(job, run)


def trainable_families() -> list[dict[str, Any]]:
    """Every family that is trained: name, title, source, dimensions, contrasts and presets with their sizes."""
    return [_facts(trainable(name)) for name in trainable_names()]


@contextmanager
def told(folder: Path, listener: Listener) -> Iterator[RunFolder]:
    """A run folder in which the way a run ends is told, whatever it is."""
    run = RunFolder(folder, listener)
    try:
        yield run
    except Paused as pause:
        run.event("paused", message=pause.message)
        raise
    except (Cancelled, KeyboardInterrupt):
        run.event("cancelled")
        raise
    except BaseException as error:
        if running_process(folder) is None:
            _tell_failure(run, error)
        raise


def _tell_failure(run: RunFolder, error: BaseException) -> None:
    plain = in_plain_words(error)
    if isinstance(error, SystemExit):
        plain = BrainAnomalyError("The run was ended by the system.", "The same command goes on.")
    try:
        run.event(
            "error", kind=type(error).__name__, message=plain.message, remedy=plain.remedy, exit_code=plain.exit_code
        )
    except BrainAnomalyError:
        # A full disk takes no further event; the sentence still goes to standard error.
        return


def _prepared(settings: dict[str, Any], recipe: Recipe, run: RunFolder, needed: int = 1) -> list[CachedScan]:
    names = ("cache", "contrast", "exclude", "workers")
    return prepare_cohort(settings["folder"], recipe, run, **{name: settings[name] for name in names}, needed=needed)


def _json_object(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionsError(f"The configuration '{file}' cannot be read: {error}.", "Give a JSON file.") from error
    if not isinstance(values, dict):
        raise OptionsError(f"The configuration '{file}' is not a JSON object.", 'Give entries such as {"passes": 2}.')
    return values


def _facts(family: type[LearnedDetector]) -> dict[str, Any]:
    return {
        "name": family.name,
        "title": family.title,
        "source": family.source,
        "dimensions": family.dimensions,
        "contrasts": list(family.contrasts),
        "presets": {name: preset_summary(family, preset) for name, preset in family.presets.items()},
    }
