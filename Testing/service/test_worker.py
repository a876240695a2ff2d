"""The worker's protocol, in this process with a made engine, and through the client in a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from BrainAnomalyLib.output.folder import summary
from BrainAnomalyLib.progress import Progress
from BrainAnomalyLib.service import worker
from BrainAnomalyLib.service.client import WorkerClient
from BrainAnomalyLib.service.jobs import DetectionJob, Loader, Outcome
from BrainAnomalyLib.service.worker import serve, warm_loader
from engine_process import variables
from made_detection import made_detection
from synthetic import AWKWARD, noise, save_nifti

Engine = Callable[[DetectionJob, Progress, Loader], Outcome]
LAST = '"event": "(result|error|cancelled|pong)"'
DETECT = {"command": "detect", "scan": "s", "out": "o"}


def lines(*requests: object) -> bytes:
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in requests)


def events_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def made(job: DetectionJob, progress: Progress, load: Loader) -> Outcome:
    progress("Reading the scan", 0.0)
    time.sleep(0.05)
    progress("Writing", 0.9)
    return Outcome(job.out, summary(made_detection()))


def talk(monkeypatch: pytest.MonkeyPatch, engine: Engine, *requests: object) -> list[dict]:
    """Events of a worker that reads ``requests``, and meets the end of its input when all are answered or after 1 s."""
    monkeypatch.setattr(worker, "run_job", engine)
    reading, writing = os.pipe()
    output = io.StringIO()
    os.write(writing, lines(*requests))
    ending = threading.Thread(target=end_when_answered, args=(output, writing, len(requests)))
    ending.start()
    with os.fdopen(reading, "rb") as stream:
        assert serve(stream, output) == 0
    ending.join()
    return events_of(output.getvalue())


def end_when_answered(output: io.StringIO, writing: int, count: int) -> None:
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and len(re.findall(LAST, output.getvalue())) < count:
        time.sleep(0.01)
    os.close(writing)


def names(events: list[dict], identity: object = None) -> list[str]:
    return [event["event"] for event in events if event["id"] == identity]


def test_a_detection_from_start_to_result(monkeypatch) -> None:
    events = talk(monkeypatch, made, {"id": "a", **DETECT})
    assert names(events, "a") == ["started", "progress", "progress", "result"]
    assert events[0] == {"id": None, "event": "ready", "protocol": 1, "version": events[0]["version"]}
    assert events[2] == {"id": "a", "event": "progress", "stage": "Reading the scan", "fraction": 0.0}
    assert events[-2]["folder"] == "o"
    assert events[-2]["summary"]["notice"] == "For research, not for diagnosis."
    assert events[-1] == {"id": None, "event": "ended"}


def test_requests_run_in_order(monkeypatch) -> None:
    events = talk(monkeypatch, made, {"id": 1, **DETECT}, {"id": 2, **DETECT}, {"id": 3, "command": "ping"})
    order = [(event["id"], event["event"]) for event in events if event["event"] in ("started", "result")]
    assert order == [(1, "started"), (1, "result"), (2, "started"), (2, "result")]
    assert names(events, 3) == ["pong"]


@pytest.mark.parametrize(
    ("line", "identity", "sentence"),
    [
        (b"hello\n", None, "not one line of JSON"),
        (b"\xff\xfe\n", None, "not one line of JSON"),
        (b"[" * 30000 + b"\n", None, "not one line of JSON"),
        (b"[1, 2]\n", None, "not a JSON object"),
        (b"{}\n", None, "no id"),
        (b'{"id": true, "command": "ping"}\n', None, "no id"),
        (b'{"id": [1], "command": "ping"}\n', None, "no id"),
        (b'{"id": 7}\n', 7, "no command 'None'"),
        (b'{"id": 7, "command": ["ping"]}\n', 7, "no command"),
        (b'{"id": 7, "command": "explode"}\n', 7, "no command 'explode'"),
        (b'{"id": 7, "command": "detect"}\n', 7, "'scan' is missing"),
        (b'{"id": 7, "command": "detect", "scan": "s", "out": "o", "x": 1}\n', 7, "Unknown options: x"),
    ],
)
def test_malformed_requests_get_an_error_and_the_worker_goes_on(monkeypatch, line, identity, sentence: str) -> None:
    events = talk(monkeypatch, made, line, {"id": "next", "command": "ping"})
    (error,) = [event for event in events if event["event"] == "error"]
    assert error["id"] == identity
    assert sentence in error["message"]
    assert (error["kind"], error["exit_code"], error["details"]) == ("OptionsError", 2, "")
    assert names(events, "next") == ["pong"]


def test_an_id_in_use_is_refused(monkeypatch) -> None:
    events = talk(monkeypatch, made, {"id": 1, **DETECT}, {"id": 1, **DETECT})
    assert sorted(names(events, 1)) == ["error", "progress", "progress", "result", "started"]


def test_errors_of_the_engine_are_plain(monkeypatch) -> None:
    def broken(job: DetectionJob, progress: Progress, load: Loader) -> Outcome:
        raise ZeroDivisionError("oops")

    events = talk(monkeypatch, broken, {"id": 1, **DETECT}, {"id": 2, **DETECT})
    errors = [event for event in events if event["event"] == "error"]
    assert [error["id"] for error in errors] == [1, 2]
    assert (errors[0]["kind"], errors[0]["exit_code"]) == ("InternalError", 70)
    assert "Traceback" in errors[0]["details"]


def until_cancelled(job: DetectionJob, progress: Progress, load: Loader) -> Outcome:
    for step in range(2000):
        progress("Working", step / 2000)
        time.sleep(0.005)
    raise AssertionError("was not cancelled")


def test_cancel_of_a_running_and_of_a_waiting_request(monkeypatch) -> None:
    cancels = [{"id": identity, "command": "cancel"} for identity in (2, 1, 9)]
    events = talk(monkeypatch, until_cancelled, {"id": 1, **DETECT}, {"id": 2, **DETECT}, *cancels)
    assert names(events, 1)[-1] == "cancelled"
    assert names(events, 2) == ["cancelled"]
    assert names(events, 9) == []


def test_shutdown_cancels_and_ends(monkeypatch) -> None:
    requests = [{"id": 1, **DETECT}, {"id": 2, "command": "shutdown"}, {"id": 3, "command": "ping"}]
    events = talk(monkeypatch, until_cancelled, *requests)
    assert names(events, 1)[-1] == "cancelled"
    assert events[-1] == {"id": 2, "event": "ended"}
    assert names(events, 3) == []


def test_the_end_of_input_cancels_and_ends(monkeypatch) -> None:
    events = talk(monkeypatch, until_cancelled, {"id": 1, **DETECT})
    assert names(events, 1)[-1] == "cancelled"
    assert events[-1] == {"id": None, "event": "ended"}


def test_a_caller_that_stops_listening_ends_the_run(monkeypatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            if '"progress"' in text:
                raise BrokenPipeError
            return super().write(text)

    monkeypatch.setattr(worker, "run_job", until_cancelled)
    output = Broken()
    assert serve(io.BytesIO(lines({"id": 1, **DETECT})), output) == 0
    assert names(events_of(output.getvalue()), 1) in (["started", "cancelled"], ["cancelled"])


def test_the_loader_stays_warm_until_the_package_changes(monkeypatch, tmp_path: Path) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(worker, "load_detector", lambda name, package, device: loaded.append(name))
    load = warm_loader()
    (tmp_path / "weights").write_bytes(b"1")
    for _ in range(3):
        load("histogram", None, "cpu")
        load("denoising", tmp_path, "cpu")
    assert loaded == ["histogram", "denoising"]
    os.utime(tmp_path / "weights", (5.0, 5.0))
    load("denoising", tmp_path, "cpu")
    assert loaded == ["histogram", "denoising", "denoising"]


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for temporary files, so that any left behind shows."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def client(temporary: Path):
    with WorkerClient(environment={"LC_ALL": "C"}) as worker_client:
        assert len(list(temporary.iterdir())) == 1
        yield worker_client
    assert not worker_client.running
    assert list(temporary.iterdir()) == []


def big_job(folder: Path) -> dict[str, object]:
    """A run that takes long enough to be stopped."""
    scan = save_nifti(folder / "in" / "scan.nii.gz", noise((120, 120, 120)))
    mask = save_nifti(folder / "in" / "mask.nii.gz", (noise((120, 120, 120)) > 500).astype("u1"))
    return {"scan": scan, "mask": mask, "out": folder / "out", "detector": "histogram"}


def wait_for_stage(client: WorkerClient, identity: str, stage: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(event.get("stage") == stage for event in client.poll() if event["id"] == identity):
            return
        time.sleep(0.02)
    raise AssertionError(f"{stage} was not reached: {client.log()}")


def test_errors_and_cancel_through_a_real_process(client: WorkerClient, tmp_path: Path) -> None:
    missing = client.detect(scan=tmp_path / AWKWARD / "nö.nii", out=tmp_path / "out")
    (*_, error) = client.wait_for(missing, 60)
    assert (error["event"], error["kind"], error["exit_code"]) == ("error", "ScanError", 3)
    assert "Lékař 脳" in error["message"]
    running = client.detect(**big_job(tmp_path))
    wait_for_stage(client, running, "Correcting the intensity drift")
    client.cancel(running)
    assert client.wait_for(running, 120)[-1]["event"] == "cancelled"
    assert client.wait_for(client.ping(), 10)[-1]["event"] == "pong"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_kill_ends_at_once_and_leaves_nothing(client: WorkerClient, tmp_path: Path) -> None:
    running = client.detect(**big_job(tmp_path))
    wait_for_stage(client, running, "Correcting the intensity drift")
    began = time.monotonic()
    client.kill()
    assert time.monotonic() - began < 2.0
    assert not client.running
    assert client.poll() == []
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    client.start()
    assert client.wait_for(client.ping(), 60)[-1]["event"] == "pong"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_crash_is_reported_once_with_its_exit_code(client: WorkerClient) -> None:
    client.wait_for(client.ping(), 60)
    os.kill(client.process_id, signal.SIGKILL)
    deadline = time.monotonic() + 10
    events: list[dict] = []
    while not events and time.monotonic() < deadline:
        events = client.poll()
    assert [(event["event"], event["exit_code"]) for event in events] == [("exited", -signal.SIGKILL)]
    assert client.poll() == []
    with pytest.raises(BrokenPipeError):
        client.ping()


def test_an_interpreter_that_is_not_there(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(OSError, match="python"):
        WorkerClient(python=tmp_path / "python").start()
    assert list(temporary.iterdir()) == []


def test_what_the_worker_prints_is_kept(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; print('noise'); print('noise on stderr', file=sys.stderr)", encoding="utf-8"
    )
    with WorkerClient(environment={"PYTHONPATH": str(tmp_path)}) as client:
        client.wait_for(client.ping(), 60)
        assert "noise on stderr" in client.log()
    assert "noise on stderr" in client.log()


PRINTING = """
import os, sys
from BrainAnomalyLib.service import worker
def load(name, package, device):
    print("a library speaks")
    os.write(1, b"and C code too\\n")
    raise worker.OptionsError("Enough.")
worker.load_detector = load
sys.argv = ["BrainAnomalyLib", "worker"]
from BrainAnomalyLib.__main__ import run
raise SystemExit(run())
"""


def test_stray_prints_do_not_spoil_the_protocol(tmp_path: Path) -> None:
    scan = save_nifti(tmp_path / "scan.nii.gz", noise((20, 20, 20)))
    job = {"scan": str(scan), "out": str(tmp_path / "out"), "detector": "histogram"}
    requests = lines({"id": 1, "command": "detect", **job})
    command = [sys.executable, "-c", PRINTING]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables()
    ) as process:
        process.stdin.write(requests)
        process.stdin.flush()
        events = [json.loads(process.stdout.readline()) for _ in range(5)]
        _, errors = process.communicate(timeout=60)
    assert [event["event"] for event in events] == ["ready", "started", "progress", "progress", "error"]
    assert b"a library speaks" in errors
    assert b"and C code too" in errors


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_worker_without_parent_ends(tmp_path: Path) -> None:
    script = (
        "import time; from BrainAnomalyLib.service.client import WorkerClient; c = WorkerClient(); c.start(); "
        "c.wait_for(c.ping(), 60); print(c.process_id, flush=True); time.sleep(60)"
    )
    environment = {**variables(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        number = parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and alive(int(number)):
        time.sleep(0.05)
    assert not alive(int(number))


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat")
    return not (state.is_file() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")
