"""What the training panel makes of a run folder, from recorded events: sums, endings, words, orders, plots."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NO_PROCESS = 2**22 + 1
LOSS = {"event": "loss", "steps": 40, "parts": {}, "seconds_per_step": 0.2}


@pytest.fixture
def library(host, monkeypatch, tmp_path):
    """The host with the module's library on the path, and a models folder of its own."""
    host.load_module("BrainAnomalyTraining")
    monkeypatch.setenv("BRAIN_ANOMALY_MODELS", str(tmp_path / "Models"))
    return host


def write_events(folder: Path, *events: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"time": 1.0, **event}) + "\n" for event in events)
    return folder


def losses(*steps: int, validation: float | None = None) -> list[dict]:
    return [{**LOSS, "step": step, "loss": 1.0 / step, "validation": validation} for step in steps]


def monitor_of(folder: Path):
    from BrainAnomalyTrainingLib.slicer.runs.run_monitor import RunMonitor

    return RunMonitor(folder)


STARTED = {"event": "started", "command": "train", "pid": NO_PROCESS}


def test_a_resumed_training_replaces_the_steps_that_it_does_again(library, tmp_path):
    run = monitor_of(write_events(tmp_path / "run", STARTED, *losses(1, 2, 3, 4)))
    write_events(run.folder, STARTED, *losses(3))
    run.poll()
    assert sorted(run.state.losses) == [1, 2, 3]
    assert run.state.step == 3


def test_a_loss_that_is_no_number_is_left_out(library, tmp_path):
    run = monitor_of(write_events(tmp_path / "run", STARTED, {**LOSS, "step": 1, "loss": None, "validation": None}))
    assert run.state.losses == {}


def test_an_unknown_event_and_a_cut_line_do_no_harm(library, tmp_path):
    folder = write_events(tmp_path / "run", STARTED, {"event": "later invention"}, *losses(1))
    with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"time": 2.0, "event": "lo')
    run = monitor_of(folder)
    assert run.state.losses == {1: 1.0}
    with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('ss", "step": 2, "loss": 0.25, "validation": 0.5}\n')
    assert run.poll()
    assert run.state.losses == {1: 1.0, 2: 0.25}
    assert run.state.validation_losses == {2: 0.5}


@pytest.mark.parametrize(
    ("event", "phase"),
    [
        ({"event": "paused", "message": ""}, "paused"),
        ({"event": "cancelled"}, "cancelled"),
        ({"event": "error", "message": "The disk is full.", "remedy": "Free some.", "exit_code": 6}, "failed"),
        ({"event": "finished", "package": "/p", "calibration": {}}, "finished"),
        ({"event": "warning", "message": "odd"}, "lost"),
    ],
)
def test_the_last_event_says_how_a_run_has_ended(library, tmp_path, event, phase):
    assert monitor_of(write_events(tmp_path / "run", STARTED, event)).phase.value == phase


def test_a_dead_process_record_does_not_keep_a_run_alive(library, tmp_path):
    folder = write_events(tmp_path / "run", STARTED)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / "process.json").write_text(json.dumps({"pid": ended.pid, "started": 1.0}))
    assert monitor_of(folder).phase.value == "lost"


def test_a_live_process_record_is_followed_and_orders_reach_it(library, tmp_path):
    import time

    folder = write_events(tmp_path / "run", STARTED)
    (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "started": time.time()}))
    run = monitor_of(folder)
    assert run.phase.value == "running"
    run.pause()
    assert run.phase.value == "pausing"
    assert (folder / "control").read_text() == "pause"
    run.cancel()
    assert run.phase.value == "cancelling"
    (folder / "control").unlink()
    run.poll()
    assert (folder / "control").read_text() == "cancel", "an order lost to a starting command is given again"


def test_no_run_is_new_and_can_do_nothing(library):
    from BrainAnomalyTrainingLib.slicer.runs.run_monitor import RunMonitor

    run = RunMonitor.none()
    assert run.phase.value == "new"
    assert not run.can_resume
    assert not run.poll()


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "without a word"), (-9, "memory ran out"), (137, "memory ran out"), (7, "package is missing"), (99, "99")],
)
def test_exit_codes_are_told_in_words(library, code, words):
    from BrainAnomalyTrainingLib.slicer.wording import exit_sentence

    assert words in exit_sentence(code)


def test_last_words_are_neither_progress_nor_traceback(library):
    from BrainAnomalyTrainingLib.slicer.wording import last_words

    console = "Training\nTraceback (most recent call last):\n  File x\nMemoryError: no room\n[train 5 %] 3 s left\n"
    assert last_words(console + "step 3 of 40: loss 0.5\n\n") == "MemoryError: no room"
    assert last_words("") == ""


def test_a_long_loss_curve_is_thinned_to_its_means(library):
    import slicer

    from BrainAnomalyTrainingLib.slicer.runs.loss_plot import LossPlot

    plot = LossPlot(slicer.mrmlScene)
    assert not plot.is_drawn
    plot.update({step: float(step) for step in range(1, 5001)}, {5000: 2.0})
    table = slicer.util.dataframeFromTable(plot.table("training"))
    assert len(table) == 1000
    assert table["step"].tolist()[:2] == [5, 10]
    assert table["loss"].tolist()[:2] == [3.0, 8.0]
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    plot.update({1: 1.0}, {})
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    slicer.mrmlScene.RemoveNode(plot.table("training"))
    plot.update({1: 1.0, 2: 0.5}, {})
    assert plot.chart.GetNthPlotSeriesNode(0).GetTableNode() is plot.table("training")


def test_an_example_becomes_volumes_where_the_template_is(library, tmp_path):
    import slicer

    from BrainAnomalyTrainingLib.slicer.runs.example_volumes import load_example

    affine = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    image = np.random.default_rng(0).random((5, 6, 7)).astype(np.float16)
    write_example(tmp_path / "one.npz", image, affine)
    nodes = load_example(slicer.mrmlScene, tmp_path / "one.npz")
    assert np.allclose(slicer.util.arrayFromVolume(nodes["residual"]).transpose(2, 1, 0), image - image / 2, atol=1e-3)
    matrix = slicer.util.arrayFromVTKMatrix(slicer.util.vtkMatrixFromArray(affine))
    assert np.allclose(matrix, affine)
    assert np.allclose(nodes["image"].GetOrigin(), affine[:3, 3])
    again = load_example(slicer.mrmlScene, tmp_path / "one.npz")
    assert [node.GetID() for node in again.values()] == [node.GetID() for node in nodes.values()]


def write_example(path, image, affine):
    np.savez(path, image=image, pseudo_healthy=image / 2, residual=image - image / 2, affine=affine)


@pytest.mark.parametrize("damage", ["cut", "shape", "missing"])
def test_a_damaged_example_is_refused_in_words(library, tmp_path, damage):
    import slicer

    from BrainAnomalyLib.errors import ScanError
    from BrainAnomalyTrainingLib.slicer.runs.example_volumes import load_example

    path = tmp_path / "bad.npz"
    write_example(path, np.zeros((4, 4) if damage == "shape" else (4, 4, 4)), np.eye(4))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    if damage == "missing":
        path.unlink()
    with pytest.raises(ScanError, match=r"bad\.npz"):
        load_example(slicer.mrmlScene, path)


def test_jobs_say_why_they_cannot_start_and_what_they_ask_for(library, tmp_path):
    from BrainAnomalyTrainingLib.slicer.runs.requests import CohortRequest, Target, TrainingRequest

    cohort = CohortRequest(str(tmp_path), "T1w", "denoising", "paper")
    assert "no folder" in CohortRequest(str(tmp_path / "x"), "T1w", "denoising").problem()
    assert "saved in" in TrainingRequest(cohort, Target("", "m")).problem()
    assert "name" in TrainingRequest(cohort, Target(str(tmp_path), "../m")).problem()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "LICENSE").touch()
    assert "exists already" in TrainingRequest(cohort, Target(str(tmp_path), "full")).problem()
    job = TrainingRequest(cohort, Target(str(tmp_path), "m"), steps=5, exclude=("sub-1", "sub-2"))
    assert job.problem() == ""
    arguments = " ".join(job.arguments())
    assert "--preset paper --precision auto --device auto" in arguments
    assert arguments.endswith("--steps 5 --exclude sub-1 sub-2")
    job.target.run_folder.mkdir()
    (job.target.run_folder / "checkpoint.safetensors").touch()
    assert "press Resume" in job.problem()


def test_jobs_are_understood_by_the_command_line(library, tmp_path):
    from BrainAnomalyTrainingLib.slicer.runs.requests import (
        CalibrationRequest,
        CohortRequest,
        Target,
        TrainingRequest,
    )
    from BrainAnomalyTrainingLib.training_commands import PRESETS, parse

    for preset in PRESETS:
        cohort = CohortRequest(str(tmp_path), "T1w", "denoising", preset)
        assert parse(cohort.arguments()).run == cohort.run_folder
        job = TrainingRequest(cohort, Target(str(tmp_path), "m"), steps=5, exclude=("sub-1",))
        options = parse(job.arguments())
        assert (options.run, options.steps, options.exclude) == (job.target.run_folder, 5, ["sub-1"])
    source = tmp_path / "package"
    again = CalibrationRequest(cohort, str(source), job.target, exclude=("sub-1",), site="Ward 3")
    assert "no package" in again.problem()
    options = parse(again.arguments())
    assert (options.package, options.folder, options.out) == (source, tmp_path, job.target.package)
    assert (options.site, options.exclude, options.contrast) == ("Ward 3", ["sub-1"], "T1w")
