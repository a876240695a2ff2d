"""A package from its recipe: prepared, trained, calibrated, written. The same command goes on after an interruption."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from BrainAnomalyLib.detectors.anatomy.structure_network import GRID
from BrainAnomalyLib.detectors.evidence_detector import EvidenceDetector
from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import Preset
from BrainAnomalyLib.detectors.registry import detector_class_named
from BrainAnomalyLib.devices import choose_device
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.packages.read import Package, read_package
from BrainAnomalyLib.preparation.recipe import Recipe

from ..brain_mask.training import Recipe as BrainMaskRecipe
from ..brain_mask.training import train as train_brain_mask
from ..cache.cached_scans import CachedScan
from ..calibrate.calibration_run import CalibrationOutcome, calibrated_by_residual, elsewhere
from ..calibrate.evidence_calibration import calibrated_by_evidence
from ..export.package_export import Provenance, export_package, export_parts
from ..painting.bank import as_bytes
from ..painting.structure_training import StructureRecipe
from ..painting.structure_training import train as train_structures
from ..run.run_folder import RunFolder
from ..train.checkpoints import CHECKPOINT
from ..train.trainer import Trainer
from ..train.training_options import TrainingOptions
from ..training_job import check_place
from .ingredients import CohortParts, cohort_parts, further_scans, prepared, step_scans
from .recipe_file import PackageRecipe, read_recipe

_VALIDATE_EVERY, _CHECKPOINT_EVERY = 1000, 500


@dataclass(frozen=True)
class RebuildJob:
    """What to rebuild, from what, and where to.

    ``packages`` holds the packages of a recipe's parts. ``weights`` is a package whose networks are taken as they are,
    so that only the calibration and the card are made anew. ``steps`` 0 takes the recipe's.
    """

    recipe: Path
    data: Path
    out: Path
    run: Path
    cache: Path
    packages: Path
    weights: Path | None = None
    steps: int = 0
    minutes: float = float("inf")
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True, eq=False)
class Kitchen:
    """A job at work: its recipe, its run folder, and the cohort's parts."""

    job: RebuildJob
    recipe: PackageRecipe
    run: RunFolder
    parts: CohortParts

    def scans(self, chosen: list[Any], grid: Any) -> list[CachedScan]:
        """Scans prepared by a detector's recipe."""
        return prepared(chosen, grid, self.job.cache, self.run, self.job.workers)


def rebuild(job: RebuildJob, run: RunFolder) -> Path:
    """Make what the recipe says in ``job.out``. Raises BrainAnomalyError, Paused and Cancelled."""
    recipe = read_recipe(job.recipe)
    if recipe.makes not in ("brain_mask", "structure_network"):
        check_place(job.out)
    with run.working():
        run.clear_control()
        run.event("started", command="rebuild", pid=os.getpid())
        kitchen = Kitchen(job, recipe, run, cohort_parts(recipe, job.data) if recipe.data else CohortParts([], [], []))
        _MAKERS[recipe.makes](kitchen)
        run.event("finished", package=str(job.out), calibration=None)
    return job.out


def make_network(kitchen: Kitchen) -> None:
    """Train a network, calibrate it on the part of the cohort that it has not seen, and write its package."""
    job, recipe, run = kitchen.job, kitchen.recipe, kitchen.run
    family: Any = detector_class_named(recipe.detector)
    preset = preset_of(recipe, family, job.steps)
    grid = family.recipe_for(preset.config)
    run.stage("prepare", "Preparing the healthy scans.")
    training = kitchen.scans(kitchen.parts.training, grid)
    held_out = [kitchen.scans(step_scans(step, kitchen.parts, job.data), grid) for step in recipe.calibrations]
    detector, losses, seconds = trained(kitchen, family, preset, training)
    run.stage("calibrate", "Calibrating on healthy scans that were not trained on.")
    outcome = calibrated_by_residual(detector, held_out[0], run)
    known = detector.with_calibration({name: value.float().numpy() for name, value in outcome.tensors.items()})
    others = {scans[0].contrast: elsewhere(known, scans, run) for scans in held_out[1:]}
    outcome = replace(outcome, entry=outcome.entry | ({"by_contrast": others} if others else {}))
    run.stage("export", "Writing the package.")
    plan = recipe.training
    learned = [scan for scan in training if scan not in watched(training, plan.watched)]
    steps = preset.steps if job.weights is None else plan.steps
    cohort = None if job.weights is None else read_package(job.weights).metadata["cohort"]
    provenance = Provenance(
        preset=plan.preset,
        training=learned,
        seed=plan.seed,
        steps=steps,
        batch=preset.batch,
        seconds=seconds,
        losses=losses,
        statement=recipe.statement,
        cohort=cohort,
    )
    export_package(job.out, detector, outcome, provenance, recipe.license_text)


def trained(
    kitchen: Kitchen, family: type[LearnedDetector], preset: Preset, training: list[CachedScan]
) -> tuple[LearnedDetector, dict[str, float], float | None]:
    """The network, its last losses and the seconds it took; that of the job's package if it names one."""
    job, plan = kitchen.job, kitchen.recipe.training
    if job.weights is not None:
        package = read_package(job.weights)
        own = family.from_package(package, job.device)
        losses = package.metadata.get("training", {}).get("final_losses", {})
        return family(own.network, preset.config, own.device), losses, None
    kitchen.run.stage("train", f"Training '{family.title}'.")
    validation = watched(training, plan.watched)
    learned = [scan for scan in training if scan not in validation]
    options = TrainingOptions(
        preset.steps,
        preset.batch,
        plan.seed,
        job.minutes,
        job.device,
        validate_every=_VALIDATE_EVERY,
        checkpoint_every=_CHECKPOINT_EVERY,
    )
    trainer = Trainer(family, preset, options, kitchen.run)
    trainer.fit([*learned, *further_scans(plan, job.data, len(learned))], validation)
    return trainer.detector(), trainer.last_losses, trainer.seconds


def watched(training: list[CachedScan], count: int) -> list[CachedScan]:
    """Scans, evenly apart, that only watch the training."""
    return training[:: max(1, len(training) // count)][:count]


def preset_of(recipe: PackageRecipe, family: type[LearnedDetector], steps: int) -> Preset:
    """The family's preset with the recipe's settings. Raises OptionsError and PackageError."""
    plan = recipe.training
    if plan.preset not in family.presets:
        raise OptionsError(f"There is no preset '{plan.preset}'.", f"Choose one of {', '.join(family.presets)}.")
    preset = family.presets[plan.preset]
    config = family.config_from_json({**asdict(preset.config), **plan.config})
    batch = plan.batch or preset.batch
    return replace(preset, config=config, steps=steps or plan.steps or preset.steps, batch=batch)


def make_evidence(kitchen: Kitchen) -> None:
    """Put the networks of other packages together, calibrate every contrast, and write one package."""
    job, recipe, run = kitchen.job, kitchen.recipe, kitchen.run
    kind: type[EvidenceDetector] = detector_class_named(recipe.detector)
    packages = {name: read_package(job.packages / folder) for name, folder in recipe.parts.items()}
    detector = kind(kind.Config(), {name: _network(package, job.device) for name, package in packages.items()})
    outcomes: list[CalibrationOutcome] = []
    for step in recipe.calibrations:
        run.stage("prepare", f"Preparing the healthy {step.contrast} scans.")
        scans = kitchen.scans(step_scans(step, kitchen.parts, job.data), kind.recipe)
        run.stage("calibrate", f"Calibrating for {step.contrast} on {len(scans)} healthy scans.")
        outcomes.append(calibrated_by_evidence(detector, scans, run, alone=step.alone))
    run.stage("export", "Writing the package.")
    export_parts(job.out, detector, packages, outcomes, recipe.statement, recipe.license_text)


def make_brain_mask(kitchen: Kitchen) -> None:
    """Train the brain mask network; its files lie in the run folder and, finished, in ``out``."""
    job, plan = kitchen.job, kitchen.recipe.training
    recipe = BrainMaskRecipe(steps=job.steps or plan.steps, seed=plan.seed)
    begun = (job.out / CHECKPOINT).is_file()
    train_brain_mask(job.data, job.out, recipe, job.minutes, begun)


def make_structure_network(kitchen: Kitchen) -> None:
    """Train the structure network of the anatomy model; its bank, checkpoint and finished files lie in ``out``.

    Half of the scans that the split leaves to learn from join in.
    """
    job, plan = kitchen.job, kitchen.recipe.training
    recipe = StructureRecipe(steps=job.steps or plan.steps, seed=plan.seed)
    healthy = kitchen.scans(kitchen.parts.training[::2], Recipe(grid=GRID))
    scans = (as_bytes(scan.image(), scan.mask()) for scan in healthy)
    train_structures(job.data, scans, job.out, recipe, job.minutes, choose_device(job.device))


def _network(package: Package, device: str) -> LearnedDetector:
    kind: Any = detector_class_named(package.metadata["detector"])
    network: LearnedDetector = kind.from_package(package, device)
    return network


_MAKERS: dict[str, Callable[[Kitchen], None]] = {
    "network": make_network,
    "evidence": make_evidence,
    "brain_mask": make_brain_mask,
    "structure_network": make_structure_network,
}
