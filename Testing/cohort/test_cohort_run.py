"""Many scans through a real scheduler and real worker processes: resumed, killed, stopped, locked."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.records import CohortOptions, read_record, record_file, results_folder
from BrainAnomalyLib.cohort.scheduling import Listener, plan, run_cohort
from BrainAnomalyLib.errors import Cancelled, OptionsError, OutputError
from cohort_cases import always_dies, entries, quick, slow
from engine_process import variables

TWO = Compute(workers=2)
OPTIONS = CohortOptions()


class Heard(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.workers, self.to_do, self.records = 0, 0, []

    def started(self, plan, workers, dashboard):
        self.workers, self.to_do = workers, sum(len(task.entries) for task in plan.tasks)

    def finished(self, record):
        self.records.append(record)


class Stopped(Heard):
    """The user presses Ctrl-C after the second scan."""

    def finished(self, record):
        super().finished(record)
        if len(self.records) == 2:
            raise KeyboardInterrupt


@pytest.fixture
def scans(tmp_path):
    """Six visits of six subjects, one of them with a bad file."""
    folder = tmp_path / "scans"
    folder.mkdir()
    made = entries(folder, 6)
    made[4].scan.write_text("bad", encoding="utf-8")
    return made


def run(scans, tmp_path, work=quick, listener=None, options=OPTIONS, compute=TWO, **how):
    return run_cohort(scans, tmp_path / "out", options, compute, listener, run=work, **how)


def statuses(records) -> list[str]:
    return [record["status"] for record in records]


def test_what_is_done_is_not_done_again_and_failures_are_lines(scans, tmp_path):
    heard = Heard()
    records = run(scans, tmp_path, listener=heard)
    assert heard.workers == 2
    assert [record["key"] for record in records] == [entry.key for entry in scans]
    assert statuses(records) == ["done"] * 4 + ["failed", "done"]
    assert records[4]["reason"] == "It is bad."
    again = Heard()
    assert run(scans, tmp_path, listener=again) == records
    assert (again.workers, again.to_do, again.records) == (0, 0, [])
    scans[4].scan.write_text("good again", encoding="utf-8")
    assert statuses(run(scans, tmp_path, listener=again)) == ["done"] * 6
    assert again.to_do == 1


def test_failed_scans_are_tried_again_when_asked(scans, tmp_path):
    run(scans, tmp_path)
    heard = Heard()
    run(scans, tmp_path, listener=heard, retry_failed=True)
    assert [record["key"] for record in heard.records] == [scans[4].key]


@pytest.mark.parametrize("change", ["options", "contrast", "file", "half"])
def test_another_input_option_or_half_a_result_is_run_again(scans, tmp_path, change):
    out, options, asked = tmp_path / "out", OPTIONS, scans[:2]
    run(asked, tmp_path)
    if change == "options":
        options = CohortOptions(threshold=3.0)
    elif change == "contrast":
        asked = [dataclasses.replace(asked[0], contrast="T2w"), asked[1]]
    elif change == "file":
        asked[0].scan.write_text("another scan", encoding="utf-8")
    else:
        (results_folder(out, asked[0].key) / "summary.json").unlink()
    left = plan(asked, out, options)
    assert sum(len(task.entries) for task in left.tasks) == (2 if change == "options" else 1)


def test_a_damaged_record_counts_as_none(scans, tmp_path):
    run(scans[:1], tmp_path)
    record_file(tmp_path / "out", scans[0].key).write_text("{", encoding="utf-8")
    assert read_record(tmp_path / "out", scans[0].key) is None
    assert statuses(run(scans[:1], tmp_path)) == ["done"]


def test_the_scans_of_a_visit_are_one_task(tmp_path):
    made = entries(tmp_path, 2, visits=2)
    both = [*made, *(dataclasses.replace(one, contrast="T2w", key=f"{one.key}-T2w") for one in made)]
    tasks = plan(both, tmp_path / "out", OPTIONS).tasks
    assert [{entry.group for entry in task.entries} for task in tasks] == [{one.group} for one in made]
    assert all(len(task.entries) == 2 for task in tasks)


def test_a_scan_that_ends_every_worker_fails_with_a_reason(scans, tmp_path):
    records = run(scans, tmp_path, work=always_dies)
    assert statuses(records) == ["done", "failed", "done", "done", "failed", "done"]
    assert "ended several times" in records[1]["reason"]
    assert read_record(tmp_path / "out", scans[1].key) == records[1]


def test_a_stop_ends_in_seconds_keeps_what_is_done_and_goes_on(scans, tmp_path):
    stopped = Stopped()
    began = time.monotonic()
    with pytest.raises(Cancelled) as caught:
        run(scans, tmp_path, work=slow, listener=stopped)
    assert "scans that are done are kept" in caught.value.message
    assert time.monotonic() - began < 60.0
    heard = Heard()
    records = run(scans, tmp_path, listener=heard)
    assert statuses(records) == ["done"] * 4 + ["failed", "done"]
    assert heard.to_do <= 4


HOLDER = """
import sys, time
from pathlib import Path
from BrainAnomalyLib.service import workplace
out = Path(sys.argv[1])
out.mkdir()
workplace.take(out)
print("taken", flush=True)
time.sleep(600)
"""


def test_a_second_run_into_one_folder_says_so_and_ends(scans, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables()}) as holder:
        assert holder.stdout.readline() == "taken\n"
        with pytest.raises(OutputError, match=f"Another process \\({holder.pid}\\) is working"):
            run(scans, tmp_path)
        holder.kill()
    assert statuses(run(scans[:1], tmp_path)) == ["done"]


def test_another_computers_run_is_not_disturbed(scans, tmp_path):
    run(scans[:1], tmp_path)
    lock = {"pid": 1, "started": 0.0, "host": "another"}
    (tmp_path / "out" / "process.json").write_text(json.dumps(lock), encoding="utf-8")
    with pytest.raises(OutputError, match="computer 'another' is working"):
        run(scans, tmp_path)


def test_a_running_cluster_is_used(scans, tmp_path):
    import dask
    from distributed import LocalCluster

    settings = dask.config.set({"temporary-directory": str(tmp_path)})
    with settings, LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        heard = Heard()
        records = run(scans, tmp_path, listener=heard, compute=Compute(scheduler=cluster.scheduler_address))
    assert heard.workers == 1
    assert len(records) == 6


def test_a_scheduler_that_is_not_there_is_named(scans, tmp_path):
    with pytest.raises(OptionsError, match=r"no scheduler at 'tcp://127\.0\.0\.1:9'"):
        run(scans, tmp_path, compute=Compute(scheduler="tcp://127.0.0.1:9"))
    assert not (tmp_path / "out" / "process.json").exists()


def test_slurm_is_given_what_was_asked():
    from BrainAnomalyLib.cohort.compute import job_script

    script = job_script(Compute(slurm=(("queue", "short"), ("memory", "6GB"), ("walltime", "01:00:00"))))
    assert "#SBATCH -p short" in script
    assert "--mem=6G" in script
    assert "export OMP_NUM_THREADS=1" in script
    with pytest.raises(OptionsError, match="not understood"):
        job_script(Compute(slurm=(("no_such_option", "1"),)))


def test_paths_are_kept_whole(tmp_path: Path):
    folder = tmp_path / "Ж ü"
    folder.mkdir()
    records = run(entries(folder, 1), tmp_path)
    assert records[0]["path"].endswith("sub-0000_ses-0_FLAIR.nii.gz")
