"""Detect and cancel in the panel: the real engine in a real worker process, and what may happen meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import slicer
from panel_cases import (
    LESION_CENTER,
    add_brain,
    add_volume,
    brain,
    choose_model,
    detect,
    ready,
    wait_for_end,
    wait_for_stage,
)

HERE = Path(__file__).resolve().parent
DRIFT, ALIGNING = "Correcting the intensity drift", "Aligning"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, with letters that break careless path handling."""
    folder = tmp_path / "Ünï çødé Lékař 脳"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def panel(host, temporary):
    return host.open("BrainAnomaly")


def left_behind(temporary: Path, kind: str) -> list[str]:
    return [path.name for path in temporary.glob(f"brain-anomaly-{kind}-*")]


def assert_gone(number: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_opening_the_module_imports_neither_torch_nor_monai():
    program = f"""
import sys
sys.path[:0] = [{str(HERE)!r}]
from host import installed
with installed() as host:
    panel = host.open("BrainAnomaly")
    heavy = [name for name in ("torch", "monai", "SimpleITK", "matplotlib", "highdicom") if name in sys.modules]
    assert panel.ui.detectButton.text == "Detect anomalies"
    assert host.record.problems == [], host.record.problems
    print("heavy:", heavy)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("heavy: []")


def test_without_its_packages_the_module_opens_and_explains_itself(tmp_path):
    program = f"""
import sys
for name in ("torch", "monai", "SimpleITK", "jsonschema", "matplotlib"):
    sys.modules[name] = None
sys.path[:0] = [{str(HERE)!r}]
from host import installed
with installed() as host:
    panel = host.open("BrainAnomaly")
    said = panel.ui.messageLabel.text
    assert all(name in said for name in ("torch", "monai", "SimpleITK", "jsonschema")), said
    assert "Setup" in said
    assert "monai: missing" in panel.ui.setupStatusLabel.text
    assert panel.ui.installButton.enabled
    assert "cannot be used" in panel.ui.modelComboBox.itemText(panel.ui.modelComboBox.count - 1)
    assert host.record.problems == [], host.record.problems
"""
    environment = {**os.environ, "BRAIN_ANOMALY_MODELS": str(tmp_path)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr


def test_stage_fraction_and_time_left_are_said(panel):
    from BrainAnomalyLib.slicer.panel.run.detection_runner import RunProgress

    panel.panel.onProgress(RunProgress("Aligning with the template", 0.25, 41.0))
    assert panel.ui.stageLabel.text == "Aligning with the template, 25%, about 41 s left"
    assert panel.ui.progressBar.value == 250
    panel.panel.onProgress(RunProgress("Reading the scan", 0.5, None))
    assert panel.ui.stageLabel.text == "Reading the scan, 50%"


def test_the_button_says_why_it_is_off(panel):
    assert not panel.ui.detectButton.enabled
    assert panel.ui.detectButton.toolTip == "Choose a scan first."
    panel.ui.inputSelector.setCurrentNode(add_brain())
    assert panel.ui.detectButton.enabled
    panel.ui.inputSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert not panel.ui.detectButton.enabled
    assert "no voxels" in panel.ui.detectButton.toolTip


def test_a_crash_is_said_in_plain_words_and_the_next_run_finds_the_lesion(host, panel, temporary):
    """The one full run of this file: the worker is killed first, then the volume is renamed and another is chosen."""
    node = ready(host, panel)
    host.click(panel.ui.detectButton)
    wait_for_stage(host, panel, DRIFT)
    assert panel.ui.detectButton.text == "Cancel"
    assert panel.ui.progressBar.visible
    os.kill(panel.panel.runner.worker.process_id, signal.SIGKILL)
    wait_for_end(host, panel)
    assert "SIGKILL" in panel.ui.messageLabel.text
    assert not panel.logic.hasAnomalyMap(node)
    assert panel.ui.detectButton.text == "Detect anomalies"
    assert left_behind(temporary, "run") == []

    other = add_volume(brain()[::-1], "another scan")
    host.click(panel.ui.detectButton)
    wait_for_stage(host, panel, DRIFT)
    node.SetName("renamed")
    panel.ui.maskSelector.setCurrentNode(None)
    panel.ui.inputSelector.setCurrentNode(other)
    wait_for_end(host, panel)
    assert panel.logic.hasAnomalyMap(node)
    assert not panel.logic.hasAnomalyMap(other)
    assert panel.ui.messageLabel.text.startswith("1 finding, ")
    assert not panel.panel.runner._timer.active
    (finding,) = panel.logic.sceneLogic.findings(node).table
    expected = np.asarray(LESION_CENTER)
    assert np.linalg.norm(np.asarray(finding.centroid_template) - expected) < 5.0
    assert panel.ui.resultComboBox.currentText == "renamed"
    assert panel.ui.findingsTable.rowCount == 1
    assert not panel.ui.progressBar.visible
    assert left_behind(temporary, "run") == []


def test_cancel_at_every_stage_leaves_nothing_and_the_worker_warm(host, panel, temporary):
    node = ready(host, panel)
    for stage in ("Starting the worker", DRIFT, ALIGNING):
        host.click(panel.ui.detectButton)
        wait_for_stage(host, panel, stage)
        host.click(panel.ui.detectButton)
        assert not panel.ui.detectButton.enabled
        wait_for_end(host, panel)
        assert "was cancelled" in panel.ui.messageLabel.text
        assert panel.ui.detectButton.enabled
        assert left_behind(temporary, "run") == []
    assert not panel.logic.hasAnomalyMap(node)


def test_closing_the_scene_ends_the_run_and_its_process(host, panel, temporary):
    ready(host, panel)
    host.click(panel.ui.detectButton)
    wait_for_stage(host, panel, DRIFT)
    number = panel.panel.runner.worker.process_id
    slicer.mrmlScene.Clear(0)
    host.process_events()
    assert_gone(number)
    assert not panel.panel.runner.running
    assert "The scene was closed" in panel.ui.messageLabel.text
    assert panel.ui.detectButton.toolTip == "Choose a scan first."
    assert list(temporary.glob("brain-anomaly-*")) == []
    panel.ui.inputSelector.setCurrentNode(add_brain())
    assert panel.panel.parameters.inputVolume.GetName() == "Müller FLAIR"
    assert panel.ui.detectButton.enabled


def test_a_deleted_volume_ends_its_run(host, panel, temporary):
    node = ready(host, panel)
    host.click(panel.ui.detectButton)
    wait_for_stage(host, panel, DRIFT)
    slicer.mrmlScene.RemoveNode(node)
    wait_for_end(host, panel)
    log = panel.ui.logTextEdit.toPlainText()
    assert "'Müller FLAIR' was removed from the scene" in log
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert left_behind(temporary, "run") == []


def test_leaving_the_module_ends_a_run(host, panel, temporary):
    ready(host, panel)
    host.click(panel.ui.detectButton)
    wait_for_stage(host, panel, "Starting the worker")
    number = panel.panel.runner.worker.process_id
    host.close_panels()
    assert_gone(number)
    assert list(temporary.glob("brain-anomaly-*")) == []


def test_missing_torch_is_said_with_what_to_do(host, panel, tmp_path):
    (tmp_path / "torch").mkdir()
    program = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    (tmp_path / "torch" / "__init__.py").write_text(program, encoding="utf-8")
    panel.panel.runner.worker._environment["PYTHONPATH"] = str(tmp_path)
    panel.ui.inputSelector.setCurrentNode(add_brain())
    choose_model(host, panel, "Denoising")
    detect(host, panel)
    expected = "The Python package 'torch' is not installed. Open 'Setup' in this panel to install it."
    assert panel.ui.messageLabel.text == expected


def test_a_mask_on_other_voxels_is_refused_before_anything_starts(host, panel):
    panel.ui.inputSelector.setCurrentNode(add_brain())
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "another mask")
    slicer.util.updateVolumeFromArray(mask, np.ones((4, 5, 6), dtype=np.uint8))
    panel.ui.maskSelector.setCurrentNode(mask)
    host.click(panel.ui.detectButton)
    assert "The mask 'another mask' has 6 x 5 x 4 voxels" in panel.ui.messageLabel.text
    assert not panel.panel.runner.running
    assert panel.panel.runner.worker.process_id is None


@pytest.mark.parametrize("moved", [False, True])
def test_a_segmentation_is_a_mask_wherever_both_lie(host, panel, moved):
    from BrainAnomalyLib.slicer.panel.run.masks import mask_on

    node = add_brain()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "brain")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    from BrainAnomalyLib.slicer.scene.nodes.segmentation import write_mask

    write_mask(segmentation, brain() > 0.0, node)
    if moved:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "t")
        matrix = np.eye(4)
        matrix[:3, 3] = (5.0, -7.5, 20.0)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        for one in (node, segmentation):
            one.SetAndObserveTransformNodeID(transform.GetID())
    np.testing.assert_array_equal(mask_on(segmentation, node), brain() > 0.0)
