"""What a worker does with the scans of one visit: detect, write, keep a record. Never raises for a bad scan."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..service.jobs import DetectionJob, Loader, in_plain_words, run_job
from ..service.memory import keep_freed_memory
from ..service.worker import warm_loader
from ..service.workplace import writing
from .entries import Entry
from .places import FolderPerScan, Places
from .records import CohortOptions, Record, write_record


@dataclass(frozen=True)
class Task:
    """The scans of one visit with their identities, and where results go."""

    entries: tuple[Entry, ...]
    identities: tuple[str, ...]
    out: Path
    options: CohortOptions


def run_task(task: Task, places: Places | None = None) -> list[Record]:
    """The records of a task's scans, in order, as they also stand on disk; results go to a folder each by default."""
    keep_freed_memory()
    where = places or FolderPerScan()
    return [_run(task, entry, identity, where) for entry, identity in zip(task.entries, task.identities, strict=True)]


def failed(entry: Entry, identity: str, reason: str, remedy: str = "") -> Record:
    """The record of a scan that failed, with its plain reason."""
    return {**_asked(entry, identity), "status": "failed", "reason": reason, "remedy": remedy}


@lru_cache(maxsize=1)
def _loader() -> Loader:
    """Keeps detectors in this process."""
    return warm_loader()


def _run(task: Task, entry: Entry, identity: str, places: Places) -> Record:
    started = time.perf_counter()
    try:
        outcome = run_job(_job(task, entry, places), load=_loader())
        with writing(task.out):
            kept = places.keep(outcome.folder, outcome.summary, task.out, entry)
        record = {**_asked(entry, identity), "status": "done", **_result(outcome.summary), **kept._asdict()}
        record["seconds"] = round(time.perf_counter() - started, 2)
        record["worker_peak_gb"] = round(_peak_gb(), 2)
        with writing(task.out):
            write_record(task.out, record)
    except Exception as error:  # one bad scan must not end the others
        plain = in_plain_words(error)
        record = failed(entry, identity, plain.message, plain.remedy)
        try:
            write_record(task.out, record)
        except OSError as full:
            record["reason"] += f" Its record could not be kept ({full.strerror or full})."
    return record


def _job(task: Task, entry: Entry, places: Places) -> DetectionJob:
    options = task.options
    return DetectionJob(
        scan=entry.scan,
        out=places.folder(task.out, entry),
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


def _peak_gb() -> float:
    """Most memory this process has held."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**30)
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
