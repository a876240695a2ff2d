"""Scans and runs for the tests of the detection panel: a small synthetic brain, the real engine in a real worker."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np

for _folder in ("helpers", "scene"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / _folder))

from synthetic import LESION_CENTER as LESION_CENTER
from synthetic import flair_brain, grid_of

GRID = grid_of((72, 92, 76), (2.5, 2.5, 2.5), "LPS", degrees=4.0, center=(0.0, -18.0, 8.0))
TISSUE = "Gray-matter-referenced intensity"


@cache
def real_detection(detector: str = "tissue"):
    """What the engine itself finds in ``brain``; one run for all tests that begin after it."""
    from BrainAnomalyLib.detection import DetectionOptions, detect
    from BrainAnomalyLib.detectors.registry import load_detector
    from BrainAnomalyLib.io.volumes import Scan

    options = DetectionOptions(brain_mask=brain() > 0.0)
    return detect(Scan(brain(), GRID, "FLAIR", "brain"), load_detector(detector), options)


def with_result(panel, name: str = "Müller FLAIR", detection=None):
    """The brain in the scene with the result of ``real_detection``, chosen in the panel. The volume node."""
    node = add_brain(name)
    panel.logic.sceneLogic.apply(detection or real_detection(), node)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.panel.results.refresh(node)
    return node


def with_large_result(panel, anomaly):
    """A result of many findings on a grid of a clinical scan."""
    from dataclasses import replace

    from BrainAnomalyLib.findings.table import find
    from BrainAnomalyLib.io.geometry import Grid
    from BrainAnomalyLib.io.volumes import Scan

    grid = Grid(anomaly.shape, np.eye(4))
    node = add_volume(anomaly + 1.0, "large", np.eye(4))
    scan = Scan(anomaly + np.float32(1.0), grid, "FLAIR", "large")
    findings = find(anomaly, grid, np.eye(4), 1.1)
    maps = {"pseudo_healthy": None, "residual": None, "uncertainty": None, "brain_mask": anomaly > 0}
    made = replace(real_detection(), scan=scan, anomaly=anomaly, findings=findings, **maps)
    panel.logic.sceneLogic.apply(made, node)
    panel.panel.results.refresh(node)
    return node


@cache
def brain() -> np.ndarray:
    """A FLAIR-like brain with a bright ball of 8 mm around LESION_CENTER, (i, j, k) on GRID."""
    return flair_brain(GRID)


def add_volume(array: np.ndarray, name: str, affine: np.ndarray = GRID.affine):
    """A volume node of the scene."""
    import slicer

    matrix = slicer.util.vtkMatrixFromArray(affine)
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)), matrix, name)
    node.CreateDefaultDisplayNodes()
    return node


def add_brain(name: str = "Müller FLAIR"):
    """The brain as a volume node."""
    return add_volume(brain(), name)


def add_mask(node, name: str = "brain mask"):
    """The brain of ``add_brain`` as a label map node, which makes a run quick."""
    import slicer

    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    slicer.util.updateVolumeFromArray(mask, (slicer.util.arrayFromVolume(node) > 0).astype(np.uint8))
    mask.CopyOrientation(node)
    return mask


def choose_model(host, panel, title: str = TISSUE) -> None:
    """Choose a model by the start of its title, as a reader does."""
    box = panel.ui.modelComboBox
    texts = [box.itemText(index) for index in range(box.count)]
    host.choose(box, next(text for text in texts if text.startswith(title)))


def ready(host, panel, name: str = "Müller FLAIR"):
    """Scan, mask and model chosen: Detect can be pressed. The volume node."""
    node = add_brain(name)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.maskSelector.setCurrentNode(add_mask(node))
    choose_model(host, panel)
    return node


def detect(host, panel, seconds: float = 300.0) -> None:
    """Press the button and wait for the end of the run."""
    host.click(panel.ui.detectButton)
    wait_for_end(host, panel, seconds)


def wait_for_end(host, panel, seconds: float = 300.0) -> None:
    """Wait until no run goes on."""
    host.wait(lambda: not panel.panel.runner.running, seconds, "the run to end")


def wait_for_stage(host, panel, words: str, seconds: float = 200.0) -> None:
    """Wait until the panel shows a stage."""
    host.wait(lambda: words in panel.ui.stageLabel.text, seconds, f"the stage '{words}'")


def composites() -> list:
    """The nodes that name the layers of the slice views."""
    import slicer

    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]


def slice_centers() -> np.ndarray:
    """Where the slice views are: one row of R, A, S for each."""
    import slicer

    names = slicer.app.layoutManager().sliceViewNames()
    nodes = [slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode() for name in names]
    return np.array([[one.GetSliceToRAS().GetElement(row, 3) for row in range(3)] for one in nodes])
