"""Stand-ins for the detection of a cohort's scans; workers import them, so that they live in a module."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from BrainAnomalyLib.cohort.entries import Entry, with_keys
from BrainAnomalyLib.cohort.records import Record, results_folder, write_record
from BrainAnomalyLib.cohort.work import Task, failed

FINDING = {"id": 1, "volume_ml": 1.5, "peak": 4.0, "mean": 3.0, "side": "left", "looks": "darker"}
CENTERS = {"centroid_ras": [1.0, 2.0, 3.0], "centroid_template": [1.0, 2.0, 4.0]}


def entries(folder: Path, count: int, visits: int = 1) -> list[Entry]:
    """``count`` subjects with files of their own, each with FLAIR and so many more visits."""
    made = []
    for subject in range(count):
        for visit in range(visits):
            path = folder / f"sub-{subject:04d}_ses-{visit}_FLAIR.nii.gz"
            path.write_text(str(subject), encoding="utf-8")
            made.append(Entry(path, f"sub-{subject:04d}", f"ses-{visit}", "FLAIR", extra={"age": str(30 + subject)}))
    return with_keys(made)


def quick(task: Task) -> list[Record]:
    """A result at once, on disk as a real one; a scan whose file says ``bad`` fails."""
    return [_done(task, entry, identity) for entry, identity in zip(task.entries, task.identities, strict=True)]


def slow(task: Task) -> list[Record]:
    """A result after a while."""
    time.sleep(0.5)
    return quick(task)


def five_milliseconds(task: Task) -> list[Record]:
    """The piece of work of the benchmark of the machinery."""
    time.sleep(0.005)
    return quick(task)


def always_dies(task: Task) -> list[Record]:
    """The second subject's scan ends every worker that takes it."""
    if task.entries[0].subject.endswith("0001"):
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(task)


def _done(task: Task, entry: Entry, identity: str) -> Record:
    if entry.scan.read_text(encoding="utf-8") == "bad":
        record = failed(entry, identity, "It is bad.")
    else:
        folder = results_folder(task.out, entry.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"of": entry.subject}), encoding="utf-8")
        record = {**failed(entry, identity, ""), "status": "done", "quality": 0.9, "total_ml": 1.5, "seconds": 0.1}
        results = f"scans/{entry.key}"
        record |= {"findings": [{**FINDING, **CENTERS}], "warnings": [], "results": results}
        record |= {"overview": f"{results}/overview.png", "in_template": "", "files": [f"{results}/summary.json"]}
    write_record(task.out, record)
    return record
