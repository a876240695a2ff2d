"""What the metadata of a model package may say (JSON Schema), and the entries that MONAI Bundle tools ask for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

FORMAT = "brain-anomaly-package/1"
# What MONAI's own tools find in a fresh bundle (monai.bundle, DEFAULT_METADATA), in the order of its specification.
BUNDLE_ENTRIES = (
    *("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
_READ_WITH = ("safetensors", "SimpleITK", "scipy")

_TEXT = {"type": "string"}
_SAID = {"type": "string", "minLength": 1}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_NAMES = {"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9_.-]+$"}, "uniqueItems": True}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}

_COHORT: dict[str, Any] = {
    "type": "object",
    "required": ["scans", "sources"],
    "properties": {
        "scans": {"type": "integer", "minimum": 1},
        "age_range_years": _PAIR,
        "scanners": {"type": "array", "items": _TEXT},
        "sources": {"type": "array", "items": _TEXT},
    },
}

# mean_ml_by_threshold: [threshold, mean mL of findings per healthy scan], thresholds rising. guard_features and
# scan_scores name the columns and tensors of calibration.safetensors. realised: rates of left-out scans by nominal
# rate. rests_on: for each thing that was fitted, the healthy scans it was fitted to.
_ONE_CALIBRATION: dict[str, Any] = {
    "type": "object",
    "required": ["scans", "quantiles", "default_threshold", "default_source"],
    "properties": {
        "scans": _COUNT,
        "quantiles": {"type": "object", "additionalProperties": _NUMBER},
        "quantile_relative_error": _NUMBER,
        "default_threshold": _NUMBER,
        "default_source": _TEXT,
        "mean_ml_by_threshold": {"type": "array", "items": _PAIR},
        "scan_scores": _NAMES,
        "guard_features": _NAMES,
        "site": _TEXT,
        "realised": {"type": "object"},
        "presets": {"type": "object"},
        "rests_on": {"type": "object", "additionalProperties": _TEXT},
    },
}
# by_contrast: the calibrations of a package's further contrasts.
_CALIBRATION: dict[str, Any] = {
    **_ONE_CALIBRATION,
    "properties": {
        **_ONE_CALIBRATION["properties"],
        "by_contrast": {"type": "object", "additionalProperties": _ONE_CALIBRATION},
    },
}

_TRAINING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": _COUNT,
        "batch": _COUNT,
        "seed": {"type": "integer"},
        "preset": _TEXT,
        "seconds_per_step": {"type": ["number", "null"], "minimum": 0},
        "parameters": {"type": ["integer", "object"]},
        "final_losses": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    },
}

# The networks inside a package that holds several, by name.
_PARTS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["detector", "config"],
        "properties": {
            "detector": _SAID,
            "config": {"type": "object"},
            "name": _TEXT,
            "version": _TEXT,
            "training": _TRAINING,
        },
    },
}

_TIMING: dict[str, Any] = {
    "type": "object",
    "required": ["seconds_per_scan"],
    "properties": {"seconds_per_scan": {"type": "number", "minimum": 0}, "machine": _TEXT},
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("format", "name", "version", "description", "detector", "config", "recipe", "recipe_identity"),
        *("contrasts", "cohort", "calibration", "license", "intended_use", "network_data_format"),
    ],
    "properties": {
        "format": {"const": FORMAT},
        "name": _SAID,
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "description": _TEXT,
        "authors": _TEXT,
        "copyright": _TEXT,
        "detector": _SAID,
        "config": {"type": "object"},
        "parameters": _COUNT,
        "recipe": {"type": "object"},
        "recipe_identity": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "contrasts": {"type": "array", "items": {"enum": ["T1w", "T2w", "FLAIR", "PD"]}, "minItems": 1},
        "cohort": _COHORT,
        "calibration": _CALIBRATION,
        "training": _TRAINING,
        "parts": _PARTS,
        "timing": _TIMING,
        "license": _SAID,
        "intended_use": _SAID,
        "references": {"type": "array", "items": _TEXT},
        "limits": {"type": "array", "items": _TEXT},
        "network_data_format": {"type": "object"},
        "monai_version": _TEXT,
        "pytorch_version": _TEXT,
        "numpy_version": _TEXT,
        "required_packages_version": {"type": "object", "additionalProperties": _TEXT},
        "changelog": {"type": "object", "additionalProperties": _TEXT},
        "task": _TEXT,
        "schema": _TEXT,
    },
}


def fault(metadata: dict[str, Any]) -> str:
    """What is wrong with a package's metadata, as "at PLACE: REASON"; empty if it fits SCHEMA."""
    import jsonschema

    error = next(iter(jsonschema.Draft202012Validator(SCHEMA).iter_errors(metadata)), None)
    if error is None:
        return ""
    place = "/".join(str(part) for part in error.absolute_path) or "the top level"
    return f"at {place}: {error.message}"


def missing_bundle_entries(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The entries that MONAI Bundle tools ask for and the metadata lacks."""
    return tuple(name for name in BUNDLE_ENTRIES if name not in metadata)


def installed_versions() -> dict[str, Any]:
    """The version entries of a MONAI bundle for what is installed here, to put into a package's metadata."""
    return {
        "monai_version": installed("monai"),
        "pytorch_version": installed("torch"),
        "numpy_version": installed("numpy"),
        "required_packages_version": {name: installed(name) for name in _READ_WITH},
    }


def installed(distribution: str) -> str:
    """The version of an installed Python package, "not installed" without it."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
