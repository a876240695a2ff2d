"""The worker behind the panel: interpreter, plain words, and every way in which a request may end."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from BrainAnomalyLib.errors import DependencyError
from BrainAnomalyLib.slicer.panel.common.plain_words import duration, error_sentence, exit_sentence, last_line, size
from BrainAnomalyLib.slicer.panel.dependencies import TORCH, missing, required, states
from BrainAnomalyLib.slicer.panel.run.interpreter import worker_python
from BrainAnomalyLib.slicer.panel.run.worker_process import Failed, Stage, Stopped, WorkerProcess
from synthetic import noise, save_nifti

ROOT = Path(__file__).resolve().parents[2]


def nowhere(name: str) -> None:
    return None


class TestInterpreter:
    def test_slicers_python_on_the_path_comes_first(self) -> None:
        assert worker_python("/opt/python3", which=lambda name: f"/slicer/{name}") == "/slicer/PythonSlicer"

    def test_slicers_python_in_the_installation_folder(self, tmp_path: Path) -> None:
        name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / name).touch()
        assert worker_python("/slicer/SlicerApp-real", str(tmp_path), nowhere) == str(tmp_path / "bin" / name)

    def test_the_running_python_where_there_is_no_slicer(self) -> None:
        assert worker_python(which=nowhere) == sys.executable

    def test_an_application_is_never_taken_for_python(self) -> None:
        with pytest.raises(DependencyError, match="not found"):
            worker_python("/slicer/SlicerApp-real", "", nowhere)

    def test_pythonslicer_that_runs_this_is_taken(self, tmp_path: Path) -> None:
        running = tmp_path / "PythonSlicer"
        running.touch()
        assert worker_python(str(running), "", lambda name: "/another/PythonSlicer") == str(running)


class TestPlainWords:
    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.2, "1 s"), (41.4, "41 s"), (90.0, "2 min"), (3600.0, "60 min"), (9000.0, "2.5 h")]
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    @pytest.mark.parametrize(
        ("count", "text"), [(12, "12 bytes"), (7400, "7.4 kB"), (12_300_000, "12 MB"), (2 * 10**9, "2.0 GB")]
    )
    def test_sizes(self, count: int, text: str) -> None:
        assert size(count) == text

    def test_a_missing_package_leads_to_setup(self) -> None:
        event = {"kind": "DependencyError", "message": "torch is missing.", "remedy": "Install it with pip."}
        assert error_sentence(event) == "torch is missing. Open 'Setup' in this panel to install it."
        log = "Traceback\nModuleNotFoundError: No module named 'scipy.ndimage'\n"
        assert exit_sentence(1, log).startswith("The Python package 'scipy' is not installed.")

    def test_an_end_by_the_system_and_one_by_an_error(self) -> None:
        assert "SIGKILL" in exit_sentence(-9, "")
        assert "exit code 3" in exit_sentence(3, "first\n  last words \n\n")
        assert exit_sentence(3, "first\n  last words \n\n").endswith("last words")
        assert last_line("") == ""


class TestDependencies:
    REQUIREMENTS = ROOT / "BrainAnomaly" / "Resources" / "requirements.txt"

    def test_torch_comes_first_and_everything_is_listed(self) -> None:
        names = [state.name for state in states(self.REQUIREMENTS)]
        assert names[0] == "torch"
        assert {"monai", "SimpleITK", "numpy"} <= set(names)
        assert required(self.REQUIREMENTS)[0] == TORCH

    def test_what_is_missing_or_too_old_is_told(self, tmp_path: Path) -> None:
        file = tmp_path / "requirements.txt"
        file.write_text("# comment\nnumpy>=999\nno_such_package>=1\nscipy>=1.0\n", encoding="utf-8")
        assert set(missing(file)) - {TORCH} == {"numpy>=999", "no_such_package>=1"}
        texts = {state.name: state.text() for state in states(file)}
        assert texts["numpy"].endswith("too old, needs numpy>=999")
        assert texts["no_such_package"] == "no_such_package: missing"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder that must be empty when the test is over."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def worker(temporary: Path):
    process = WorkerProcess(lambda: sys.executable)
    yield process
    process.close()
    assert list(temporary.iterdir()) == []


def until_end(worker: WorkerProcess, seconds: float = 90.0) -> list:
    """All reports up to the one that ends the request."""
    reports: list = []
    deadline = time.monotonic() + seconds
    while not (reports and not isinstance(reports[-1], Stage)):
        assert time.monotonic() < deadline, f"no end: {reports[-3:]} {worker.log}"
        reports += worker.poll()
        time.sleep(0.01)
    return reports


def until_stage(worker: WorkerProcess, name: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not any(isinstance(report, Stage) and report.name == name for report in worker.poll()):
        assert time.monotonic() < deadline, worker.log
        time.sleep(0.01)


def job(tmp_path: Path) -> dict[str, str]:
    """A run on noise of the size of a head, long enough to be stopped; it cannot be aligned with the template."""
    scan = save_nifti(tmp_path / "scan.nii.gz", noise((120, 120, 120)))
    mask = save_nifti(tmp_path / "mask.nii.gz", (noise((120, 120, 120)) > 500).astype("u1"))
    return {"scan": str(scan), "out": str(tmp_path / "out"), "mask": str(mask), "detector": "histogram"}


def test_a_failure_is_told_in_one_sentence_and_the_worker_stays_warm(worker: WorkerProcess, tmp_path: Path) -> None:
    for _ in range(2):
        worker.detect(scan=str(tmp_path / "none.nii"), out=str(tmp_path / "out"))
        first = worker.process_id
        (*_stages, end) = until_end(worker)
        assert isinstance(end, Failed)
        assert "none.nii" in end.sentence
        assert not worker.busy
        assert worker.process_id == first


def test_a_cancel_stops_at_the_next_step(worker: WorkerProcess, tmp_path: Path) -> None:
    worker.detect(**job(tmp_path))
    worker.cancel()
    assert until_end(worker)[-1] == Stopped()


def test_a_worker_that_does_not_stop_is_ended(tmp_path: Path, temporary: Path) -> None:
    now = [0.0]
    worker = WorkerProcess(lambda: sys.executable, clock=lambda: now[0])
    worker.detect(**job(tmp_path))
    until_stage(worker, "Correcting the intensity drift")
    number = worker.process_id
    os.kill(number, signal.SIGSTOP)
    worker.cancel()
    assert worker.poll() == []
    now[0] = 6.0
    assert worker.poll() == [Stopped(killed=True)]
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert list(temporary.iterdir()) == []


def test_a_crash_is_no_result_and_the_next_run_works(worker: WorkerProcess, tmp_path: Path) -> None:
    worker.detect(**job(tmp_path))
    until_stage(worker, "Correcting the intensity drift")
    os.kill(worker.process_id, signal.SIGKILL)
    (end,) = [report for report in until_end(worker) if not isinstance(report, Stage)]
    assert isinstance(end, Failed)
    assert "SIGKILL" in end.sentence
    worker.detect(scan=str(tmp_path / "none.nii"), out=str(tmp_path / "out"))
    assert "none.nii" in until_end(worker)[-1].sentence


def test_a_worker_that_dies_while_idle_leaves_nothing(worker: WorkerProcess, tmp_path: Path, temporary: Path) -> None:
    worker.detect(scan=str(tmp_path / "none.nii"), out=str(tmp_path / "out"))
    until_end(worker)
    os.kill(worker.process_id, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while worker.process_id is not None and time.monotonic() < deadline:
        assert worker.poll() == []
    assert worker.process_id is None
    assert list(temporary.iterdir()) == []


def test_an_interpreter_that_fails_at_its_start_is_told(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "scipy").mkdir()
    program = "raise ModuleNotFoundError(\"No module named 'scipy'\", name='scipy')"
    (tmp_path / "scipy" / "__init__.py").write_text(program, encoding="utf-8")
    worker = WorkerProcess(lambda: sys.executable, {"PYTHONPATH": str(tmp_path)})
    worker.detect(scan="x", out="y")
    end = until_end(worker)[-1]
    assert isinstance(end, Failed)
    assert "'scipy' is not installed" in end.sentence
    assert "Setup" in end.sentence
    worker.close()


def test_a_program_that_is_not_there_is_told(tmp_path: Path, temporary: Path) -> None:
    worker = WorkerProcess(lambda: str(tmp_path / "PythonSlicer"))
    with pytest.raises(DependencyError, match="cannot be started"):
        worker.detect(scan="x", out="y")
    assert not worker.busy
    assert list(temporary.iterdir()) == []


def test_close_ends_a_running_request_with_its_process(tmp_path: Path, temporary: Path) -> None:
    worker = WorkerProcess(lambda: sys.executable)
    worker.detect(**job(tmp_path))
    until_stage(worker, "Correcting the intensity drift")
    number = worker.process_id
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert (worker.busy, worker.poll(), list(temporary.iterdir())) == (False, [], [])
    assert not (tmp_path / "out").exists()
