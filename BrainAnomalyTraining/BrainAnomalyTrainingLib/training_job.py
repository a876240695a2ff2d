"""A whole training, from a folder of healthy scans to a calibrated package."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import Preset
from BrainAnomalyLib.detectors.registry import detector_class_named, trainable_names
from BrainAnomalyLib.devices import Precision
from BrainAnomalyLib.errors import OptionsError, OutputError
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.packages.read import Package

from .cache.cached_scans import CachedScan
from .cache.cohort_preparation import prepare_cohort, read_cohort
from .calibrate.calibration import FEWEST_SCANS
from .calibrate.kinds import calibrated
from .cohort.cohort import SMALLEST_COHORT, subject_parts
from .export.package_export import Provenance, Statement, export_package
from .run.run_folder import JOB, Event, RunFolder
from .train.examples import ExampleWriter
from .train.tensorboard_log import tensorboard_listener
from .train.trainer import Trainer
from .train.training_options import TrainingOptions, accelerator_for

CALIBRATION_SHARE, VALIDATION_SHARE = 0.2, 0.1
# Settings that may differ when a run folder's training goes on; all others must be as they were.
_MAY_CHANGE = ("minutes", "device", "precision", "workers", "out", "run", "cache", "patience")


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on what, and how; None and 0 stand for the preset's or a sensible value.

    ``config`` holds entries that replace the preset's. ``exclude`` names subjects.
    """

    folder: Path
    detector: str
    out: Path
    run: Path
    cache: Path
    preset: str = "paper"
    config: dict[str, Any] | None = None
    contrast: Contrast | None = None
    steps: int = 0
    minutes: float = float("inf")
    batch: int = 0
    seed: int = 7
    device: str = "auto"
    precision: Precision = "no"
    patience: int = 0
    workers: int | None = None
    exclude: tuple[str, ...] = ()
    site: str = ""
    license: str = ""

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def trainable(name: str) -> type[LearnedDetector]:
    """The family of that name. Raises OptionsError for one that is not trained."""
    if name not in trainable_names():
        raise OptionsError(f"The detector '{name}' is not trained.", f"Choose one of {', '.join(trainable_names())}.")
    family: type[LearnedDetector] = detector_class_named(name)
    return family


def preset_of(family: type[LearnedDetector], job: TrainingJob) -> Preset:
    """The preset with the job's own settings in it. Raises OptionsError and PackageError for impossible ones."""
    if job.preset not in family.presets:
        raise OptionsError(f"There is no preset '{job.preset}'.", f"Choose one of {', '.join(family.presets)}.")
    if min(job.steps, job.batch, job.patience) < 0 or not job.minutes > 0.0:
        raise OptionsError("Steps, batch, patience and minutes must be positive.")
    preset = family.presets[job.preset]
    config = family.config_from_json({**asdict(preset.config), **(job.config or {})})
    return replace(preset, config=config, steps=job.steps or preset.steps, batch=job.batch or preset.batch)


def run_training(job: TrainingJob, listener: Callable[[Event], None] | None = None) -> Package | None:
    """Train, calibrate and write the package; None for the processes that only help.

    The same job goes on where it was paused, killed or interrupted. Raises Paused, Cancelled and BrainAnomalyError.
    """
    family = trainable(job.detector)
    preset = preset_of(family, job)
    accelerator = accelerator_for(job.device, job.precision)
    if not accelerator.is_main_process:
        _help(job, family, preset, accelerator)
        return None
    check_place(job.out)
    run = RunFolder(job.run, listener)
    with run.working():
        _claim(job, run)
        run.event("started", command="train", pid=os.getpid())
        scans = prepare_cohort(
            job.folder,
            family.recipe_for(preset.config),
            run,
            job.cache,
            job.contrast,
            job.exclude,
            job.workers,
            SMALLEST_COHORT,
        )
        board = tensorboard_listener(job.run)
        run = RunFolder(job.run, _both(listener, board))
        accelerator.wait_for_everyone()
        return _train_and_export(job, family, preset, accelerator, run, scans)


def _help(job: TrainingJob, family: type[LearnedDetector], preset: Preset, accelerator: Any) -> None:
    """A further process: waits until the first has prepared the cohort, then trains with it."""
    accelerator.wait_for_everyone()
    validation, _, training = _parts(read_cohort(job.run), job)
    trainer = Trainer(family, preset, _options(job, preset), RunFolder(job.run), accelerator)
    trainer.fit(training, validation)


def _train_and_export(
    job: TrainingJob,
    family: type[LearnedDetector],
    preset: Preset,
    accelerator: Any,
    run: RunFolder,
    scans: list[CachedScan],
) -> Package:
    validation, calibration, training = _parts(scans, job)
    run.stage("train", f"Training '{family.title}' on {len(training)} scans.")
    watch = ExampleWriter(validation[0], run, preset.steps)
    trainer = Trainer(family, preset, _options(job, preset), run, accelerator, watch)
    started = time.monotonic()
    trainer.fit(training, validation)
    seconds = trainer.seconds or time.monotonic() - started
    run.stage("calibrate", f"Calibrating on {len(calibration)} healthy scans that were not trained on.")
    outcome = calibrated(trainer.detector(), calibration, run, job.site)
    run.stage("export", "Writing the package.")
    provenance = Provenance(
        preset=job.preset,
        training=training,
        seed=job.seed,
        steps=trainer.step,
        batch=preset.batch,
        seconds=seconds,
        losses=trainer.last_losses,
        statement=Statement(license=job.license),
    )
    package = export_package(job.out, trainer.detector(), outcome, provenance)
    run.event("finished", package=str(job.out), calibration=package.metadata["calibration"])
    return package


def _options(job: TrainingJob, preset: Preset) -> TrainingOptions:
    return TrainingOptions(
        steps=preset.steps,
        batch=preset.batch,
        seed=job.seed,
        minutes=job.minutes,
        device=job.device,
        precision=job.precision,
        patience=job.patience,
    )


def _parts(scans: Sequence[CachedScan], job: TrainingJob) -> list[list[CachedScan]]:
    """Validation, calibration and training scans, split by subject; calibration gets what it needs at least."""
    validation, calibration, training = subject_parts(scans, (VALIDATION_SHARE, CALIBRATION_SHARE), job.seed)
    while len({scan.subject for scan in calibration}) < FEWEST_SCANS:
        moved = training[-1].subject
        calibration += [scan for scan in training if scan.subject == moved]
        training = [scan for scan in training if scan.subject != moved]
    return [validation, calibration, training]


def check_place(out: Path) -> None:
    """Raise OutputError now rather than after hours if the package cannot be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"'{out}' exists already.", "Choose a new folder for the package.")
    place = next(above for above in out.absolute().parents if above.exists())
    if not os.access(place, os.W_OK):
        raise OutputError(f"Nothing can be written to '{place}'.", "Choose another place for the package.")


def _claim(job: TrainingJob, run: RunFolder) -> None:
    """Keep the job in its run folder; refuse a folder in which another training was begun."""
    settings = json.loads(json.dumps(job.to_json()))
    run.clear_control()
    try:
        before = json.loads((run.path / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = settings
    differing = [name for name, value in settings.items() if before.get(name) != value and name not in _MAY_CHANGE]
    if differing and (run.path / "checkpoint.safetensors").is_file():
        raise OutputError(
            f"The run folder '{run.path}' holds a training with other settings ({', '.join(differing)}).",
            "Give those settings again, or another run folder.",
        )
    run.write_job(settings)


def _both(*listeners: Callable[[Event], None] | None) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        for listener in listeners:
            if listener is not None:
                listener(event)

    return listen
