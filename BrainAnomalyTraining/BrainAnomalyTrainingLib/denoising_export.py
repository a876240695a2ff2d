"""Calibrate a trained denoising autoencoder on held-out healthy scans and write it as a package.

    python -m BrainAnomalyTrainingLib.denoising_export --data SHARED --run FOLDER --out PACKAGE

The calibration scans go through the whole preparation as a user's scan does (brain mask network included), not
through the training cache, so that the quantiles hold for what a user gets.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from BrainAnomalyLib.detectors.denoising import DenoisingConfig, DenoisingDetector
from BrainAnomalyLib.findings.slice_profile import slice_means
from BrainAnomalyLib.packages import FORMAT, Package, write_package
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.volumes import read_scan

from .calibration import Calibration, HealthyResidual, calibrate, healthy_rms, leave_one_out_maps
from .cohort import CohortScan, shared_t1w_cohort, split_subjects
from .denoising_training import RECIPE

SOURCES = (
    "IXI dataset, https://brain-development.org/ixi-dataset/ (Hammersmith Hospital, Philips 3T), CC BY-SA 3.0",
    "OpenNeuro ds002748, doi:10.18112/openneuro.ds002748 (Bezmaternykh et al. 2021), CC0",
)
LICENSE_NAME = "CC BY-SA 3.0"
INTENDED_USE = "Research on unsupervised anomaly detection in adult T1w brain MR. For research, not for diagnosis."


def prepared_for_detection(scans: tuple[CohortScan, ...]) -> list[PreparedScan]:
    """The scans prepared as a user's would be, in the given order."""
    return [prepare(read_scan(scan.path, "T1w"), RECIPE) for scan in scans]


def residuals_of(detector: DenoisingDetector, scans: list[PreparedScan]) -> list[HealthyResidual]:
    """Absolute residuals of healthy scans."""
    found = []
    for scan in scans:
        healthy = detector.reconstruct(scan).pseudo_healthy
        found.append(HealthyResidual(np.abs(scan.image - healthy), scan.brain_mask))
    return found


def export(data: Path, run: Path, out: Path) -> Package:
    """Calibrate and write the package; a first package without calibration serves to run the detector."""
    split = split_subjects(shared_t1w_cohort(data))
    weights = averaged_weights(run)
    config = DenoisingConfig()
    blank = {"healthy_rms": torch.ones(96, 112, 96)}
    unscaled = Calibration(0, {0.01: 1.0}, 1.0, 1.0)
    scans = prepared_for_detection(split.calibration)
    with tempfile.TemporaryDirectory() as scratch:
        first = _write(Path(scratch) / "package", config, weights, blank, unscaled, data)
        residuals = residuals_of(DenoisingDetector(first, "auto"), scans)
    maps = leave_one_out_maps(residuals, config.floor)
    voxel_mm3 = scans[0].template.grid.voxel_volume_mm3
    calibration = calibrate(maps, [scan.brain_mask for scan in scans], voxel_mm3)
    means = [slice_means(anomaly, scan.brain_mask) for anomaly, scan in zip(maps, scans, strict=True)]
    healthy = {
        "healthy_rms": torch.from_numpy(healthy_rms(residuals)).half(),
        "healthy_slice_means": torch.from_numpy(np.stack(means).astype(np.float32)),
    }
    return _write(out, config, weights, healthy, calibration, data)


def averaged_weights(run: Path) -> dict[str, torch.Tensor]:
    """The running average of the weights in a training checkpoint, in half precision."""
    tensors = load_file(run / "checkpoint.safetensors")
    chosen = {name.removeprefix("average."): value for name, value in tensors.items() if name.startswith("average.")}
    return {name: value.half() for name, value in chosen.items()}


def _write(
    folder: Path,
    config: DenoisingConfig,
    weights: dict[str, torch.Tensor],
    tensors: dict[str, torch.Tensor],
    calibration: Calibration,
    data: Path,
) -> Package:
    here = Path(__file__).parent / "package_texts"
    metadata = _metadata(config, calibration, data)
    texts = [(here / name).read_text(encoding="utf-8") for name in ("denoising_model_card.md", "denoising_license.txt")]
    return write_package(folder, metadata, weights, tensors, *texts)


def _metadata(config: DenoisingConfig, calibration: Calibration, data: Path) -> dict[str, Any]:
    split = split_subjects(shared_t1w_cohort(data))
    return {
        "format": FORMAT,
        "name": "Denoising autoencoder, T1w, 2 mm",
        "version": "1.0.0",
        "description": "Coarse-noise denoising autoencoder trained on healthy adult T1w scans of two scanners.",
        "authors": "BrainAnomaly developers",
        "task": "Unsupervised anomaly detection in brain MR",
        "detector": "denoising",
        "config": asdict(config),
        "recipe": asdict(RECIPE),
        "recipe_identity": RECIPE.identity(),
        "contrasts": ["T1w"],
        "cohort": _cohort(data, split.training),
        "calibration": _calibration_entry(calibration),
        "license": LICENSE_NAME,
        "intended_use": INTENDED_USE,
        "network_data_format": _data_format(config),
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "changelog": {"1.0.0": "First version."},
    }


def _calibration_entry(calibration: Calibration) -> dict[str, Any]:
    source = (
        f"at most {calibration.default_ml:g} mL of findings per healthy scan on average, "
        f"measured on {calibration.scans} held-out healthy scans"
    )
    return {
        "scans": calibration.scans,
        "quantiles": {f"{rate:g}": round(value, 4) for rate, value in calibration.quantiles.items()},
        "default_threshold": round(calibration.default_threshold, 4),
        "default_source": source,
    }


def _cohort(data: Path, scans: tuple[CohortScan, ...]) -> dict[str, Any]:
    ages = _ages(data, {scan.subject for scan in scans})
    return {
        "scans": len(scans),
        "age_range_years": [min(ages), max(ages)],
        "scanners": sorted({scan.scanner for scan in scans}),
        "sources": list(SOURCES),
    }


def _ages(data: Path, subjects: set[str]) -> list[float]:
    """Ages of the subjects that the two participants tables give."""
    ages = []
    for table in sorted(data.glob("*/participants.tsv")):
        with table.open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                name = next(iter(row.values()))
                age = next((value for key, value in row.items() if key.lower().startswith("age")), "")
                if name in subjects and age not in ("", "n/a", None):
                    ages.append(float(age))
    return ages or [0.0]


def _data_format(config: DenoisingConfig) -> dict[str, Any]:
    channel = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "dtype": "float32"}
    tensor = {**channel, "spatial_shape": list(config.crop), "value_range": [0, 2], "is_patch_data": False}
    return {
        "inputs": {"image": {**tensor, "channel_def": {"0": "T1w, white matter 1"}}},
        "outputs": {"pred": {**tensor, "channel_def": {"0": "pseudo-healthy T1w"}}},
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Calibrate and export the denoising autoencoder.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="the training's run folder, with its checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the package")
    chosen = parser.parse_args()
    package = export(chosen.data, chosen.run, chosen.out)
    print(json.dumps(package.metadata["calibration"], indent=2))


if __name__ == "__main__":
    main()
