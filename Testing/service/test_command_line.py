"""The command line: options, exit codes, one sentence per error, clean streams."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from BrainAnomalyLib.cli import main as command_line
from BrainAnomalyLib.cli.main import main, parse, progress_lines, run_command
from BrainAnomalyLib.detectors.registry import detector_names
from BrainAnomalyLib.errors import (
    BrainAnomalyError,
    Cancelled,
    OutputError,
    PackageError,
    PreparationError,
    ScanError,
)
from BrainAnomalyLib.output.folder import summary
from BrainAnomalyLib.service import jobs
from BrainAnomalyLib.service.jobs import DetectionJob, Outcome, in_plain_words, job_from_json
from engine_process import engine, variables
from made_detection import made_detection
from synthetic import AWKWARD, noise, save_nifti


def run(*arguments: str) -> tuple[int, str, str]:
    output, messages = io.StringIO(), io.StringIO()
    return run_command(parse(arguments), output, messages), output.getvalue(), messages.getvalue()


@pytest.fixture
def jobs_seen(monkeypatch: pytest.MonkeyPatch) -> list[DetectionJob]:
    """Replace the engine by a detection made by hand and note what was asked of it."""
    seen: list[DetectionJob] = []

    def made(job: DetectionJob, progress) -> Outcome:
        seen.append(job)
        progress("Finding the brain", 0.051)
        return Outcome(job.out, {**summary(made_detection()), "files": ["overview.png", "findings.csv"]})

    monkeypatch.setattr(command_line, "run_job", made)
    return seen


def test_every_option_reaches_the_job(jobs_seen: list[DetectionJob]) -> None:
    options = "--detector histogram --package p --threshold 2.5 --minimum-size 30 --mask m.nii --brain-mask stripped"
    run("detect", "s.nii", "--out", "o", *options.split(), "--contrast", "FLAIR", "--device", "cpu", "--no-pictures")
    expected = DetectionJob(
        Path("s.nii"), Path("o"), "histogram", Path("p"), 2.5, 30.0, Path("m.nii"), "stripped", "FLAIR", "cpu", False
    )
    assert jobs_seen == [expected]


def test_defaults(jobs_seen: list[DetectionJob]) -> None:
    run("detect", "s.nii", "--out", "o")
    assert jobs_seen == [DetectionJob(Path("s.nii"), Path("o"))]

    assert DetectionJob(Path("s"), Path("o"), "histogram", contrast="T1w").detector_name == "histogram"


def test_report_for_a_person(jobs_seen: list[DetectionJob]) -> None:
    code, output, messages = run("detect", "s.nii", "--out", "results")
    assert code == 0
    assert "2 findings, 0.42 mL in total" in output
    assert "Threshold 3 (chosen by the test)" in output
    assert "Warning: Only a test." in output
    assert "Results: results" in output
    assert str(Path("results") / "overview.png") in output
    assert output.endswith("For research, not for diagnosis.\n")
    assert messages == "[  5 %] Finding the brain\n"


def test_json_for_a_program(jobs_seen: list[DetectionJob]) -> None:
    code, output, messages = run("detect", "s.nii", "--out", "results", "--json", "--quiet")
    assert code == 0
    assert json.loads(output)["folder"] == "results"
    assert len(json.loads(output)["findings"]) == 2
    assert messages == ""


def failing(error: BaseException):
    def fail(*arguments: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ScanError("A.", "B."), 3),
        (PackageError("A.", "B."), 4),
        (PreparationError("A.", "B."), 5),
        (OutputError("A.", "B."), 6),
        (Cancelled("A.", "B."), 130),
        (BrainAnomalyError("A.\n", "B."), 1),
    ],
)
def test_one_sentence_and_the_right_exit_code(monkeypatch, error: Exception, code: int) -> None:
    monkeypatch.setattr(command_line, "run_job", failing(error))
    assert run("detect", "s", "--out", "o") == (code, "", "error: A. B.\n")


def test_faults_of_the_program_show_a_traceback_only_for_debugging(monkeypatch) -> None:
    monkeypatch.setattr(command_line, "run_job", failing(ZeroDivisionError("by\nzero")))
    code, _, messages = run("detect", "s", "--out", "o")
    assert code == 70
    assert messages == "error: BrainAnomaly failed unexpectedly (ZeroDivisionError: by zero). Please report this.\n"
    code, _, messages = run("detect", "s", "--out", "o", "--debug")
    assert code == 70
    assert "Traceback" in messages


def test_other_failures_in_plain_words() -> None:
    assert in_plain_words(KeyboardInterrupt()).exit_code == 130
    assert "memory" in in_plain_words(MemoryError()).sentence().lower()
    missing = in_plain_words(ModuleNotFoundError("No module named 'monai'", name="monai"))
    assert (missing.exit_code, missing.message) == (7, "The Python package 'monai' is not installed.")
    own = in_plain_words(ModuleNotFoundError("No module", name="BrainAnomalyLib.nothing"))
    assert own.exit_code == 70


def test_detectors_are_listed() -> None:
    code, output, _ = run("detectors")
    assert code == 0
    assert "histogram    Histogram equalization (Meissen); for FLAIR, T2w; threshold 0.98" in output
    assert [line.split()[0] for line in output.splitlines()] == list(detector_names())


def test_the_demonstration_says_where_its_results_are(tmp_path: Path, monkeypatch) -> None:
    def made(folder: Path, progress) -> str:
        (folder / "results").mkdir(parents=True)
        (folder / "results" / "overview.png").touch()
        return "Found what was put in."

    monkeypatch.setattr("BrainAnomalyLib.cli.demo.run_demo", made)
    code, output, _ = run("demo", "--out", str(tmp_path / "demo"))
    assert code == 0
    assert output.splitlines()[0] == "Found what was put in."
    assert f"Results:  {tmp_path / 'demo'}" in output
    assert str(tmp_path / "demo" / "results" / "overview.png") in output


def test_progress_lines_are_aligned() -> None:
    stream = io.StringIO()
    report = progress_lines(stream)
    report("Start", 0.0)
    report("Half", 0.5)
    report("End", 1.0)
    assert stream.getvalue() == "[  0 %] Start\n[ 50 %] Half\n[100 %] End\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["detect"], ["detect", "s"], ["detect", "s", "--out", "o", "--threshold", "x"], ["nothing"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_jobs_from_json() -> None:
    job = job_from_json({"scan": "s", "out": "o", "threshold": 2, "pictures": False, "mask": None})
    assert job == DetectionJob(Path("s"), Path("o"), threshold=2.0, pictures=False)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"scan": "s"}, "'out' is missing"),
        ({"scan": "s", "out": ""}, "'out' must be a text"),
        ({"scan": "s\0", "out": "o"}, "'scan' must be a text"),
        ({"scan": 5, "out": "o"}, "'scan' must be a text"),
        ({"scan": "s", "out": "o", "treshold": 1}, "Unknown options: treshold"),
        ({"scan": "s", "out": "o", "threshold": "1"}, "must be a number"),
        ({"scan": "s", "out": "o", "threshold": True}, "must be a number"),
        ({"scan": "s", "out": "o", "pictures": 1}, "must be true or false"),
        ({"scan": "s", "out": "o", "contrast": "T9"}, "cannot be 'T9'"),
        ({"scan": "s", "out": "o", "brain_mask_method": ["auto"]}, "cannot be"),
    ],
)
def test_jobs_from_json_that_does_not_fit(values: dict, sentence: str) -> None:
    with pytest.raises(BrainAnomalyError, match=sentence):
        job_from_json(values)


def test_the_output_folder_is_checked_before_the_work(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "read_scan", failing(AssertionError("must not be read")))
    (tmp_path / "thesis.tex").touch()
    code, _, messages = run("detect", "s", "--out", str(tmp_path), "--quiet")
    assert code == 6
    assert "holds other files" in messages


def test_a_bad_scan_through_the_real_process(tmp_path: Path) -> None:
    path = tmp_path / AWKWARD / "skén.mha"
    path.parent.mkdir(parents=True)
    path.write_text("no scan", encoding="utf-8")
    ended = engine("detect", path, "--out", tmp_path / "out", "--detector", "histogram", "--quiet")
    assert ended.returncode == 3
    assert ended.stdout == b""
    assert ended.stderr.decode("utf-8").startswith("error: 'skén.mha' cannot be read")
    assert ended.stderr.count(b"\n") == 1
    assert not (tmp_path / "out").exists()


def test_wrong_usage_and_help_through_the_real_process() -> None:
    ended = engine("detect", "--nothing")
    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    ended = engine("--help")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"detect" in ended.stdout


def _heed_interrupts() -> None:
    """Undo what a shell does to background jobs: there interrupts are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_and_leave_nothing(tmp_path: Path, number: int, code: int) -> None:
    scan = save_nifti(tmp_path / "in" / "scan.nii.gz", noise((120, 120, 120)))
    mask = save_nifti(tmp_path / "in" / "mask.nii.gz", (noise((120, 120, 120)) > 500).astype("u1"))
    arguments = ["detect", scan, "--out", tmp_path / "out", "--detector", "histogram", "--mask", mask]
    command = [sys.executable, "-m", "BrainAnomalyLib", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables(), preexec_fn=_heed_interrupts
    ) as process:
        assert any(b"Correcting" in line for line in process.stderr)
        time.sleep(0.2)
        process.send_signal(number)
        output, messages = process.communicate(timeout=120)
    assert process.returncode == code
    assert output == b""
    assert b"Traceback" not in messages
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("module", ["BrainAnomalyLib", "BrainAnomalyTrainingLib"])
def test_a_reader_that_goes_away_is_no_fault(module: str) -> None:
    """As with ``| head``: exit code 141, and nothing on standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", module, "detectors"]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env={**variables(), **paths}, timeout=120, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_usage_names_the_program_as_it_was_called(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for called, shown in (("/usr/bin/brain-anomaly", "brain-anomaly"), ("__main__.py", "python -m BrainAnomalyLib")):
        monkeypatch.setattr(sys, "argv", [called])
        with pytest.raises(SystemExit):
            parse(["--help"])
        assert capsys.readouterr().out.startswith(f"usage: {shown} ")
