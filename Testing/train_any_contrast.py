"""Train the embedded any-contrast package on the shared data. Goes on where it was interrupted.

    python Testing/train_any_contrast.py --run RUN --out PACKAGE [--data ../shared/data] [--minutes 60] [--threads 2]

Learns from the T1w scans of the training part of ``cohort.split_subjects`` (IXI and OpenNeuro ds002748) and from the
lesion-free FLAIR slices of SOOP subjects with the least bright white matter (``soop_slices.calmest``: patients without
an acute lesion in that slice, not healthy people), and from made-up FLAIR, T2w and T1w of healthy label maps
(``label_map_scans``). ``--start`` goes on from a package's network. Calibrated on scans that were not trained on, then
for the combined detectors (``calibrate_combined``).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

import soop_slices
from BrainAnomalyLib.detectors.shipped.any_contrast import AnyContrastDetector
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyTrainingLib.cache.cached_scans import CachedScan
from BrainAnomalyTrainingLib.cache.cohort_preparation import prepared_reports
from BrainAnomalyTrainingLib.calibrate.calibration_run import calibrated
from BrainAnomalyTrainingLib.cohort.cohort import CohortScan, shared_t1w_cohort, split_subjects
from BrainAnomalyTrainingLib.export.package_export import Provenance, export_package
from BrainAnomalyTrainingLib.run.run_folder import RunFolder
from BrainAnomalyTrainingLib.train.trainer import Trainer
from BrainAnomalyTrainingLib.train.training_options import TrainingOptions
from calibrate_combined import calibrate
from label_map_scans import made_scans

_VALIDATION_SCANS = 4
# What part of the slices drawn are FLAIR slices of patients, and scans of one label map.
_FLAIR_SHARE, _SCANS_PER_MAP = 0.15, 6
# Of a training that goes on from a trained network.
_SMALLER_LEARNING_RATE = 1e-3


def parts(data: Path) -> tuple[list[CohortScan], list[CohortScan], list[CohortScan]]:
    """Scans to train on, to watch by, and to calibrate with."""
    split = split_subjects(shared_t1w_cohort(data))
    own = list(split.training)
    watched = own[:: len(own) // _VALIDATION_SCANS][:_VALIDATION_SCANS]
    return [scan for scan in own if scan not in watched], watched, list(split.calibration)


def prepared(scans: list[CohortScan], cache: Path, run: RunFolder) -> list[CachedScan]:
    """The scans on the 2 mm grid, each prepared once."""
    cache.mkdir(parents=True, exist_ok=True)
    reports = prepared_reports(scans, Recipe(grid="template_2mm"), cache, run)
    found = [report.cached for report in reports if report.cached is not None]
    return sorted(found, key=lambda scan: scan.subject)


def start_from(trainer: Trainer, folder: Path) -> None:
    """The package's weights for a training that has not begun."""
    trained = AnyContrastDetector.from_package(read_package(folder), "cpu").network.state_dict()
    for network in (trainer.network, trainer.average):
        network.load_state_dict(trained)


def main() -> None:
    """Train, calibrate, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="default: beside the run folder")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="the schedule is not shortened by it")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="a package whose network is trained further")
    parser.add_argument(
        "--no-mirror", action="store_true", help="an ablation: the network does not see the mirror image"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    run, cache = RunFolder(chosen.run), chosen.cache or chosen.run.parent / "cache"
    made = list(made_scans(chosen.data / "synthseg_label_maps", _SCANS_PER_MAP, seed=7))
    training, validation, calibration = (prepared(part, cache, run) for part in parts(chosen.data))
    flair = soop_slices.calmest(soop_slices.load(chosen.data)[0]).scan()
    share = round((len(training) + len(made)) * _FLAIR_SHARE / (1.0 - _FLAIR_SHARE))
    preset = AnyContrastDetector.presets["paper"]
    rate = _SMALLER_LEARNING_RATE if chosen.start else preset.config.learning_rate
    config = replace(preset.config, mirrors=not chosen.no_mirror, learning_rate=rate)
    preset = replace(preset, steps=chosen.steps, config=config)
    options = TrainingOptions(
        preset.steps, preset.batch, 7, chosen.minutes, "cpu", validate_every=1000, checkpoint_every=500
    )
    trainer = Trainer(AnyContrastDetector, preset, options, run)
    if chosen.start:
        start_from(trainer, chosen.start)
    trainer.fit([*training, *made, *[flair] * share], validation)
    detector = trainer.detector()
    outcome = calibrated(detector, calibration, run)
    provenance = Provenance(
        preset="paper",
        training=training,
        seed=7,
        steps=trainer.step,
        batch=preset.batch,
        seconds=trainer.seconds,
        losses=trainer.last_losses,
        license="CC BY-SA 3.0",
    )
    export_package(chosen.out, detector, outcome, provenance)
    calibrate(chosen.out, chosen.data, cache)


if __name__ == "__main__":
    main()
