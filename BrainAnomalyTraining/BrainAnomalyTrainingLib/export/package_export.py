"""Writing a trained and calibrated detector as a package, with its model card."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from BrainAnomalyLib import __version__
from BrainAnomalyLib.detectors.evidence_detector import EvidenceDetector
from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import Preset
from BrainAnomalyLib.output.folder import RESEARCH_USE
from BrainAnomalyLib.packages.read import FORMAT, LICENSE, Package, write_package
from BrainAnomalyLib.packages.schema import installed_versions

from ..cache.cached_scans import CachedScan
from ..calibrate.calibration_run import CalibrationOutcome
from .model_card import model_card

_TASK = "Unsupervised anomaly detection in brain MR"
_OWN_SCANS = ("Healthy scans of the one who trained it; no image of them is part of this package.",)
_NOT_STATED = "not stated by the one who trained it"


@dataclass(frozen=True)
class Statement:
    """What a package says of itself beside its numbers; entries as in ``packages.schema``."""

    name: str = ""
    version: str = "1.0.0"
    description: str = ""
    authors: str = "not stated"
    copyright: str = "not stated"
    license: str = ""
    intended_use: str = ""
    sources: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    changelog: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """How a package came about, for its metadata; ``seconds`` is the time of the training alone.

    ``cohort`` is what another package states of weights that were taken from it.
    """

    preset: str
    training: Sequence[CachedScan]
    seed: int
    steps: int
    batch: int
    seconds: float | None
    losses: dict[str, float]
    statement: Statement = field(default_factory=Statement)
    cohort: dict[str, Any] | None = None


def export_package(
    out: Path, detector: LearnedDetector, outcome: CalibrationOutcome, provenance: Provenance, license_text: str = ""
) -> Package:
    """Write the package of a network into a new folder. Raises PackageError and OutputError."""
    metadata = _metadata(detector, outcome, provenance, out.name)
    tensors = half_precision(detector)
    return write_package(
        out, metadata, tensors, outcome.tensors, model_card(metadata), license_text or _license_text(metadata)
    )


def export_parts(
    out: Path,
    detector: EvidenceDetector,
    parts: Mapping[str, Package],
    outcomes: Sequence[CalibrationOutcome],
    statement: Statement,
    license_text: str,
) -> Package:
    """Write a detector and the networks of other packages as one package, calibrated for every outcome's contrast.

    The first outcome is the detector's main contrast's. Raises PackageError and OutputError.
    """
    metadata = _assembled(detector, parts, outcomes[0], statement)
    weights = {f"{name}.{key}": value for name, one in parts.items() for key, value in one.weights().items()}
    tensors = {
        f"{name}.{key}": value
        for name, one in parts.items()
        for key, value in one.calibration().items()
        if key == "healthy_rms"
    }
    for outcome in outcomes:
        metadata, tensors = with_calibration(metadata, tensors, outcome)
    return write_package(out, metadata, weights, tensors, model_card(metadata), license_text)


def recalibrated_package(out: Path, package: Package, outcome: CalibrationOutcome) -> Package:
    """A copy of a package with another calibration, for a site's own scanner and protocol."""
    metadata, tensors = with_calibration(package.metadata, package.calibration(), outcome)
    site = outcome.entry.get("site", "")
    again = f"Calibrated again for {outcome.contrast} on {outcome.entry['scans']} healthy scans"
    major, minor, patch = (int(number) for number in package.metadata["version"].split("."))
    metadata["version"] = f"{major}.{minor}.{patch + 1}"
    changes = {metadata["version"]: f"{again}{f' of {site}' if site else ''}; the weights are the same."}
    metadata |= {"timing": _timing(outcome), "changelog": package.metadata.get("changelog", {}) | changes}
    license_text = (package.folder / LICENSE).read_text(encoding="utf-8")
    return write_package(out, metadata, package.weights(), tensors, model_card(metadata), license_text)


def with_calibration(
    metadata: dict[str, Any], tensors: dict[str, Any], outcome: CalibrationOutcome
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and calibration tensors of a package with an outcome's in the place of those it replaces."""
    contrast, before = outcome.contrast, metadata.get("calibration", {})
    if not outcome.of_contrast:
        return {**metadata, "calibration": outcome.entry, "contrasts": [contrast]}, dict(outcome.tensors)
    others = {name: entry for name, entry in before.get("by_contrast", {}).items() if name != contrast}
    main = metadata["contrasts"][0]
    if contrast == main:
        entry = {**outcome.entry, **({"by_contrast": others} if others else {})}
    else:
        entry = {**before, "by_contrast": {**others, contrast: outcome.entry}}
    kept = {name: value for name, value in tensors.items() if not name.startswith(f"{contrast}.")}
    own = {f"{contrast}.{name}": value for name, value in outcome.tensors.items()}
    return {**metadata, "calibration": entry}, {**kept, **own}


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


def _metadata(
    detector: LearnedDetector, outcome: CalibrationOutcome, provenance: Provenance, name: str
) -> dict[str, Any]:
    scans = provenance.training
    contrast, pace = scans[0].contrast, provenance.seconds
    default = {
        "name": f"{detector.title}, {contrast}, {name}",
        "description": f"{detector.title} ({detector.source}) trained on {len(scans)} healthy {contrast} scans.",
        "intended_use": f"Research on unsupervised anomaly detection in {contrast} brain MR.",
        "references": [detector.source],
    }
    return {
        "format": FORMAT,
        **_stated(provenance.statement, default),
        "detector": detector.name,
        "config": asdict(detector.config),
        "parameters": parameter_count(type(detector), detector.config),
        "recipe": asdict(detector.recipe),
        "recipe_identity": detector.recipe.identity(),
        "contrasts": [contrast],
        "cohort": {**_cohort(scans, provenance.statement.sources), **_without_sources(provenance.cohort)},
        "calibration": outcome.entry,
        "training": {
            "steps": provenance.steps,
            "batch": provenance.batch,
            "seed": provenance.seed,
            "preset": provenance.preset,
            "seconds_per_step": None if pace is None else round(pace / max(provenance.steps, 1), 4),
            "final_losses": {key: round(value, 6) for key, value in provenance.losses.items()},
        },
        "timing": _timing(outcome),
        "network_data_format": _data_format(detector.config.crop, contrast),
        **installed_versions(),
    }


def _assembled(
    detector: EvidenceDetector, parts: Mapping[str, Package], outcome: CalibrationOutcome, statement: Statement
) -> dict[str, Any]:
    """Metadata of a package of several networks, but for its calibrations."""
    names = ("detector", "config", "name", "version", "training")
    inside = {name: {key: one.metadata[key] for key in names if key in one.metadata} for name, one in parts.items()}
    largest = max((package.metadata["cohort"] for package in parts.values()), key=lambda cohort: int(cohort["scans"]))
    first = next(iter(parts.values())).metadata
    return {
        "format": FORMAT,
        **_stated(statement, {"intended_use": "Research on unsupervised anomaly detection in brain MR."}),
        "detector": detector.name,
        "config": asdict(detector.config),
        "parameters": sum(int(package.metadata.get("parameters", 0)) for package in parts.values()),
        "recipe": asdict(detector.recipe),
        "recipe_identity": detector.recipe.identity(),
        "contrasts": list(detector.contrasts),
        "cohort": {**largest, "sources": list(statement.sources)},
        "calibration": {},
        "parts": inside,
        "timing": _timing(outcome),
        "network_data_format": first["network_data_format"],
        **installed_versions(),
    }


def _stated(statement: Statement, default: dict[str, Any]) -> dict[str, Any]:
    """What the statement says, the default where it says nothing."""
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(statement).items()}
    said.pop("sources")
    changelog = statement.changelog or {statement.version: f"Trained with BrainAnomaly {__version__}."}
    entries = {**said, **{key: value for key, value in default.items() if not said[key]}, "changelog": changelog}
    return {
        **entries,
        "license": statement.license or _NOT_STATED,
        "task": "Unsupervised anomaly detection in brain MR",
    }


def _timing(outcome: CalibrationOutcome) -> dict[str, Any]:
    machine = f"{platform.system()} {platform.machine()}, device {outcome.device}"
    return {"seconds_per_scan": round(outcome.seconds_per_scan, 2), "machine": machine}


def _cohort(scans: Sequence[CachedScan], sources: Sequence[str]) -> dict[str, Any]:
    ages = [scan.age_years for scan in scans if scan.age_years is not None]
    scanners = Counter(scan.scanner or "scanner not stated" for scan in scans)
    return {
        "scans": len(scans),
        **({"age_range_years": [min(ages), max(ages)]} if ages else {}),
        "scanners": [f"{name} ({count})" for name, count in sorted(scanners.items())],
        "sources": list(sources or _OWN_SCANS),
    }


def _without_sources(cohort: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (cohort or {}).items() if name != "sources"}


def _data_format(crop: Sequence[int], contrast: str) -> dict[str, Any]:
    channel = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "dtype": "float32"}
    tensor = {**channel, "spatial_shape": list(crop), "value_range": [0, 2], "is_patch_data": False}
    return {
        "inputs": {"image": {**tensor, "channel_def": {"0": f"{contrast}, prepared"}}},
        "outputs": {"pred": {**tensor, "channel_def": {"0": f"pseudo-healthy {contrast}"}}},
    }


def _license_text(metadata: dict[str, Any]) -> str:
    return f"License of this model package: {metadata['license']}\n\n{RESEARCH_USE}\n"
