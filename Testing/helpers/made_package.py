"""A small package with an untrained network, for tests of what packages are and where they go."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from BrainAnomalyLib.detectors.families.self_supervised.denoising import DenoisingConfig, DenoisingDetector
from BrainAnomalyLib.packages.read import METADATA, Package, write_hashes, write_package
from BrainAnomalyLib.packages.schema import FORMAT, installed_versions
from BrainAnomalyLib.preparation.recipe import Recipe

CONFIG = DenoisingConfig(channels=(4, 8), strides=(2,), residual_units=1, crop=(80, 96, 80))
RECIPE = Recipe(grid="template_2mm")


def metadata(**changes: Any) -> dict[str, Any]:
    """Metadata with every entry that the schema and MONAI's tools ask for."""
    channel = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "dtype": "float32"}
    tensor = {**channel, "spatial_shape": list(CONFIG.crop), "value_range": [0, 2], "is_patch_data": False}
    return {
        "format": FORMAT,
        "name": "Untrained test model",
        "version": "1.0.0",
        "changelog": {"1.0.0": "First version."},
        **installed_versions(),
        "task": "Unsupervised anomaly detection in brain MR",
        "description": "An untrained network.",
        "authors": "BrainAnomaly developers",
        "copyright": "BrainAnomaly developers",
        "detector": "denoising",
        "config": asdict(CONFIG),
        "recipe": asdict(RECIPE),
        "recipe_identity": RECIPE.identity(),
        "contrasts": ["T1w"],
        "cohort": {"scans": 1, "sources": ["none"]},
        "calibration": {"scans": 0, "quantiles": {"0.01": 1.0}, "default_threshold": 1.0, "default_source": "none"},
        "license": "CC0",
        "intended_use": "test",
        "network_data_format": {
            "inputs": {"image": {**tensor, "channel_def": {"0": "T1w"}}},
            "outputs": {"pred": {**tensor, "channel_def": {"0": "pseudo-healthy T1w"}}},
        },
        **changes,
    }


def make_package(folder: Path, **changes: Any) -> Package:
    """Write the package; ``changes`` replace entries of its metadata."""
    torch.manual_seed(0)
    weights = DenoisingDetector.build(CONFIG).state_dict()
    calibration = {"healthy_rms": torch.ones(96, 112, 96, dtype=torch.float16)}
    return write_package(folder, metadata(**changes), weights, calibration, "# card", "CC0")


def edit_metadata(folder: Path, **changes: Any) -> None:
    """Change entries of a written package's metadata and make its hash list fit again."""
    entries = json.loads((folder / METADATA).read_text(encoding="utf-8")) | changes
    (folder / METADATA).write_text(json.dumps(entries), encoding="utf-8")
    write_hashes(folder)
