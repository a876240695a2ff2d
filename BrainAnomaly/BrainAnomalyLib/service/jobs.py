"""One detection as a job: what may be asked for, how it runs, and its failures in plain words.

The command line and the worker both come through here, so there is one way through the house.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..detection import Detection, DetectionOptions, detect
from ..detectors.protocol import Detector
from ..detectors.registry import load_detector
from ..devices import device_failed
from ..errors import BrainAnomalyError, Cancelled, DependencyError, OptionsError
from ..examination.examination import detect_examination
from ..followup.follow_up import follow_up
from ..followup.prior_source import is_result, read_prior, require_order
from ..io.volumes import CONTRASTS, Contrast, Scan, read_mask, read_scan
from ..output.folder import SUMMARY, check_folder, write_results
from ..output.formats import checked_formats
from ..output.origin import Origin
from ..packages.read import read_metadata
from ..preparation.brain.methods import CHOICES as BRAIN_MASK_METHODS
from ..progress import Progress, part, silent

# Name, package folder and device to a detector; the worker passes one that remembers.
Loader = Callable[[str, Path | None, str], Detector]


class InternalError(BrainAnomalyError):
    """A fault of the program, not of the input."""

    exit_code = 70


@dataclass(frozen=True)
class DetectionJob:
    """Everything a run needs. Fields left at None take the detector's or the engine's default.

    Without ``detector`` the one of ``package`` is taken, or the one that suits the contrast: the given ``contrast``, or
    what the scan looks like.
    ``threshold`` in the anomaly map's unit, ``minimum_mm3`` the size a finding must exceed, ``formats`` names of
    ``output.formats``, ``series`` the number or UID of one of several DICOM series in the folder ``scan``. ``name`` is
    what results and errors call the scan; without it the file's own name.
    ``further`` are other contrasts of the same session, what they show in ``further_contrasts`` in the same order, none
    for what they look like; with them the detectors are the program's. ``prior`` is an earlier date of the same person:
    the folder of its result, or its scans in the same order as these. ``further_names`` and ``prior_names`` say what to
    call those scans, as ``name`` does for the first.
    """

    scan: Path
    out: Path
    detector: str | None = None
    package: Path | None = None
    threshold: float | None = None
    minimum_mm3: float = 20.0
    mask: Path | None = None
    brain_mask_method: str | None = None
    contrast: Contrast = "unknown"
    device: str = "auto"
    pictures: bool = True
    formats: tuple[str, ...] = ()
    series: str | None = None
    name: str | None = None
    further: tuple[Path, ...] = ()
    further_contrasts: tuple[Contrast, ...] = ()
    prior: tuple[Path, ...] = ()
    further_names: tuple[str, ...] = ()
    prior_names: tuple[str, ...] = ()

    @property
    def detector_name(self) -> str | None:
        """The detector asked for, or the package's; None where ``detect`` chooses."""
        if self.detector is None and self.package is not None:
            return str(read_metadata(self.package)["detector"])
        return self.detector


@dataclass(frozen=True, eq=False)
class Outcome:
    """The folder of a finished job and its summary (the content of ``summary.json``)."""

    folder: Path
    summary: dict[str, Any]


def run_job(job: DetectionJob, progress: Progress = silent, load: Loader = load_detector) -> Outcome:
    """Read, detect and write. Raises BrainAnomalyError; until the new result is whole an earlier one stays."""
    options = DetectionOptions(job.threshold, job.minimum_mm3, None, job.brain_mask_method).checked()
    _check_together(job)
    check_folder(job.out)
    origin = Origin(job.scan, series=job.series)
    checked_formats(job.formats, origin)
    progress("Reading the scan", 0.0)
    scans = _read_all(job, (job.scan, *job.further), (job.name, *job.further_names), job.series)
    mask = None if job.mask is None else read_mask(job.mask, scans[0])
    options = DetectionOptions(options.threshold, options.minimum_mm3, mask, options.brain_mask_method)
    found = partial(_found, job=job, load=load)
    if not job.prior:
        detection = found(scans, options=options, progress=_unfinished(part(progress, 0.02, 0.9)))
    else:
        before = _before(job, found, _unfinished(part(progress, 0.02, 0.4)))
        detection = found(scans, options=options, progress=_unfinished(part(progress, 0.4, 0.75)))
        detection = follow_up(detection, before, _unfinished(part(progress, 0.75, 0.9)))
    progress("Writing the results", 0.9)
    folder = write_results(detection, job.out, job.pictures, job.formats, origin)
    progress("Finished", 1.0)
    return Outcome(folder, json.loads((folder / SUMMARY).read_text(encoding="utf-8")))


def unequal_contrasts() -> OptionsError:
    """What is said where some of several scans have a contrast and others have none."""
    return OptionsError("There are not as many contrasts as scans.", "Say for every scan what it shows, or for none.")


def _check_together(job: DetectionJob) -> None:
    """Raises OptionsError for options that exclude each other."""
    if job.further and (job.detector is not None or job.package is not None):
        raise OptionsError("Several contrasts are detected in by the program's choice for each.", "Give no detector.")
    if job.further_contrasts and len(job.further_contrasts) != len(job.further):
        raise unequal_contrasts()
    if job.prior and not is_result(job.prior[0]):
        if len(job.prior) != 1 + len(job.further):
            raise OptionsError(
                f"The earlier date has {len(job.prior)} scans, this one {1 + len(job.further)}.",
                "Give the same contrasts of both dates, in the same order, or the folder of the earlier result.",
            )
        for now, before in zip((job.scan, *job.further), job.prior, strict=True):
            require_order(now, before)
    elif len(job.prior) > 1:
        raise OptionsError("An earlier result stands alone.", "Give its folder and nothing else.")


def _read_all(
    job: DetectionJob, paths: Sequence[Path], names: Sequence[str | None], series: str | None = None
) -> list[Scan]:
    """The scans of one date, called by their files where ``names`` say nothing; ``series`` is of the first."""
    contrasts = (job.contrast, *(job.further_contrasts or ["unknown"] * len(job.further)))
    scans = [
        read_scan(path, contrast, series if number == 0 else None)
        for number, (path, contrast) in enumerate(zip(paths, contrasts, strict=True))
    ]
    called = dict(enumerate(names))
    return [replace(scan, name=called.get(number) or scan.name) for number, scan in enumerate(scans)]


def _found(
    scans: Sequence[Scan], job: DetectionJob, load: Loader, options: DetectionOptions, progress: Progress
) -> Detection:
    """Detected in, once more on the processor where a graphics card that nobody asked for fails."""
    try:
        return _found_on(job.device, scans, job, load, options, progress)
    except RuntimeError as error:
        if job.device != "auto" or not device_failed(error):
            raise
        reason = first_line(error)
    found = _found_on("cpu", scans, job, load, options, progress)
    warning = f"The graphics card failed ({reason}): this was computed on the processor."
    return replace(found, warnings=(*found.warnings, warning))


def _found_on(
    device: str, scans: Sequence[Scan], job: DetectionJob, load: Loader, options: DetectionOptions, progress: Progress
) -> Detection:
    """One scan detected in, or several contrasts together."""

    def on_device(name: str) -> Detector:
        return load(name, job.package, device)

    if len(scans) > 1:
        return detect_examination(scans, options, progress, on_device)
    return detect(scans[0], job.detector_name, options, progress, on_device)


def _before(job: DetectionJob, found: Callable[..., Detection], progress: Progress) -> Detection:
    """The earlier date: read, or detected in like this one."""
    if is_result(job.prior[0]):
        return read_prior(job.prior[0])
    options = DetectionOptions(job.threshold, job.minimum_mm3, None, job.brain_mask_method)
    return found(_read_all(job, job.prior, job.prior_names), options=options, progress=progress)


def job_from_json(values: Mapping[str, Any]) -> DetectionJob:
    """A job from JSON values named like the fields of DetectionJob. Raises OptionsError for what does not fit."""
    unknown = set(values) - {field.name for field in fields(DetectionJob)}
    if unknown:
        raise OptionsError(f"Unknown options: {', '.join(sorted(unknown))}.", "Leave them out.")
    for name in ("scan", "out"):
        if values.get(name) is None:
            raise OptionsError(f"The option '{name}' is missing.", "Give a path.")
    given = {name: value for name, value in values.items() if value is not None}
    return DetectionJob(**{name: _CHECKS[name](name, value) for name, value in given.items()})


def in_plain_words(error: BaseException) -> BrainAnomalyError:
    """Any failure as an error with a sentence and an exit code; faults of the program become InternalError."""
    if isinstance(error, BrainAnomalyError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled()
    if isinstance(error, MemoryError):
        return BrainAnomalyError("The memory of this computer ran out.", "Close other programs.")
    if device_failed(error):
        message = f"The graphics card failed ({first_line(error)})."
        return BrainAnomalyError(message, "Close other programs, or choose the device 'auto' or 'cpu'.")
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("BrainAnomaly"):
        return DependencyError(f"The Python package '{error.name}' is not installed.", "Install it with pip.")
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return InternalError(f"BrainAnomaly failed unexpectedly ({reason}).", "Please report this.")


def first_line(error: BaseException) -> str:
    """What an error says first; libraries add pages of advice."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _unfinished(progress: Progress) -> Progress:
    """Drop the detection's own last message: the results are still to be written."""

    def report(stage: str, fraction: float) -> None:
        if fraction < 1.0:
            progress(stage, fraction)

    return report


def _path(name: str, value: Any) -> Path:
    return Path(_text(name, value))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise OptionsError(f"The option '{name}' must be a text that is not empty.")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionsError(f"The option '{name}' must be a number.")
    return float(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionsError(f"The option '{name}' must be true or false.")
    return value


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise OptionsError(f"The option '{name}' must be a list.")
    return tuple(_text(name, part) for part in value)


def _paths(name: str, value: Any) -> tuple[Path, ...]:
    return tuple(Path(part) for part in _names(name, value))


def _contrasts(name: str, value: Any) -> tuple[Contrast, ...]:
    check = _one_of(*CONTRASTS, "unknown")
    return tuple(check(name, part) for part in _names(name, value))


def _one_of(*choices: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise OptionsError(f"The option '{name}' cannot be '{value}'.", f"Choose one of {', '.join(choices)}.")
        return value

    return check


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "scan": _path,
    "out": _path,
    "detector": _text,
    "package": _path,
    "threshold": _number,
    "minimum_mm3": _number,
    "mask": _path,
    "brain_mask_method": _one_of(*BRAIN_MASK_METHODS),
    "contrast": _one_of(*CONTRASTS, "unknown"),
    "device": _text,
    "pictures": _truth,
    "formats": _names,
    "series": _text,
    "name": _text,
    "further": _paths,
    "further_contrasts": _contrasts,
    "prior": _paths,
    "further_names": _names,
    "prior_names": _names,
}
