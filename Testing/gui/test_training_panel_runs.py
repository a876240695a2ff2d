"""The training panel driven as a user does, with the real commands on a small folder of made healthy scans."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from healthy_folder import BROKEN, SUBJECTS, make_healthy_folder

ROOT = Path(__file__).resolve().parents[2]
# Generous: continuous integration shares two cores between all of this.
SECONDS = 400.0
STEPS = 16
DETECTOR = "Scale-space autoencoder"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One place for all tests of this file, so that the scans are prepared only once."""
    folder = tmp_path_factory.mktemp("Forscher Zoë")
    make_healthy_folder(folder / "healthy")
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch, home, host):
    """The user's models in a temporary folder, and no run of an earlier test in the settings."""
    import qt

    monkeypatch.setenv("BRAIN_ANOMALY_MODELS", str(home / "Models"))
    # On few cores that others use too, several threads wait for each other.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    qt.QSettings().remove("BrainAnomalyTraining/RunFolder")


@pytest.fixture
def widget(host):
    """The open module; what it started is ended afterwards."""
    opened = host.open("BrainAnomalyTraining")
    panel = opened.panel
    yield opened
    end(panel.monitor)


@pytest.fixture
def opened_again(host, widget):
    """Closes the panel and gives a new one, as after a restart of the application; the scene stays."""
    made = []

    def opened():
        widget.cleanup()
        made.append(type(widget)())
        made[-1].enter()
        return host.show(made[-1])

    yield opened
    for one in made:
        one.cleanup()
        one.parent.hide()
        one.parent.deleteLater()


def end(monitor):
    from BrainAnomalyLib.service.workplace import running_process
    from BrainAnomalyTrainingLib.slicer.runs.child_process import kill_tree

    process = running_process(monitor.folder)
    if process is not None:
        kill_tree(process, process)


def phase(widget):
    return widget.panel.monitor.phase.value


def wait_for(host, widget, *phases):
    host.wait(lambda: phase(widget) in phases, SECONDS, f"{phases}; {widget.panel.monitor.console()[-2000:]}")


def wait_for_step(host, widget, step):
    monitor = widget.panel.monitor
    host.wait(lambda: monitor.state.step >= step or not monitor.phase.is_alive, SECONDS, f"step {step}")
    assert monitor.phase.is_alive, widget.ui.messageLabel.text


def fill_in(host, widget, home, name, folder="healthy"):
    ui = widget.ui
    ui.cohortPathLineEdit.currentPath = str(home / folder)
    host.choose(ui.detectorComboBox, DETECTOR)
    host.choose(ui.deviceComboBox, "cpu")
    ui.stepsSpinBox.value = STEPS
    ui.outputPathLineEdit.currentPath = str(home)
    host.type(ui.packageNameLineEdit, name)


def cells(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount)]


def tick(widget, subject, checked):
    import qt

    from BrainAnomalyTrainingLib.slicer.cohort_view import EXCLUDE, SUBJECT

    table = widget.ui.cohortTable
    row = cells(table, SUBJECT).index(subject)
    table.item(row, EXCLUDE).setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)


def test_the_check_shows_every_scan_with_its_picture_and_keeps_what_is_excluded(host, widget, opened_again, home):
    import qt
    import slicer

    from BrainAnomalyTrainingLib.slicer.cohort_view import (
        BRAIN,
        EXCLUDE,
        NOTE,
        REGISTRATION,
        SUBJECT,
    )

    ui = widget.ui
    fill_in(host, widget, home, "checked")
    host.click(ui.checkCohortButton)
    assert not ui.checkCohortButton.enabled
    assert not ui.cohortPathLineEdit.enabled
    assert not ui.pauseButton.enabled
    wait_for(host, widget, "finished", "failed", "lost")
    assert phase(widget) == "finished", ui.messageLabel.text
    summary = ui.cohortSummaryLabel.text
    assert summary.startswith(f"{len(SUBJECTS)} of {len(SUBJECTS) + 1} scans can be used. Skipped: 1")
    table = ui.cohortTable
    rows = dict(zip(cells(table, SUBJECT), range(table.rowCount), strict=True))
    assert sorted(rows) == [*SUBJECTS, BROKEN]
    good = rows["sub-01"]
    assert table.item(good, NOTE).text() == ""
    assert 1000.0 < float(table.item(good, BRAIN).text()) < 2500.0
    assert table.item(good, REGISTRATION).text() in ("good", "doubtful")
    assert table.item(rows[BROKEN], NOTE).text() != ""
    assert not table.item(rows[BROKEN], EXCLUDE).flags() & qt.Qt.ItemIsEnabled
    host.click_cell(table, good, SUBJECT)
    host.show(widget)
    assert ui.thumbnailLabel.height > 200
    assert ui.thumbnailCaption.text.startswith("sub-01: T1w, 2 × 2 × 2 mm. Orange: ")
    host.click_cell(table, rows[BROKEN], SUBJECT)
    assert ui.thumbnailLabel.text == "This scan has no picture."
    tick(widget, "sub-03", checked=True)
    assert widget.logic.getParameterNode().excluded == ["sub-03"]
    again = opened_again()
    assert again.ui.cohortTable.rowCount == len(SUBJECTS) + 1
    assert again.ui.cohortTable.item(rows["sub-03"], EXCLUDE).checkState() == qt.Qt.Checked
    slicer.mrmlScene.Clear(0)
    assert widget.logic.getParameterNode().excluded == []


def test_a_training_pauses_resumes_finishes_and_its_package_is_used(host, widget, home):
    import qt
    import slicer

    from BrainAnomalyLib.models.store import list_models

    ui = widget.ui
    fill_in(host, widget, home, "complete")
    assert ui.startButton.enabled, ui.startButton.toolTip
    host.click(ui.startButton)
    assert ui.startButton.toolTip == "A run is going on."
    wait_for_step(host, widget, 2)
    assert "Step" in ui.lossLabel.text
    host.click(ui.pauseButton)
    wait_for(host, widget, "paused", "finished", "failed", "lost")
    assert phase(widget) == "paused", ui.messageLabel.text
    paused_at = widget.panel.monitor.state.step
    assert paused_at < STEPS
    assert "press Resume" in ui.startButton.toolTip
    host.click(ui.resumeButton)
    wait_for_step(host, widget, paused_at + 1)
    host.click(ui.showLossButton)
    wait_for(host, widget, "finished", "failed", "lost")
    assert phase(widget) == "finished", ui.messageLabel.text
    check_loss_curve(widget)
    check_example(host, widget)
    assert "Default threshold" in ui.calibrationLabel.text
    assert "mL of findings" in ui.calibrationLabel.text
    host.click(ui.useButton)
    assert slicer.util.selectedModule() == "BrainAnomaly"
    assert [model.problem for model in list_models() if model.key == "complete"] == [""]
    assert slicer.modules.BrainAnomalyWidget.panel.models.chosen().key == "complete"
    host.open("BrainAnomalyTraining")
    host.click(ui.logButton)
    host.click(ui.copyLogButton)
    copied = qt.QApplication.clipboard().text()
    assert "python -m BrainAnomalyTrainingLib train" in copied
    assert copied.count("train started") == 2
    assert copied.rstrip().endswith("among the models of Brain Anomaly.")
    assert "exists already" in ui.startButton.toolTip
    check_new_calibration(host, widget, home)


def check_new_calibration(host, widget, home):
    from BrainAnomalyLib.packages.read import read_package

    ui = widget.ui
    assert ui.calibrateButton.toolTip == "Choose the package to calibrate first."
    ui.calibratePathLineEdit.currentPath = str(home / "complete")
    widget.logic.getParameterNode().packageName = "calibrated again"
    assert "letters" in ui.calibrateButton.toolTip
    widget.logic.getParameterNode().packageName = "calibrated-again"
    host.type(ui.siteLineEdit, "Ward 3")
    widget.logic.getParameterNode().excluded = list(SUBJECTS[2:])
    host.click(ui.calibrateButton)
    wait_for(host, widget, "finished", "failed", "lost")
    assert phase(widget) == "finished", ui.messageLabel.text
    assert "Ward 3" in ui.calibrationLabel.text
    assert read_package(home / "calibrated-again").metadata["calibration"]["scans"] == 2


def check_loss_curve(widget):
    import slicer

    from BrainAnomalyTrainingLib.slicer.runs.loss_plot import LossPlot

    plot = LossPlot(slicer.mrmlScene)
    table = slicer.util.dataframeFromTable(plot.table("training"))
    assert table["step"].tolist() == list(range(1, STEPS + 1))
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert plot.table("validation").GetNumberOfRows() > 0
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == plot.chart.GetID()


def check_example(host, widget):
    import slicer

    host.show(widget)
    assert widget.ui.exampleLabel.height > 200
    host.click(widget.ui.showExampleButton)
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    background = slicer.mrmlScene.GetNodeByID(shown.GetBackgroundVolumeID())
    foreground = slicer.mrmlScene.GetNodeByID(shown.GetForegroundVolumeID())
    assert (background.GetName(), foreground.GetName()) == (
        "Training example scan",
        "Training example expected healthy",
    )
    assert slicer.util.arrayFromVolume(background).max() > 0.5


def test_a_training_outlives_the_panel_and_goes_on_after_it_was_killed(host, widget, opened_again, home):
    fill_in(host, widget, home, "killed")
    widget.panel._settings.parameters.excluded = ["sub-02"]
    host.click(widget.ui.startButton)
    wait_for_step(host, widget, 3)
    folder, first = widget.panel.monitor.folder, widget.panel.monitor
    again = opened_again()
    assert again.panel.monitor is not first
    assert (again.panel.monitor.folder, phase(again)) == (folder, "running")
    assert again.ui.pauseButton.enabled
    assert again.ui.cohortPathLineEdit.currentPath == str(home / "healthy")
    process = again.panel.monitor.process_id
    os.kill(process, signal.SIGKILL)
    wait_for(host, again, "lost")
    assert "memory ran out" in again.ui.messageLabel.text
    assert "Resume" in again.ui.messageLabel.text
    reached = again.panel.monitor.state.step
    host.click(again.ui.resumeButton)
    wait_for_step(host, again, reached + 1)
    assert min(again.panel.monitor.state.losses) == 1
    assert not any("sub-02" in path and scan["status"] != "skipped" for path, scan in scans_of(again))
    host.click(again.ui.cancelButton)
    wait_for(host, again, "cancelled")
    assert not again.ui.cancelButton.enabled
    assert again.ui.resumeButton.enabled
    assert not (home / "killed").exists()


def scans_of(widget):
    return widget.panel.monitor.state.scans.items()


def test_a_command_that_does_not_follow_a_cancel_is_ended(host, widget, home, monkeypatch):
    from BrainAnomalyTrainingLib.slicer.runs import run_monitor

    monkeypatch.setattr(run_monitor, "GRACE_SECONDS", 1.0)
    fill_in(host, widget, home, "stubborn")
    host.click(widget.ui.startButton)
    host.wait(lambda: phase(widget) == "running", SECONDS, "the process")
    process = widget.panel.monitor.process_id
    os.kill(process, signal.SIGSTOP)
    host.click(widget.ui.cancelButton)
    assert phase(widget) == "cancelling"
    wait_for(host, widget, "cancelled")
    assert widget.ui.messageLabel.text.startswith("Cancelled.")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_cancel_right_after_the_start_is_not_lost(host, widget, home):
    fill_in(host, widget, home, "hasty")
    host.click(widget.ui.startButton)
    assert phase(widget) == "starting"
    host.click(widget.ui.cancelButton)
    wait_for(host, widget, "cancelled", "finished", "failed", "lost")
    assert phase(widget) == "cancelled"
    assert not (home / "hasty").exists()


def test_an_empty_folder_is_refused_by_the_check_in_words(host, widget, home):
    (home / "empty").mkdir()
    fill_in(host, widget, home, "nothing", "empty")
    host.click(widget.ui.checkCohortButton)
    wait_for(host, widget, "failed", "finished", "lost")
    assert phase(widget) == "failed"
    assert "holds no healthy scan" in widget.ui.messageLabel.text
    assert widget.ui.checkCohortButton.enabled
    assert widget.ui.cohortTable.rowCount == 0


def test_a_missing_torch_is_told_in_words(host, widget, home, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fill_in(host, widget, home, "torchless")
    host.click(widget.ui.startButton)
    wait_for(host, widget, "failed", "finished", "lost")
    assert phase(widget) != "finished"
    assert "'torch'" in widget.ui.messageLabel.text
    assert "Setup section of Brain Anomaly" in widget.ui.messageLabel.text
    assert "'torch'" in widget.ui.logTextEdit.toPlainText()


def test_a_missing_folder_is_named_by_the_button(host, widget):
    host.type(widget.ui.cohortPathLineEdit, "/nowhere/at/all/")
    assert not widget.ui.checkCohortButton.enabled
    assert widget.ui.checkCohortButton.toolTip == "There is no folder '/nowhere/at/all/'."
    assert widget.logic.getParameterNode().cohortFolder == "/nowhere/at/all/"


def test_a_scene_brings_its_settings_and_a_closed_one_takes_them_along(host, widget, home):
    import slicer

    fill_in(host, widget, home, "kept")
    slicer.mrmlScene.Clear(0)
    assert widget.ui.cohortPathLineEdit.currentPath == ""
    assert widget.ui.stepsSpinBox.value == 0
    assert widget.ui.packageNameLineEdit.text == ""
    assert not widget.ui.startButton.enabled
    widget.logic.getParameterNode().cohortFolder = str(home / "healthy")
    assert widget.ui.cohortPathLineEdit.currentPath == str(home / "healthy")


def test_opening_the_module_imports_neither_torch_nor_monai():
    program = """
import sys
sys.path[:0] = [{gui!r}]
from host import installed
with installed() as host:
    host.open("BrainAnomalyTraining")
    heavy = [name for name in ("torch", "monai", "SimpleITK", "matplotlib", "accelerate") if name in sys.modules]
    raise SystemExit(", ".join(heavy + host.record.problems) or 0)
"""
    libraries = os.pathsep.join(str(ROOT / name) for name in ("BrainAnomaly", "BrainAnomalyTraining"))
    environment = {**os.environ, "PYTHONPATH": libraries}
    command = [sys.executable, "-c", program.format(gui=str(ROOT / "Testing" / "gui"))]
    opened = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert opened.returncode == 0, opened.stderr
