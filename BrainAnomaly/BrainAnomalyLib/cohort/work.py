"""What a worker does with the scans of one visit: detect, write, keep a record. Never raises for a bad scan."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..service.jobs import DetectionJob, Loader, in_plain_words, run_job
from ..service.worker import warm_loader
from .entries import Entry
from .records import THUMBNAILS, CohortOptions, Record, results_folder, write_record

_THUMBNAIL_WIDTH, _QUALITY = 480, 80


@dataclass(frozen=True)
class Task:
    """The scans of one visit with their identities, and where results go."""

    entries: tuple[Entry, ...]
    identities: tuple[str, ...]
    out: Path
    options: CohortOptions


def run_task(task: Task) -> list[Record]:
    """The records of a task's scans, in order, as they also stand on disk."""
    return [_run(task, entry, identity) for entry, identity in zip(task.entries, task.identities, strict=True)]


def failed(entry: Entry, identity: str, reason: str, remedy: str = "") -> Record:
    """The record of a scan that failed, with its plain reason."""
    return {**_asked(entry, identity), "status": "failed", "reason": reason, "remedy": remedy}


@lru_cache(maxsize=1)
def _loader() -> Loader:
    """Keeps detectors in this process."""
    return warm_loader()


def _run(task: Task, entry: Entry, identity: str) -> Record:
    started = time.perf_counter()
    try:
        outcome = run_job(_job(task, entry), load=_loader())
        _thumbnail(outcome.folder / "overview.png", task.out / THUMBNAILS / f"{entry.key}.jpg")
        seconds = round(time.perf_counter() - started, 2)
        record = {**_asked(entry, identity), "status": "done", **_result(outcome.summary), "seconds": seconds}
        record["worker_peak_gb"] = round(_peak_gb(), 2)
        write_record(task.out, record)
    except Exception as error:  # one bad scan must not end the others
        plain = in_plain_words(error)
        record = failed(entry, identity, plain.message, plain.remedy)
        try:
            write_record(task.out, record)
        except OSError as full:
            record["reason"] += f" Its record could not be kept ({full.strerror or full})."
    return record


def _job(task: Task, entry: Entry) -> DetectionJob:
    options = task.options
    return DetectionJob(
        scan=entry.scan,
        out=results_folder(task.out, entry.key),
        detector=options.detector,
        package=options.package,
        threshold=options.threshold,
        minimum_mm3=options.minimum_mm3,
        mask=entry.mask,
        brain_mask_method=options.brain_mask_method,
        contrast=entry.contrast,
        device=options.device,
        formats=options.formats,
        series=entry.series,
    )


def _asked(entry: Entry, identity: str) -> Record:
    return {
        "key": entry.key,
        "identity": identity,
        "subject": entry.subject,
        "session": entry.session,
        "contrast": entry.contrast,
        "path": str(entry.scan),
        "extra": entry.extra,
    }


def _result(summary: dict[str, Any]) -> Record:
    """The entries of a result's summary that a table of scans shows."""
    guard, registration = summary["guard"], summary["registration"]
    return {
        "shown_contrast": summary["contrast"]["contrast"],
        "total_ml": summary["total_ml"],
        "findings": summary["findings"],
        "brain_ml": summary["brain_mask"]["volume_ml"],
        "brain_method": summary["brain_mask"]["method"],
        "quality": registration["score"],
        "quality_verdict": registration["verdict"],
        "guard": "" if guard is None else guard["verdict"],
        "threshold": summary["threshold"]["value"],
        "threshold_source": summary["threshold"]["source"],
        "detector": summary["detector"]["name"],
        "package": summary["detector"]["package"] or "",
        "program": summary["program"],
        "warnings": summary["warnings"],
    }


def _thumbnail(picture: Path, path: Path) -> None:
    """A small copy of a result's overview."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH))
        small.save(path, quality=_QUALITY)


def _peak_gb() -> float:
    """Most memory this process has held."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**30)
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
