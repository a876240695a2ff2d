"""A cohort's work with a stand-in for the detection alone: reading, writing, pictures' places and records are real.

Workers import it, so that it lives in a module.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from BrainAnomalyLib.cohort import work
from BrainAnomalyLib.cohort.records import Record
from BrainAnomalyLib.cohort.scheduling import Listener
from BrainAnomalyLib.cohort.work import Task, run_task
from BrainAnomalyLib.findings.slice_profile import slice_profile
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.io.geometry import regular_grid
from BrainAnomalyLib.io.volumes import read_scan, write_volume
from BrainAnomalyLib.output.folder import write_results
from BrainAnomalyLib.service.jobs import DetectionJob, Outcome
from made_detection import made_detection

GRID = regular_grid((20, 24, 20), 10.0, (0.0, -18.0, 8.0))
THRESHOLD = 100.0


def write_light_scan(path: Path, seed: int, spots: tuple[tuple[int, int, int], ...] = ((9, 12, 10),)) -> Path:
    """A scan (10 mm) of noise below 50 with voxels of 200 at ``spots``, which are its findings of 1 mL each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).uniform(1.0, 50.0, GRID.shape).astype(np.float32)
    for spot in spots:
        array[spot] = 200.0
    write_volume(path, array, GRID)
    return path


def light(task: Task, places=None) -> list[Record]:
    """``run_task`` where everything but the detection is real."""
    with mock.patch.object(work, "run_job", _job), mock.patch("BrainAnomalyLib.output.overview.overview", _picture):
        return run_task(task, places)


def light_and_slow(task: Task, places=None) -> list[Record]:
    """The same, for long enough to be killed in the middle."""
    time.sleep(0.3)
    return light(task, places)


def light_on_a_full_disk(task: Task, places=None) -> list[Record]:
    """The same where no file may grow beyond 8 kB, which a record is below and a map is above."""
    with _largest_file(8 * 1024):
        return light(task, places)


def _job(job: DetectionJob, load) -> Outcome:
    scan = read_scan(job.scan, job.contrast)
    threshold = THRESHOLD if job.threshold is None else job.threshold
    brain = np.ones(scan.grid.shape, dtype=bool)
    detection = replace(
        made_detection(scan.name),
        scan=scan,
        anomaly=scan.array,
        pseudo_healthy=np.minimum(scan.array, 50.0),
        residual=scan.array - np.minimum(scan.array, 50.0),
        brain_mask=brain,
        detector={**made_detection().detector, "package": None},
        findings=find(scan.array, scan.grid, np.eye(4), threshold, 20.0),
        profile=slice_profile(scan.array, brain, np.arange(scan.grid.shape[2], dtype=float)),
    )
    folder = write_results(detection, job.out)
    return Outcome(folder, json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def _picture(detection, path: Path) -> None:
    Image.fromarray(detection.anomaly[:, :, 10].astype(np.uint8)).save(path)


@contextmanager
def _largest_file(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Killer(Listener):
    """Kills worker processes of this process at moments drawn by a seed, ``times`` in all, from when they are there."""

    def __init__(self, times: int, seed: int, longest: float = 1.5) -> None:
        self._times, self._random, self._longest = times, random.Random(seed), longest
        self._thread, self._stopped = threading.Thread(target=self._run, daemon=True), threading.Event()
        self.killed = 0

    def started(self, plan, workers, dashboard) -> None:
        if workers and not self._thread.is_alive() and not self._stopped.is_set():
            self._thread.start()

    def stop(self) -> None:
        """Kill no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self.killed < self._times and not self._stopped.wait(self._random.uniform(0.05, self._longest)):
            workers = worker_processes()
            if workers:
                os.kill(self._random.choice(workers), signal.SIGKILL)
                self.killed += 1


def worker_processes() -> list[int]:
    """Ids of the worker processes that this process has started and that have begun to work."""
    import psutil

    found = psutil.Process().children(recursive=True)
    return sorted(one.pid for one in found if one.is_running() and "spawn_main" in " ".join(_command(one)))


def _command(process) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
