"""What goes wrong in long runs: workers and scheduler killed, disk full, input gone or damaged. The detection is light.

Testing/benchmarks/cohort_faults.py does the same at length.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from BrainAnomalyLib.cohort import compute
from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.entries import Entry, with_keys
from BrainAnomalyLib.cohort.records import CohortOptions, Record, read_records
from BrainAnomalyLib.cohort.scheduling import plan, run_cohort
from engine_process import training_variables
from light_detection import Killer, light, light_and_slow, light_on_a_full_disk, write_light_scan

TWO, OPTIONS = Compute(workers=2), CohortOptions()
KILLS, SEED = 4, 3


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> list[Entry]:
    """Twenty scans, two of them cut off in the middle."""
    folder = tmp_path_factory.mktemp("scans")
    paths = [write_light_scan(folder / f"s{index:02d}_FLAIR.nii.gz", index) for index in range(20)]
    for path in (paths[4], paths[13]):
        path.write_bytes(path.read_bytes()[:1000])
    return with_keys(Entry(path, path.name[:3], "", "FLAIR") for path in paths)


@pytest.fixture(scope="module")
def undisturbed(scans, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    rest(scans, out)
    return results(out)


def rest(scans: list[Entry], out: Path, run=light) -> list[Record]:
    """Run what is left to do and what failed in this process; all records then."""
    for task in plan(scans, out, OPTIONS, retry_failed=True).tasks:
        run(task)
    return read_records(out)


def results(out: Path) -> dict[str, bytes]:
    """Every file of every result; what a killed process was writing is hidden and no result."""
    folders = ("scans", "thumbnails", "in_template")
    paths = (path for folder in folders for path in (out / folder).rglob("*") if path.is_file())
    files = {path.relative_to(out).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in files.items() if "/." not in name}


def ended(out: Path) -> dict[str, str]:
    return {record["key"]: record["status"] for record in read_records(out)}


def expected(scans: list[Entry]) -> dict[str, str]:
    return {entry.key: "failed" if index in (4, 13) else "done" for index, entry in enumerate(scans)}


def test_results_do_not_depend_on_the_run(scans, undisturbed, tmp_path):
    assert len(undisturbed) == 18 * 12
    assert not any(name.startswith(("scans/s04", "scans/s13")) for name in undisturbed)


def test_workers_killed_at_random_moments_lose_nothing(scans, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "_LOST_AFTER", "10s")
    out, killer = tmp_path / "out", Killer(KILLS, SEED)
    run_cohort(scans, out, OPTIONS, TWO, killer, run=light_and_slow)
    killer.stop()
    assert killer.killed >= 2
    first = ended(out)
    assert set(first) == set(expected(scans))
    records = rest(scans, out)
    assert ended(out) == expected(scans)
    assert all(record["reason"] for record in records if record["status"] == "failed")
    assert results(out) == undisturbed


RUN = """
import sys
from pathlib import Path
from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.entries import Entry, with_keys
from BrainAnomalyLib.cohort.records import CohortOptions
from BrainAnomalyLib.cohort.scheduling import run_cohort
from light_detection import light_and_slow
if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).iterdir())
    scans = with_keys(Entry(path, path.name[:3], "", "FLAIR") for path in paths)
    run_cohort(scans, Path(sys.argv[2]), CohortOptions(), Compute(workers=2), run=light_and_slow)
"""


def test_a_killed_scheduler_leaves_whole_results_and_no_workers(scans, undisturbed, tmp_path):
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN, encoding="utf-8")
    command = [sys.executable, script, scans[0].scan.parent, out]
    # What Dask keeps for itself stays where a process is killed.
    environment = {**training_variables(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        until(lambda: len(ended(out)) >= 4, 60.0)
        workers = children(process.pid)
        process.kill()
    until(lambda: not any(alive(pid) for pid in workers), 30.0)
    before = ended(out)
    assert 4 <= len(before) < 20
    assert len(plan(scans, out, OPTIONS).tasks) == 20 - len(before)
    rest(scans, out)
    assert ended(out) == expected(scans)
    assert results(out) == undisturbed


def test_a_full_disk_is_a_reason_and_the_rerun_completes(scans, undisturbed, tmp_path):
    out = tmp_path / "out"
    records = rest(scans[:3], out, light_on_a_full_disk)
    assert [record["status"] for record in records] == ["failed"] * 3
    assert all("free disk space" in record["remedy"] for record in records)
    assert results(out) == {}
    assert [record["status"] for record in rest(scans[:3], out)] == ["done"] * 3
    assert results(out).items() <= undisturbed.items()


def test_inputs_that_are_deleted_meanwhile_fail_in_plain_words(tmp_path):
    paths = [write_light_scan(tmp_path / "scans" / f"s{index}_FLAIR.nii.gz", index) for index in range(4)]
    made = with_keys(Entry(path, path.name[:2], "", "FLAIR") for path in paths)
    for done, task in enumerate(plan(made, tmp_path / "out", OPTIONS).tasks):
        light(task)
        if done == 1:
            paths[2].unlink()
            paths[3].unlink()
    records = read_records(tmp_path / "out")
    assert [record["status"] for record in records] == ["done", "done", "failed", "failed"]
    assert "There is no file or folder" in records[3]["reason"]


def until(true, seconds: float) -> None:
    """Wait until something is true, at most so long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    import psutil

    return [one.pid for one in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    from BrainAnomalyLib.service.workplace import is_running

    return is_running(pid) and os.getpid() != pid
