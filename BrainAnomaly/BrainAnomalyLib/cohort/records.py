"""What is known of every scan of a cohort on disk: done or failed, from what, with what result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..resources import resources_folder, sha256
from ..service.workplace import write_json
from .entries import Entry

STATE, SCANS, THUMBNAILS, IN_TEMPLATE = "state", "scans", "thumbnails", "in_template"
Record = dict[str, Any]


@dataclass(frozen=True)
class CohortOptions:
    """What is the same for all scans of a cohort; the fields mean what they mean in ``DetectionJob``."""

    detector: str | None = None
    package: Path | None = None
    threshold: float | None = None
    minimum_mm3: float = 20.0
    brain_mask_method: str | None = None
    device: str = "auto"
    formats: tuple[str, ...] = ()


def identity_of(entry: Entry, options: CohortOptions, models: str) -> str:
    """SHA-256 of everything that decides a result: input files (name, size, time), options, program and models."""
    content = {
        "scan": _stamp(entry.scan),
        "mask": None if entry.mask is None else _stamp(entry.mask),
        "contrast": entry.contrast,
        "series": entry.series,
        "options": {**asdict(options), "package": str(options.package or "")},
        "program": __version__,
        "models": models,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def models_identity(options: CohortOptions) -> str:
    """SHA-256 of the lists of hashes of all embedded networks and of the chosen package."""
    folders = [resources_folder(), *([options.package] if options.package else [])]
    lists = [path for folder in folders for path in sorted(folder.rglob("SHA256SUMS.json"))]
    return hashlib.sha256("".join(sha256(path) for path in lists).encode()).hexdigest()


def record_file(out: Path, key: str) -> Path:
    """Where the record of a scan is."""
    return out / STATE / f"{key}.json"


def results_folder(out: Path, key: str) -> Path:
    """Where the results of a scan are."""
    return out / SCANS / key


def write_record(out: Path, record: Record) -> None:
    """Keep a record, in one step. Raises OSError."""
    path = record_file(out, record["key"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def read_record(out: Path, key: str) -> Record | None:
    """The record of a scan; None without one or for a damaged one."""
    record = _read(record_file(out, key))
    return record if record is not None and record["key"] == key else None


def read_records(out: Path) -> list[Record]:
    """The records of every scan that was ever run into ``out``, ordered by key."""
    records = [_read(path) for path in sorted((out / STATE).rglob("*.json"))]
    return sorted((record for record in records if record is not None), key=lambda record: str(record["key"]))


def is_done(record: Record | None, identity: str, out: Path) -> bool:
    """Whether a scan's result is there, whole, and is of the same input, options, program and models."""
    return (
        record is not None
        and record["status"] == "done"
        and record.get("identity") == identity
        and all((out / name).is_file() for name in record["files"])
    )


def _read(path: Path) -> Record | None:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(record["key"], str) and record["status"] in ("done", "failed")
        return record if whole and (record["status"] == "failed" or isinstance(record["files"], list)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stamp(path: Path) -> list[Any]:
    """Name, size and time of a file, of all files of a folder."""
    try:
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        return [[str(one.absolute()), (state := one.stat()).st_size, state.st_mtime_ns] for one in files]
    except OSError:
        return [[str(path.absolute()), None, None]]
