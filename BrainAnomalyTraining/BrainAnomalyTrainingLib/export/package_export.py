"""Writing a trained and calibrated detector as a package, with its model card."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from BrainAnomalyLib import __version__
from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import Preset
from BrainAnomalyLib.output.folder import RESEARCH_USE
from BrainAnomalyLib.packages.read import FORMAT, LICENSE, MODEL_CARD, Package, write_package
from BrainAnomalyLib.packages.schema import installed_versions

from ..cache.cached_scans import CachedScan
from ..calibrate.calibration_run import CalibrationOutcome

_NOT_STATED = "not stated by the one who trained it"


@dataclass(frozen=True)
class Provenance:
    """How a package came about, for its metadata; ``seconds`` is the time of the training alone."""

    preset: str
    training: Sequence[CachedScan]
    seed: int
    steps: int
    batch: int
    seconds: float
    losses: dict[str, float]
    license: str = ""


def export_package(
    out: Path, detector: LearnedDetector, outcome: CalibrationOutcome, provenance: Provenance
) -> Package:
    """Write the package into a new folder. Raises PackageError and OutputError."""
    metadata = _metadata(detector, outcome, provenance, out.name)
    return write_package(
        out, metadata, half_precision(detector), outcome.tensors, model_card(metadata), _license_text(metadata)
    )


def recalibrated_package(out: Path, package: Package, outcome: CalibrationOutcome) -> Package:
    """A copy of a package with another calibration, for a site's own scanner and protocol."""
    site = outcome.entry.get("site", "")
    metadata = {**package.metadata, "calibration": outcome.entry}
    metadata["timing"] = _timing(outcome)
    again = f"Calibrated again on {outcome.entry['scans']} healthy scans {f'of {site}' if site else ''}".strip() + "."
    metadata["changelog"] = {**package.metadata.get("changelog", {}), package.metadata["version"]: again}
    texts = {name: (package.folder / name).read_text(encoding="utf-8") for name in (MODEL_CARD, LICENSE)}
    card = "\n".join([texts[MODEL_CARD].rstrip(), "", f"## {again}", "", "These numbers replace those above.", ""])
    card += "\n".join(_calibration_lines(outcome.entry)) + "\n"
    return write_package(out, metadata, package.weights(), outcome.tensors, card, texts[LICENSE])


def _calibration_lines(calibration: dict[str, Any]) -> list[str]:
    """Default threshold and healthy quantiles, in Markdown."""
    return [
        f"Default threshold {calibration['default_threshold']:g}: {calibration['default_source']}.",
        "",
        "| part of healthy brain voxels above | threshold |",
        "|---|---|",
        *(f"| {100 * float(rate):g} % | {value:g} |" for rate, value in calibration["quantiles"].items()),
    ]


def half_precision(detector: LearnedDetector) -> dict[str, Any]:
    """The network's tensors, floating point ones with 16 bits where that keeps them finite."""
    return {name: _halved(value) for name, value in detector.network.state_dict().items()}


def _halved(value: Any) -> Any:
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if bool(half.isfinite().all()) else value


def parameter_count(family: type[LearnedDetector], config: Any) -> int:
    """Number of trained values of a configuration, without allocating them."""
    import torch

    with torch.device("meta"):
        network = family.build(config)
    values = list(network.parameters()) if family.phases(config) else list(network.buffers())
    return sum(value.numel() for value in values)


def preset_summary(family: type[LearnedDetector], preset: Preset) -> dict[str, Any]:
    """Steps, batch and parameters of a preset."""
    return {
        "steps": preset.steps if family.phases(preset.config) else 0,
        "batch": preset.batch,
        "parameters": parameter_count(family, preset.config),
    }


def model_card(metadata: dict[str, Any]) -> str:
    """The package's README in Markdown: what it is, what it learned from, how it was calibrated, and its limits."""
    cohort, calibration, training = metadata["cohort"], metadata["calibration"], metadata.get("training", {})
    lines = [
        f"# {metadata['name']}",
        "",
        f"**{RESEARCH_USE}** {metadata['intended_use']}",
        "",
        metadata["description"],
        "",
        "| | |",
        "|---|---|",
        f"| Detector | `{metadata['detector']}` ({metadata.get('parameters', 0):,} values) |",
        f"| Contrast | {', '.join(metadata['contrasts'])} |",
        f"| Trained on | {cohort['scans']} healthy scans{_ages(cohort)}; {', '.join(cohort.get('scanners', []))} |",
        f"| Training | {training.get('steps', 0)} steps of {training.get('batch', 0)} images |",
        f"| Calibrated on | {calibration['scans']} other healthy scans{_site(calibration)} |",
        f"| License | {metadata['license']} |",
        "",
        "## Expected false positives",
        "",
        *_calibration_lines(calibration),
        "",
        "## Limits",
        "",
        "Scans of another contrast, scanner or age than the cohort's give maps that mean less; the scan-level guard "
        "warns of them. Lesions that are small or of nearly normal intensity are missed. No finding is not the same as "
        "no lesion.",
        "",
        "## Sources",
        "",
        *(f"- {source}" for source in cohort["sources"]),
        *(f"- {reference}" for reference in metadata.get("references", [])),
    ]
    return "\n".join(lines) + "\n"


def _metadata(
    detector: LearnedDetector, outcome: CalibrationOutcome, provenance: Provenance, name: str
) -> dict[str, Any]:
    scans = provenance.training
    contrast = scans[0].contrast
    return {
        "format": FORMAT,
        "name": f"{detector.title}, {contrast}, {name}",
        "version": "1.0.0",
        "description": f"{detector.title} ({detector.source}) trained on {len(scans)} healthy {contrast} scans.",
        "authors": "not stated",
        "copyright": "not stated",
        "task": "Unsupervised anomaly detection in brain MR",
        "detector": detector.name,
        "config": asdict(detector.config),
        "parameters": parameter_count(type(detector), detector.config),
        "recipe": asdict(detector.recipe),
        "recipe_identity": detector.recipe.identity(),
        "contrasts": [contrast],
        "cohort": _cohort(scans),
        "calibration": outcome.entry,
        "training": {
            "steps": provenance.steps,
            "batch": provenance.batch,
            "seed": provenance.seed,
            "preset": provenance.preset,
            "seconds_per_step": round(provenance.seconds / max(provenance.steps, 1), 4),
            "final_losses": {key: round(value, 6) for key, value in provenance.losses.items()},
        },
        "timing": _timing(outcome),
        "license": provenance.license or _NOT_STATED,
        "intended_use": f"Research on unsupervised anomaly detection in {contrast} brain MR.",
        "references": [detector.source],
        "network_data_format": _data_format(detector, contrast),
        **installed_versions(),
        "changelog": {"1.0.0": f"Trained with BrainAnomaly {__version__}."},
    }


def _timing(outcome: CalibrationOutcome) -> dict[str, Any]:
    machine = f"{platform.system()} {platform.machine()}, device {outcome.device}"
    return {"seconds_per_scan": round(outcome.seconds_per_scan, 2), "machine": machine}


def _cohort(scans: Sequence[CachedScan]) -> dict[str, Any]:
    ages = [scan.age_years for scan in scans if scan.age_years is not None]
    scanners = Counter(scan.scanner or "scanner not stated" for scan in scans)
    return {
        "scans": len(scans),
        **({"age_range_years": [min(ages), max(ages)]} if ages else {}),
        "scanners": [f"{name} ({count})" for name, count in sorted(scanners.items())],
        "sources": ["Healthy scans of the one who trained it; no image of them is part of this package."],
    }


def _data_format(detector: LearnedDetector, contrast: str) -> dict[str, Any]:
    channel = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "dtype": "float32"}
    shape = list(detector.config.crop)
    tensor = {**channel, "spatial_shape": shape, "value_range": [0, 2], "is_patch_data": False}
    return {
        "inputs": {"image": {**tensor, "channel_def": {"0": f"{contrast}, prepared"}}},
        "outputs": {"pred": {**tensor, "channel_def": {"0": f"pseudo-healthy {contrast}"}}},
    }


def _license_text(metadata: dict[str, Any]) -> str:
    return f"License of this model package: {metadata['license']}\n\n{RESEARCH_USE}\n"


def _ages(cohort: dict[str, Any]) -> str:
    ages = cohort.get("age_range_years")
    return f", {ages[0]:g} to {ages[1]:g} years" if ages else ""


def _site(calibration: dict[str, Any]) -> str:
    return f" ({calibration['site']})" if calibration.get("site") else ""
