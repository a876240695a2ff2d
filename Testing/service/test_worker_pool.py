"""Worker processes: killed ones, cancelled ones, orphaned ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from BrainAnomalyLib.devices import available_processors
from BrainAnomalyLib.errors import Cancelled, DependencyError
from BrainAnomalyTrainingLib.cache.worker_pool import run_tasks
from worker_cases import doubled_unless_deadly, killed_the_first_time, slow, threads_of_torch

needs_posix = pytest.mark.skipif(os.name == "nt", reason="kills processes by signals of POSIX systems")


@needs_posix
def test_a_task_that_kills_its_worker_twice_is_given_up_and_all_others_are_done():
    tasks = [(number, number == 2) for number in range(6)]
    assert dict(run_tasks(doubled_unless_deadly, tasks, 2)) == {0: 0, 1: 2, 2: None, 3: 6, 4: 8, 5: 10}


@needs_posix
def test_a_worker_killed_once_costs_nothing_but_time(tmp_path):
    """One worker: beside another task that dies, one that has not begun yet would lose its first try."""
    marks = [tmp_path / name for name in ("a", "b")]
    assert dict(run_tasks(killed_the_first_time, marks, 1)) == {0: "a", 1: "b"}


@needs_posix
def test_when_every_worker_dies_the_user_is_told():
    with pytest.raises(DependencyError, match="whatever scan they are given"):
        list(run_tasks(doubled_unless_deadly, [(number, True) for number in range(9)], 1))


def test_workers_share_the_processors():
    threads = dict(run_tasks(threads_of_torch, [0], available_processors()))
    assert threads == {0: 1}


def test_cancelling_ends_the_workers_at_once(tmp_path):
    mark = tmp_path / "started"

    def look_up() -> None:
        if mark.exists():
            raise Cancelled

    before, started = set(multiprocessing.active_children()), time.monotonic()
    with pytest.raises(Cancelled):
        list(run_tasks(slow, [mark, tmp_path / "never"], 1, look_up))
    assert time.monotonic() - started < 45.0
    assert set(multiprocessing.active_children()) <= before
    assert not (tmp_path / "never").exists()


ORPHANS = """
import sys
from pathlib import Path
from BrainAnomalyTrainingLib.cache.worker_pool import run_tasks
from worker_cases import slow
if __name__ == "__main__":
    list(run_tasks(slow, [Path(sys.argv[1])], 1))
"""


@needs_posix
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script, mark = tmp_path / "orphans.py", tmp_path / "started"
    script.write_text(ORPHANS, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script, mark], env=environment) as parent:
        worker = _number_in(mark)
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([worker], timeout=20.0)
    assert alive == []


def _number_in(mark: Path) -> psutil.Process:
    for _ in range(600):
        if mark.exists() and mark.read_text(encoding="utf-8"):
            return psutil.Process(int(mark.read_text(encoding="utf-8")))
        time.sleep(0.1)
    raise AssertionError("the worker did not start")
