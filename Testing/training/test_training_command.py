"""``python -m BrainAnomalyTrainingLib``: from a folder of healthy scans to a package, interrupted and resumed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from BrainAnomalyLib.detection import detect
from BrainAnomalyLib.detectors.registry import load_detector, trainable_names
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyLib.service.workplace import running_process
from BrainAnomalyTrainingLib.run.run_folder import ask, read_events
from BrainAnomalyTrainingLib.training_commands import main
from engine_process import training_variables
from prepared_cohorts import COARSE, coarse_brain
from synthetic import AWKWARD, save_nifti

TINY = {"channels": [4, 8], "strides": [2], "residual_units": 1, "crop": [32, 32, 32], "passes": 2}
SUBJECTS = 7


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Healthy scans, and below ``work`` what their preparation left for every test."""
    root = tmp_path_factory.mktemp("study") / AWKWARD
    for number in range(SUBJECTS):
        path = root / "scans" / f"sub-{number:02d}_FLAIR.nii.gz"
        save_nifti(path, coarse_brain(number), COARSE.affine)
    config = root / "tiny.json"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    return root


def arguments(study: Path, out: Path, *more: object, detector: str = "denoising") -> list[str]:
    fixed = ["train", study / "scans", "--detector", detector, "--out", out, "--cache", study / "cache"]
    options = ["--workers", 1, "--device", "cpu", "--quiet"]
    own = ["--config", study / "tiny.json", "--batch", 2] if detector == "denoising" else ["--preset", "small"]
    return [str(part) for part in (*fixed, *options, *own, *more)]


def events(run: Path) -> list[dict]:
    return read_events(run / "events.jsonl")[0]


def named(run: Path, name: str) -> list[dict]:
    return [event for event in events(run) if event["event"] == name]


def start(command: list[str]) -> subprocess.Popen:
    program = [sys.executable, "-m", "BrainAnomalyTrainingLib", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(program, env=training_variables(), stdout=pipe, stderr=pipe, text=True)


def wait_for(condition, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def weights(package: Path) -> dict[str, torch.Tensor]:
    return read_package(package).weights()


@pytest.fixture(scope="module")
def trained(study: Path) -> Path:
    """A package of 12 uninterrupted steps."""
    out = study / "packages" / "whole"
    assert main(arguments(study, out, "--steps", 12, "--site", "Klinik Ü", "--license", "CC0-1.0")) == 0
    return out


def test_a_folder_becomes_a_package_that_detects(trained, study):
    package = read_package(trained)
    metadata = package.metadata
    assert metadata["contrasts"] == ["FLAIR"]
    assert metadata["cohort"]["scans"] + metadata["calibration"]["scans"] < SUBJECTS
    assert metadata["calibration"]["site"] == "Klinik Ü"
    assert (metadata["license"], metadata["training"]["steps"]) == ("CC0-1.0", 12)
    assert "For research, not for diagnosis." in (trained / "docs" / "README.md").read_text(encoding="utf-8")
    image = coarse_brain(99)
    found = detect(Scan(image, COARSE, "FLAIR", "new"), load_detector("denoising", trained, "cpu"))
    assert found.anomaly.shape == image.shape
    assert found.guard is not None
    assert found.guard.scans == metadata["calibration"]["scans"]
    assert {score.name for score in found.guard.scores} >= {"appearance", "max_anomaly"}


def test_the_run_folder_tells_the_whole_story(trained):
    run = trained.with_name("whole.training")
    told = [event["event"] for event in events(run)]
    assert told[0] == "started"
    assert told[-1] == "finished"
    stages = [event["stage"] for event in named(run, "stage")]
    assert stages == ["find", "prepare", "train", "calibrate", "export"]
    assert [event["step"] for event in named(run, "loss")] == list(range(1, 13))
    assert {event["status"] for event in named(run, "scan")} <= {"prepared", "cached"}
    example = named(run, "example")[-1]
    with np.load(run / example["volume"], allow_pickle=False) as volumes:
        shapes = {name: volumes[name].shape for name in ("image", "pseudo_healthy", "residual", "affine")}
    assert shapes == {**dict.fromkeys(("image", "pseudo_healthy", "residual"), (96, 112, 96)), "affine": (4, 4)}
    assert (run / example["picture"]).stat().st_size > 1000
    assert list((run / "tensorboard").glob("events.*"))
    assert running_process(run) is None
    assert not list(run.glob("calibration-*"))


def test_a_killed_training_goes_on_and_ends_where_a_whole_one_does(trained, study):
    out = study / "packages" / "killed"
    run = out.with_name("killed.training")
    command = arguments(study, out, "--steps", 12)
    process = start(command)
    wait_for(lambda: (run / "checkpoint.safetensors").is_file() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    assert (run / "process.json").is_file()
    assert running_process(run) is None
    assert main(command) == 0
    own, whole = weights(out), weights(trained)
    assert all(torch.equal(own[name], value) for name, value in whole.items())


def test_pause_and_resume_and_the_settings_that_must_not_change(study, capsys):
    out = study / "packages" / "paused"
    run = out.with_name("paused.training")
    process = start(arguments(study, out, "--steps", 400))
    wait_for(lambda: bool(named(run, "loss")) or process.poll() is not None)
    ask(run, "pause")
    assert process.wait(timeout=120) == 0, process.stderr.read()
    process.communicate()
    assert events(run)[-1]["event"] == "paused"
    assert not out.exists()
    assert main(arguments(study, out, "--steps", 500)) == 6
    assert "other settings (steps)" in capsys.readouterr().err
    assert main(arguments(study, out, "--steps", 400, "--minutes", 0.02)) == 0
    assert 1 < read_package(out).metadata["training"]["steps"] < 400


def test_a_request_to_end_leaves_no_lock_and_says_so(study):
    out = study / "packages" / "ended"
    run = out.with_name("ended.training")
    process = start(arguments(study, out, "--steps", 400))
    wait_for(lambda: bool(named(run, "loss")) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert events(run)[-1]["event"] == "error"
    assert "ended by the system" in events(run)[-1]["message"]
    assert not (run / "process.json").exists()


def test_two_processes_train_one_package(study):
    out = study / "packages" / "two"
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program += ["--log-dir", str(study / "logs")]
    command = [*program, "-m", "BrainAnomalyTrainingLib", *arguments(study, out, "--steps", 4)]
    done = subprocess.run(command, env=training_variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [event["step"] for event in named(out.with_name("two.training"), "loss")] == [1, 2, 3, 4]
    assert read_package(out).metadata["training"]["steps"] == 4


def test_statistics_are_fitted_by_the_same_command(study):
    out = study / "packages" / "statistics"
    assert main(arguments(study, out, detector="voxel_z_score")) == 0
    metadata = read_package(out).metadata
    assert metadata["detector"] == "voxel_z_score"
    assert metadata["training"]["steps"] == 0
    detector = load_detector("voxel_z_score", out, "cpu")
    assert detector.threshold.value > 0.0


def test_a_site_calibrates_a_package_again(trained, study):
    out = study / "packages" / "site"
    command = ["calibrate", trained, study / "scans", "--out", out, "--cache", study / "cache", "--site", "Ward 7"]
    assert main([str(part) for part in (*command, "--workers", 1, "--device", "cpu", "--quiet")]) == 0
    fresh = read_package(out)
    assert fresh.metadata["calibration"]["scans"] == SUBJECTS
    assert fresh.metadata["calibration"]["site"] == "Ward 7"
    assert all(torch.equal(fresh.weights()[name], value) for name, value in weights(trained).items())


def test_prepare_checks_a_cohort_and_leaves_out_who_is_excluded(study, capsys):
    run = study / "check"
    command = ["prepare", study / "scans", "--run", run, "--cache", study / "cache", "--exclude", "sub-00", "sub-01"]
    assert main([str(part) for part in (*command, "--workers", 1, "--quiet")]) == 0
    assert f"{SUBJECTS - 2} scans are prepared" in capsys.readouterr().out
    reports = {event["subject"]: event for event in named(run, "scan")}
    assert reports["sub-00"]["status"] == "skipped"
    assert (run / reports["sub-02"]["thumbnail"]).is_file()
    assert events(run)[-1]["event"] == "finished"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no "),
        (["sub-01_FLAIR.nii.gz"], "at least"),
        (["sub-01_T1w.nii.gz", "sub-02_FLAIR.nii.gz", "sub-03_T1w.nii.gz"], "--contrast"),
    ],
)
def test_cohorts_that_cannot_be_trained_on_are_refused_in_plain_words(names, words, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate(names):
        save_nifti(folder / name, coarse_brain(number), COARSE.affine)
    command = ["train", folder, "--detector", "denoising", "--out", tmp_path / "package", "--quiet"]
    assert main([str(part) for part in command]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error.lower()
    assert len(error.splitlines()) == 1
    assert events(tmp_path / "package.training")[-1]["event"] == "error"


def test_an_existing_package_is_never_overwritten(trained, study, capsys):
    assert main(arguments(study, trained, "--run", study / "other-run")) == 6
    assert "exists already" in capsys.readouterr().err


def test_impossible_settings_are_refused(study, tmp_path, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text('{"crop": [33, 33, 33]}')
    assert main([*arguments(study, tmp_path / "p"), "--config", str(bad)]) == 4
    bad.write_text('{"no such entry": 1}')
    assert main([*arguments(study, tmp_path / "p"), "--config", str(bad)]) == 4
    bad.write_text("[]")
    assert main([*arguments(study, tmp_path / "p"), "--config", str(bad)]) == 2
    assert main([*arguments(study, tmp_path / "p"), "--steps", "-3"]) == 2
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path), "--detector", "tissue", "--out", str(tmp_path / "p")])
    assert "error:" in capsys.readouterr().err


def test_detectors_lists_every_family_with_its_size(capsys):
    assert main(["detectors", "--json"]) == 0
    families = {family["name"]: family for family in json.loads(capsys.readouterr().out)}
    assert tuple(families) == trainable_names()
    assert families["denoising"]["presets"]["paper"]["parameters"] == 1_185_818
    assert all(preset["parameters"] > 0 for family in families.values() for preset in family["presets"].values())
    assert main(["detectors"]) == 0
    assert "Luo" in capsys.readouterr().out


def test_a_scan_with_a_lesion_mask_is_not_healthy(study, tmp_path):
    folder = tmp_path / "scans"
    for number in range(5):
        save_nifti(folder / f"sub-{number:02d}_FLAIR.nii.gz", coarse_brain(number), COARSE.affine)
    save_nifti(folder / "sub-03_lesion.nii.gz", (coarse_brain(3) > 0).astype(np.uint8), COARSE.affine)
    run = tmp_path / "run"
    command = ["prepare", folder, "--run", run, "--cache", study / "cache", "--workers", 1, "--quiet"]
    assert main([str(part) for part in command]) == 0
    skipped = [event for event in named(run, "scan") if event["status"] == "skipped"]
    assert [event["subject"] for event in skipped] == ["sub-03"]
    assert "lesion" in skipped[0]["reason"]
