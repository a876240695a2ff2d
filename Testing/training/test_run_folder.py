"""The run folder: events that survive kills and full disks, the lock, the user's wishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from BrainAnomalyLib.errors import Cancelled, OutputError
from BrainAnomalyLib.service import workplace
from BrainAnomalyLib.service.workplace import PROCESS, running_process
from BrainAnomalyTrainingLib.run.run_folder import EVENTS, Paused, RunFolder, ask, read_events
from synthetic import AWKWARD


def test_events_are_read_as_they_come(tmp_path):
    heard = []
    run = RunFolder(tmp_path / AWKWARD / "run", heard.append)
    log = run.path / EVENTS
    assert read_events(log) == ([], 0)
    run.stage("find", "Hledám skeny")
    first, offset = read_events(log)
    run.progress("prepare", 1 / 3, 12.34)
    run.warning("pozor")
    later, end = read_events(log, offset)
    assert [event["event"] for event in first + later] == ["stage", "progress", "warning"]
    assert (later[0]["fraction"], later[0]["seconds_left"]) == (0.3333, 12.3)
    assert first[0]["message"] == "Hledám skeny"
    assert abs(first[0]["time"] - time.time()) < 60.0
    assert heard == first + later
    assert read_events(log, end) == ([], end)


def test_values_of_libraries_become_plain_json(tmp_path):
    run = RunFolder(tmp_path)
    run.event("loss", loss=np.float32(0.5), validation=float("nan"), parts={"a": np.float64("inf")}, path=tmp_path)
    event = json.loads((tmp_path / EVENTS).read_text())
    assert (event["loss"], event["validation"], event["parts"], event["path"]) == (
        0.5,
        None,
        {"a": None},
        str(tmp_path),
    )


def test_a_half_written_line_waits_and_a_damaged_one_is_passed_over(tmp_path):
    log = tmp_path / EVENTS
    log.write_bytes(b'{"event": "started"}\nnot json\n[1]\n{"event": "sta')
    events, offset = read_events(log)
    assert [event["event"] for event in events] == ["started"]
    with log.open("ab") as stream:
        stream.write(b'ge"}\n')
    assert [event["event"] for event in read_events(log, offset)[0]] == ["stage"]


def test_after_a_kill_in_the_middle_of_a_line_the_next_event_starts_a_new_one(tmp_path):
    (tmp_path / EVENTS).write_bytes(b'{"event": "started"}\n{"event": "sca')
    RunFolder(tmp_path).warning("on we go")
    assert [event["event"] for event in read_events(tmp_path / EVENTS)[0]] == ["started", "warning"]


def test_a_log_that_was_begun_anew_is_read_from_its_start(tmp_path):
    log = tmp_path / EVENTS
    log.write_bytes(b'{"event": "warning"}\n')
    assert [event["event"] for event in read_events(log, 5000)[0]] == ["warning"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX systems do")
def test_a_full_disk_leaves_whole_lines(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyTrainingLib.run.run_folder import RunFolder
run = RunFolder(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    while True:
        run.warning("x" * 60)
except OutputError as error:
    print(error.sentence())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "cannot be written" in ended.stdout
    data = (tmp_path / EVENTS).read_bytes()
    assert data.endswith(b"\n")
    assert len(read_events(tmp_path / EVENTS)[0]) == data.count(b"\n") >= 5


def test_another_live_process_keeps_the_folder_to_itself_and_a_dead_one_does_not(tmp_path):
    run = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        record = {"pid": other.pid, "started": time.time()}
        (tmp_path / PROCESS).write_text(json.dumps(record))
        assert running_process(tmp_path) == other.pid
        with pytest.raises(OutputError, match=f"Another process \\({other.pid}\\)"), run.working():
            pass
        other.kill()
    assert running_process(tmp_path) is None
    with run.working():
        assert running_process(tmp_path) == os.getpid()
    assert not (tmp_path / PROCESS).exists()


RACE = """
import sys, time
from pathlib import Path
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyTrainingLib.run.run_folder import RunFolder
folder, start = Path(sys.argv[1]), float(sys.argv[2])
time.sleep(max(0.0, start - time.time()))
try:
    with RunFolder(folder).working():
        print("mine", flush=True)
        time.sleep(1.5)
except OutputError:
    print("taken", flush=True)
"""


@pytest.mark.parametrize("left_behind", [False, True])
def test_of_many_processes_one_gets_the_folder(tmp_path, left_behind):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        RunFolder(folder)
        if left_behind:
            ended = subprocess.Popen([sys.executable, "-c", ""])
            ended.wait()
            (folder / PROCESS).write_text(json.dumps({"pid": ended.pid, "started": time.time()}))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", RACE, str(folder), str(time.time() + 1.5)]
        racers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
        assert sorted(said) == ["mine", *["taken"] * 5]


def test_a_folder_that_another_computer_has_is_refused_by_its_name(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / PROCESS).write_text(json.dumps({"pid": 1, "started": time.time(), "host": "ward-7"}))
    assert running_process(tmp_path) is None
    with pytest.raises(OutputError, match="computer 'ward-7' is working") as caught, run.working():
        pass
    assert PROCESS in caught.value.remedy
    assert json.loads((tmp_path / PROCESS).read_text())["host"] == "ward-7"


def test_a_later_process_with_the_same_number_does_not_count(tmp_path):
    (tmp_path / PROCESS).write_text(json.dumps({"pid": os.getpid(), "started": time.time() - 10 * 365 * 86400}))
    assert running_process(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_damaged_record_of_a_process_does_not_count(tmp_path, content):
    (tmp_path / PROCESS).write_text(content)
    assert running_process(tmp_path) is None


def test_without_psutil_processes_are_still_told_dead_from_alive(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert workplace.is_running(os.getpid())
    assert not workplace.is_running(ended.pid) or os.name == "nt"


def test_the_users_wishes_are_obeyed(tmp_path):
    run = RunFolder(tmp_path)
    run.obey()
    ask(tmp_path, "pause")
    with pytest.raises(Paused) as caught:
        run.obey()
    assert caught.value.exit_code == 0
    ask(tmp_path, "cancel")
    with pytest.raises(Cancelled):
        run.obey()
    run.clear_control()
    run.obey()
    (tmp_path / "control").write_text("dance")
    assert run.control() == ""
    ask(tmp_path, "")
    assert list(tmp_path.glob("control*")) == []


def test_the_job_is_replaced_whole(tmp_path):
    run = RunFolder(tmp_path)
    for steps in (1, 2):
        run.write_job({"steps": steps, "folder": tmp_path / "č"})
    assert json.loads((tmp_path / "job.json").read_text(encoding="utf-8")) == {
        "steps": 2,
        "folder": str(tmp_path / "č"),
    }
    assert list(tmp_path.glob("*.partial")) == []


def test_a_folder_that_cannot_be_made_is_told_in_plain_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")
