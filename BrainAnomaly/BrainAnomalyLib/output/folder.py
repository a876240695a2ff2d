"""A detection in a folder, written and read: volumes in the scan's geometry, a JSON summary and the findings as CSV."""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..detection import Detection
from ..devices import processor_count
from ..errors import OutputError, ScanError
from ..findings.changes import PriorDate
from ..findings.slice_profile import SliceProfile
from ..findings.table import Finding, Findings
from ..io.geometry import Array, FloatArray
from ..io.volumes import Scan, read_array, write_volume
from ..preparation.intensity.contrast import ContrastGuess
from ..preparation.space.quality import RegistrationQuality
from ..regions.region_summary import region_summary
from ..scoring.guard import Guard, ScanScore
from .formats import checked_formats, write_formats
from .in_place import mend, swap_files
from .origin import Origin

RESEARCH_USE = "For research, not for diagnosis."
SUMMARY = "summary.json"
_CSV_COLUMNS = tuple(field.name for field in fields(Finding))


def write_results(
    detection: Detection,
    folder: str | Path,
    pictures: bool = True,
    formats: Sequence[str] = (),
    source: Path | Origin | None = None,
) -> Path:
    """Write all results into ``folder`` and return it; also in ``formats``, for which ``source`` is the scan's path.

    Everything is written beside the folder first and moved into place when complete: a failure or a cancel leaves an
    earlier result as it was. A process killed meanwhile leaves at most a hidden scratch folder beside it, which a later
    run into the same folder mends. Raises OutputError.
    """
    folder = check_folder(folder)
    origin = source if isinstance(source, Origin) else Origin(source)
    fill = partial(_write_all, detection, pictures, checked_formats(formats, origin), origin)
    try:
        if _cannot_move(folder):
            _write_inside(fill, folder)
        else:
            _write_beside(fill, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"The results could not be written to '{folder}': {reason}.", _REMEDY) from error
    return folder


def _write_beside(fill: Callable[[Path], None], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=_scratch_prefix(folder), dir=folder.parent) as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            fill(fresh)
            _swap(fresh, folder, Path(scratch) / "old")
    except OSError as error:
        # A mount of the same file system is not known as one until it is to be moved.
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        _write_inside(fill, folder)


def _write_inside(fill: Callable[[Path], None], folder: Path) -> None:
    """The same for a folder that cannot be moved: the scratch folder lies in it, files are moved one by one."""
    _mend_inside(folder)
    with tempfile.TemporaryDirectory(prefix=_scratch_prefix(folder), dir=folder) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        fill(fresh)
        swap_files(fresh, folder, Path(scratch) / "old", SUMMARY, _earlier_files(folder))


def _cannot_move(folder: Path) -> bool:
    return folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK))


def _mend_inside(folder: Path) -> None:
    """Give back the earlier result of a run that was killed while it moved files within the folder."""
    for scratch in folder.glob(f"{glob.escape(_scratch_prefix(folder))}*"):
        mend(folder, scratch / "new", scratch / "old", SUMMARY)
        if time.time() - scratch.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


def check_folder(folder: str | Path) -> Path:
    """The absolute path of a folder that results may be written to: new, empty, or with nothing but a result.

    Raises OutputError otherwise, so that nothing of the user's is replaced.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"'{folder}' is a file.", "Give a folder for the results.")
    if folder == folder.parent:
        raise OutputError(f"'{folder}' is a whole disk.", "Give a folder inside it.")
    place = folder if folder.is_dir() and _cannot_move(folder) else next(up for up in folder.parents if up.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise OutputError(f"Nothing can be written to '{place}'.", "Give a folder in another place.")
    others = _other_files(folder) if folder.is_dir() else []
    if others:
        raise OutputError(
            f"'{folder}' holds other files ({', '.join(others[:3])}).",
            "Give an empty folder or one with nothing but an earlier result.",
        )
    return folder


def _other_files(folder: Path) -> list[str]:
    """Names in a folder that are not those of an earlier result."""
    if _cannot_move(folder) and os.access(folder, os.W_OK):
        _mend_inside(folder)
    known, scratch = {*_earlier_files(folder), *_SYSTEM_FILES}, _scratch_prefix(folder)
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name not in known and not name.startswith(scratch)]


def _earlier_files(folder: Path) -> set[str]:
    """Names of the files of an earlier result, none if there is none."""
    try:
        earlier = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return {SUMMARY, *earlier["files"]} if str(earlier["program"]).startswith(_PROGRAM) else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


_REMEDY = "Check free disk space and permissions."
_PROGRAM = "BrainAnomaly"
_SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", "lost+found")
_STALE_SECONDS = 3600.0


def _scratch_prefix(folder: Path) -> str:
    return f".{folder.name}-writing-"


def _tidy(folder: Path) -> None:
    """Mend what a run that was killed while writing left: give back the earlier result, remove old scratch folders."""
    for scratch in folder.parent.glob(f"{glob.escape(_scratch_prefix(folder))}*"):
        if (scratch / "old").is_dir() and not folder.exists():
            (scratch / "old").rename(folder)
        if time.time() - scratch.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


def volumes_of(detection: Detection) -> dict[str, Array]:
    """File stem to array for every volume of the result (i, j, k on the scan's grid)."""
    volumes: dict[str, Array | None] = {
        "anomaly_map": detection.anomaly,
        "findings": _compact(detection.findings.kept().labels),
        "brain_mask": detection.brain_mask,
        "pseudo_healthy": detection.pseudo_healthy,
        "uncertainty": detection.uncertainty,
        "residual_signed": detection.residual,
        "residual_absolute": None if detection.residual is None else np.abs(detection.residual),
        "structures": detection.structures,
    }
    volumes |= {f"{_COMPONENT}{name}": part for name, part in detection.components.items()}
    volumes |= {name: getattr(detection.prior, part, None) for name, part in _PRIOR.items()}
    return {name: array for name, array in volumes.items() if array is not None}


def _compact(labels: Array) -> Array:
    """Labels as 16-bit where they fit."""
    return labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)


def summary(detection: Detection) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "program": f"{_PROGRAM} {__version__}",
        "notice": RESEARCH_USE,
        "scan": {
            "name": detection.scan.name,
            "shape": list(detection.scan.grid.shape),
            "spacing_mm": [round(value, 6) for value in detection.scan.grid.spacing],
            "axes": detection.scan.grid.axis_codes,
            "given_contrast": detection.scan.contrast,
        },
        "detector": detection.detector,
        "contrast": asdict(detection.contrast),
        "registration": asdict(detection.quality),
        "brain_mask": {
            "method": detection.brain_mask_method,
            "volume_ml": detection.scan.grid.volume_ml(detection.brain_mask),
        },
        "threshold": {
            "value": detection.findings.threshold,
            "source": detection.threshold_source,
            "minimum_mm3": detection.findings.minimum_mm3,
        },
        "findings": [finding.to_json() for finding in detection.findings.table],
        "total_ml": detection.findings.total_ml,
        "regions": {"structures": detection.structures_source, **region_summary(detection.findings.kept().table)},
        "slice_profile": detection.profile.to_json(),
        "template_from_native": detection.template_from_native.tolist(),
        "warnings": list(detection.warnings),
        "guard": None if detection.guard is None else detection.guard.to_json(),
        "prior": None if detection.prior is None else _prior_facts(detection.prior),
    }


def _prior_facts(prior: PriorDate) -> dict[str, Any]:
    return {
        "name": prior.name,
        "smallest_change_ml": prior.smallest_ml,
        "before_from_now": prior.before_from_now.tolist(),
    }


def _write_all(detection: Detection, pictures: bool, formats: tuple[str, ...], origin: Origin, folder: Path) -> None:
    with ThreadPoolExecutor(processor_count()) as threads:
        written = [
            threads.submit(write_volume, folder / f"{name}.nii.gz", array, detection.scan.grid)
            for name, array in volumes_of(detection).items()
        ]
        _write_table(detection, folder / "findings.csv")
        if pictures:
            from .overview import overview

            overview(detection, folder / "overview.png")
        for volume in written:
            volume.result()
    write_formats(detection, folder, formats, origin)
    files = sorted(path.name for path in folder.iterdir())
    content = {**summary(detection), "files": files}
    (folder / SUMMARY).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_table(detection: Detection, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_CSV_COLUMNS)
        for finding in detection.findings.table:
            writer.writerow(_cell(getattr(finding, name)) for name in _CSV_COLUMNS)


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(f"{part:.2f}" for part in value)
    return "" if value is None else value


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    """Put ``fresh`` in the place of ``folder``; what was there comes back if that fails."""
    try:
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_results(folder: str | Path, scan: Scan) -> Detection:
    """The detection of ``scan`` that ``write_results`` left in ``folder``, on the grid of ``scan``.

    Raises OutputError if something is missing, damaged, or of a scan with another grid: never half a result.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return _detection(content, folder, scan)
    except (ScanError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        message = f"The result in '{folder}' is not complete ({reason})."
        raise OutputError(message, "Run the detection again.") from error


def _detection(content: dict[str, Any], folder: Path, scan: Scan) -> Detection:
    threshold, table = content["threshold"], tuple(_finding(row) for row in content["findings"])
    volumes = {name: _read_stored(folder, name, scan) for name in _STORED if _is_stored(content, name)}
    labels = volumes["findings"].astype(np.int32)
    return Detection(
        scan=scan,
        anomaly=_float(volumes["anomaly_map"]),
        pseudo_healthy=_float_or_none(volumes.get("pseudo_healthy")),
        uncertainty=_float_or_none(volumes.get("uncertainty")),
        residual=_float_or_none(volumes.get("residual_signed")),
        brain_mask=volumes["brain_mask"] > 0,
        findings=Findings(labels, table, float(threshold["value"]), float(threshold["minimum_mm3"])),
        profile=_profile(content["slice_profile"]),
        template_from_native=np.asarray(content["template_from_native"], dtype=np.float64),
        contrast=ContrastGuess(**content["contrast"]),
        quality=RegistrationQuality(**content["registration"]),
        brain_mask_method=str(content["brain_mask"]["method"]),
        detector=dict(content["detector"]),
        threshold_source=str(threshold["source"]),
        warnings=tuple(content["warnings"]),
        guard=_guard(content["guard"]),
        structures=volumes.get("structures"),
        structures_source=str(content.get("regions", {}).get("structures", "")),
        components={name: _float(_read_stored(folder, f"{_COMPONENT}{name}", scan)) for name in _components(content)},
        prior=_prior(content.get("prior"), folder, scan),
    )


def _prior(facts: dict[str, Any] | None, folder: Path, scan: Scan) -> PriorDate | None:
    """The earlier date of a result, None where there is none."""
    if facts is None:
        return None
    volumes = {part: _float(_read_stored(folder, name, scan)) for name, part in _PRIOR.items()}
    return PriorDate(
        name=str(facts["name"]),
        smallest_ml=float(facts["smallest_change_ml"]),
        before_from_now=np.asarray(facts["before_from_now"], dtype=np.float64),
        **volumes,
    )


def _components(content: dict[str, Any]) -> list[str]:
    """Names of the maps that a combined map is made of."""
    files = [name for name in content["files"] if name.startswith(_COMPONENT) and name.endswith(".nii.gz")]
    return [name[len(_COMPONENT) : -len(".nii.gz")] for name in files]


_COMPONENT = "component_"
# File stem to field of an earlier date.
_PRIOR = {
    "prior_scan": "scan",
    "prior_anomaly_map": "anomaly",
    "change_map": "growth",
    "subtraction": "difference",
}
_STORED = ("anomaly_map", "findings", "brain_mask", "pseudo_healthy", "uncertainty", "residual_signed", "structures")


def _is_stored(content: dict[str, Any], name: str) -> bool:
    return name in _STORED[:3] or f"{name}.nii.gz" in content["files"]


def _read_stored(folder: Path, name: str, scan: Scan) -> Array:
    array, grid = read_array(folder / f"{name}.nii.gz")
    if not grid.same_as(scan.grid):
        raise ValueError(f"{name} lies on another grid than the scan")
    return array


def _float(array: Array) -> FloatArray:
    return array.astype(np.float32, copy=False)


def _float_or_none(array: Array | None) -> FloatArray | None:
    return None if array is None else _float(array)


def _finding(row: dict[str, Any]) -> Finding:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Finding(**values)


def _guard(content: dict[str, Any] | None) -> Guard | None:
    if content is None:
        return None
    scores = tuple(ScanScore(**{**row, "value": _number(row["value"])}) for row in content["scores"])
    return Guard(content["verdict"], tuple(content["reasons"]), scores, int(content["scans"]))


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _profile(columns: dict[str, list[float | None]]) -> SliceProfile:
    return SliceProfile(**{name: np.array([_number(value) for value in column]) for name, column in columns.items()})
