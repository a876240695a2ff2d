"""What the panel asks the command line to do: settings in, arguments or a plain sentence out."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from BrainAnomalyLib.model_store import models_folder

from .run_monitor import RunMonitor

# Preset of the panel -> preset and precision of the command line; the GPU's device depends on the computer.
PRESETS = {"quick": ("small", "no"), "paper": ("paper", "no"), "gpu": ("paper", "fp16")}
_CHECKPOINT = "checkpoint.safetensors"
_NAME = re.compile(r"[^\W_][\w.-]*")


def checks_folder() -> Path:
    """Where the checks of cohorts and their prepared scans are kept: beside the user's models."""
    return models_folder().parent / "Cohorts"


def cache_folder() -> Path:
    """Where prepared scans are kept; checks and trainings share them. It may be deleted when nothing runs."""
    return checks_folder() / "prepared-scans"


@dataclass(frozen=True)
class CohortJob:
    """A check of a folder of healthy scans, prepared as a detector's preset (a key of PRESETS) needs them."""

    folder: str
    contrast: str
    detector: str
    preset: str = "quick"

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
            *("--contrast", self.contrast, "--detector", self.detector, "--preset", PRESETS[self.preset][0]),
        ]


@dataclass(frozen=True)
class TrainingJob:
    """A training: cohort with detector and preset, target, device, steps (0: the preset's), subjects to leave out."""

    cohort: CohortJob
    output_folder: str
    package_name: str
    device: str = "auto"
    steps: int = 0
    exclude: tuple[str, ...] = ()

    @property
    def package(self) -> Path:
        """The package folder to be made."""
        return Path(self.output_folder) / self.package_name

    @property
    def run_folder(self) -> Path:
        """Where the training keeps its state: beside the package."""
        return self.package.with_name(self.package.name + ".training")

    def problem(self) -> str:
        """Why the training cannot be started, in plain words; "" if it can."""
        if self.cohort.problem():
            return self.cohort.problem()
        return self._device_problem() or self._target_problem()

    def arguments(self) -> list[str]:
        """The ``train`` command."""
        preset, precision = PRESETS[self.cohort.preset]
        excluding = ["--exclude", *self.exclude] if self.exclude else []
        steps = ["--steps", str(self.steps)] if self.steps > 0 else []
        return [
            *("train", self.cohort.folder, "--detector", self.cohort.detector),
            *("--out", str(self.package), "--run", str(self.run_folder), "--cache", str(cache_folder())),
            *("--preset", preset, "--precision", precision, "--device", self._device()),
            *("--contrast", self.cohort.contrast),
            *steps,
            *excluding,
        ]

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        return {"quick": "cpu", "gpu": "mps" if sys.platform == "darwin" else "cuda"}.get(self.cohort.preset, "auto")

    def _device_problem(self) -> str:
        if self.cohort.preset == "gpu" and self.device == "cpu":
            return _("The GPU preset does not run on the processor: choose another device or preset.")
        return ""

    def _target_problem(self) -> str:
        if not self.output_folder.strip():
            return _("Choose the folder that the package is saved in first.")
        if not Path(self.output_folder).is_dir():
            return _("There is no folder '{folder}' to save the package in.").format(folder=self.output_folder)
        if not _NAME.fullmatch(self.package_name):
            return _("Give the package a name of letters, digits, '.', '-' and '_'.")
        if self.package.is_file() or (self.package.is_dir() and any(self.package.iterdir())):
            return _("'{package}' exists already: choose another name.").format(package=self.package)
        if (self.run_folder / _CHECKPOINT).is_file():
            return _("A training of this name was begun before: press Resume, or choose another name.")
        return ""


def start_check(job: CohortJob) -> RunMonitor:
    """Find and prepare the scans, from the beginning. Raises ValueError with the job's problem, OSError."""
    _refuse(job.problem())
    run = RunMonitor(job.run_folder)
    run.start(job.arguments(), anew=True)
    return run


def start_training(job: TrainingJob) -> RunMonitor:
    """Train with the scans that a check has prepared, or prepare them first. Raises ValueError, OSError."""
    _refuse(job.problem())
    run = RunMonitor(job.run_folder)
    run.start(job.arguments())
    return run


def _refuse(problem: str) -> None:
    if problem:
        raise ValueError(problem)
