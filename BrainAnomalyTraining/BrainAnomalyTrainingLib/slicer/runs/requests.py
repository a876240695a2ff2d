"""What the panel asks the command line to do: settings in, arguments or a plain sentence out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from BrainAnomalyLib.models.store import models_folder
from BrainAnomalyLib.packages.read import HASHES

from .run_monitor import RunMonitor

_CHECKPOINT = "checkpoint.safetensors"
_NAME = re.compile(r"[^\W_][\w.-]*")


def checks_folder() -> Path:
    """Where the checks of cohorts and their prepared scans are kept: beside the user's models."""
    return models_folder().parent / "Cohorts"


def cache_folder() -> Path:
    """Where prepared scans are kept; checks and trainings share them. It may be deleted when nothing runs."""
    return checks_folder() / "prepared-scans"


@dataclass(frozen=True)
class CohortRequest:
    """A check of a folder of healthy scans, prepared as a detector's preset (of ``registry.PRESETS``) needs them."""

    folder: str
    contrast: str
    detector: str
    preset: str = "small"

    def problem(self) -> str:
        """Why the check cannot be started, in plain words; "" if it can."""
        if not self.folder.strip():
            return _("Choose the folder of the healthy scans first.")
        if not Path(self.folder).is_dir():
            return _("There is no folder '{folder}'.").format(folder=self.folder)
        return "" if self.detector else _("Choose a detector first.")

    @property
    def run_folder(self) -> Path:
        """Where a check of this folder keeps its state: one place for each folder and contrast."""
        identity = hashlib.sha256(f"{Path(self.folder).resolve()}\n{self.contrast}".encode()).hexdigest()[:16]
        return checks_folder() / identity

    def arguments(self) -> list[str]:
        """The ``prepare`` command."""
        return [
            *("prepare", self.folder, "--run", str(self.run_folder), "--cache", str(cache_folder())),
            *("--contrast", self.contrast, "--detector", self.detector, "--preset", self.preset),
        ]


@dataclass(frozen=True)
class Target:
    """Where a package is to be made: the folder it is saved in, and its name."""

    folder: str
    name: str

    @property
    def package(self) -> Path:
        """The package folder."""
        return Path(self.folder) / self.name

    @property
    def run_folder(self) -> Path:
        """Where the command that makes the package keeps its state: beside the package."""
        return self.package.with_name(self.package.name + ".training")

    def problem(self) -> str:
        """Why no package can be made there, in plain words; "" if one can."""
        if not self.folder.strip():
            return _("Choose the folder that the package is saved in first.")
        if not Path(self.folder).is_dir():
            return _("There is no folder '{folder}' to save the package in.").format(folder=self.folder)
        if not _NAME.fullmatch(self.name):
            return _("Give the package a name of letters, digits, '.', '-' and '_'.")
        if self.package.is_file() or (self.package.is_dir() and any(self.package.iterdir())):
            return _("'{package}' exists already: choose another name.").format(package=self.package)
        if (self.run_folder / _CHECKPOINT).is_file():
            return _("A training of this name was begun before: press Resume, or choose another name.")
        return ""

    def arguments(self) -> list[str]:
        """The places of package, run and prepared scans, as every command takes them."""
        return ["--out", str(self.package), "--run", str(self.run_folder), "--cache", str(cache_folder())]


@dataclass(frozen=True)
class TrainingRequest:
    """A training. ``steps`` 0 takes the preset's; ``exclude`` names subjects; ``site`` names scanner or hospital."""

    cohort: CohortRequest
    target: Target
    device: str = "auto"
    steps: int = 0
    exclude: tuple[str, ...] = ()
    site: str = ""

    def problem(self) -> str:
        """Why the training cannot be started, in plain words; "" if it can."""
        return self.cohort.problem() or self.target.problem()

    def arguments(self) -> list[str]:
        """The ``train`` command."""
        return [
            *("train", self.cohort.folder, "--detector", self.cohort.detector),
            *self.target.arguments(),
            *("--preset", self.cohort.preset, "--precision", "auto", "--device", self.device),
            *("--contrast", self.cohort.contrast),
            *(("--steps", str(self.steps)) if self.steps > 0 else ()),
            *_site(self.site),
            *_excluding(self.exclude),
        ]


@dataclass(frozen=True)
class CalibrationRequest:
    """A new calibration of the package in the folder ``source`` on a cohort, written as a package of its own."""

    cohort: CohortRequest
    source: str
    target: Target
    device: str = "auto"
    exclude: tuple[str, ...] = ()
    site: str = ""

    def problem(self) -> str:
        """Why the calibration cannot be started, in plain words; "" if it can."""
        if not self.source.strip():
            return _("Choose the package to calibrate first.")
        if not (Path(self.source) / HASHES).is_file():
            return _("'{folder}' is no package.").format(folder=self.source)
        return self.cohort.problem() or self.target.problem()

    def arguments(self) -> list[str]:
        """The ``calibrate`` command."""
        return [
            *("calibrate", self.source, self.cohort.folder, *self.target.arguments(), "--device", self.device),
            *("--contrast", self.cohort.contrast),
            *_site(self.site),
            *_excluding(self.exclude),
        ]


def start_check(job: CohortRequest) -> RunMonitor:
    """Find and prepare the scans, from the beginning. Raises ValueError with the job's problem, OSError."""
    _refuse(job.problem())
    run = RunMonitor(job.run_folder)
    run.start(job.arguments(), anew=True)
    return run


def start_job(job: TrainingRequest | CalibrationRequest) -> RunMonitor:
    """Start a command with the scans that a check has prepared, or prepare them first. Raises ValueError, OSError."""
    _refuse(job.problem())
    run = RunMonitor(job.target.run_folder)
    run.start(job.arguments())
    return run


def _site(name: str) -> tuple[str, ...]:
    return ("--site", name.strip()) if name.strip() else ()


def _excluding(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return ("--exclude", *subjects) if subjects else ()


def _refuse(problem: str) -> None:
    if problem:
        raise ValueError(problem)
