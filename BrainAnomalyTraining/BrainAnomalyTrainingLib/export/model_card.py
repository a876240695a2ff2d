"""The model card of a package: every number and sentence of it is in the metadata, so that the two agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from BrainAnomalyLib.output.folder import RESEARCH_USE

_LIMITS = (
    "Scans of another contrast, scanner or age than the healthy scans' give maps that mean less; a guard, where the "
    "package has one, warns of them.",
    "Lesions that are small or of nearly normal intensity are missed. No finding is not the same as no lesion.",
)


def model_card(metadata: dict[str, Any]) -> str:
    """The package's README in Markdown: what it is, what it learned from, how it was calibrated, and its limits."""
    lines = [
        f"# {metadata['name']}",
        "",
        f"**{RESEARCH_USE}** {metadata['intended_use']}",
        "",
        metadata["description"],
        "",
        *_facts(metadata),
        *_calibrations(metadata),
        *_list("Limits", [*metadata.get("limits", ()), *_LIMITS]),
        *_list("Sources", [*metadata["cohort"]["sources"], *metadata.get("references", ())]),
        *_list("Changes", [f"{version}: {text}" for version, text in metadata.get("changelog", {}).items()]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _facts(metadata: dict[str, Any]) -> list[str]:
    cohort = metadata["cohort"]
    training = metadata.get("training", {})
    rows = [
        ("Version", metadata["version"]),
        ("Detector", f"`{metadata['detector']}` ({metadata.get('parameters', 0):,} values)"),
        ("Contrast", ", ".join(metadata["contrasts"])),
        ("Trained on", f"{cohort['scans']} healthy scans{_ages(cohort)}; {', '.join(cohort.get('scanners', []))}"),
        *([("Training", _steps(training))] if training else []),
        *((f"Network `{name}`", _part(part)) for name, part in metadata.get("parts", {}).items()),
        ("License", metadata["license"]),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]


def _part(part: dict[str, Any]) -> str:
    """A network inside the package in one line."""
    steps = f", {_steps(part['training'])}" if part.get("training") else ""
    return f"{part.get('name', part['detector'])} (`{part['detector']}`), version {part.get('version', '-')}{steps}"


def _steps(training: dict[str, Any]) -> str:
    return f"{training.get('steps', 0)} steps of {training.get('batch', 0)} images"


def _calibrations(metadata: dict[str, Any]) -> Iterator[str]:
    calibration = metadata["calibration"]
    stated = {metadata["contrasts"][0]: calibration, **calibration.get("by_contrast", {})}
    for contrast, own in stated.items():
        yield from (f"## Expected false positives, {contrast}", "", *_calibration(own), "")


def _calibration(calibration: dict[str, Any]) -> Iterator[str]:
    """Default threshold, healthy quantiles with what left-out scans got, and what rests on which scans."""
    realised = calibration.get("realised", {})
    yield f"Default threshold {calibration['default_threshold']:g}: {calibration['default_source']}."
    if realised.get("default_threshold"):
        left_out = realised["default_threshold"]
        yield f"Subjects left out of it get {left_out['mean_ml']:.2f} mL on average."
    yield ""
    rates = realised.get("voxel_rates", {})
    yield from ("| part of healthy brain voxels above | threshold | of left-out subjects |", "|---|---|---|")
    for rate, value in calibration["quantiles"].items():
        own = rates.get(rate)
        seen = f"{100 * own['rate']:.2f} % [{100 * own['low']:.2f}, {100 * own['high']:.2f}]" if own else "not measured"
        yield f"| {100 * float(rate):g} % | {value:g} | {seen} |"
    yield ""
    if realised.get("method"):
        yield f"How: {realised['method']}."
    yield from (f"- {what}: {whom}" for what, whom in calibration.get("rests_on", {}).items())


def _list(title: str, sentences: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""] if sentences else []


def _ages(cohort: dict[str, Any]) -> str:
    ages = cohort.get("age_range_years")
    return f", {ages[0]:g} to {ages[1]:g} years" if ages else ""
