"""The BrainAnomaly module of 3D Slicer: registration, the panel's frame, the scripting logic and a self-test.

Opening the module imports neither torch nor SimpleITK; the panel runs scans in a worker process.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

if TYPE_CHECKING:
    from BrainAnomalyLib.detection import DetectionOptions
    from BrainAnomalyLib.findings.table import Findings
    from BrainAnomalyLib.progress import Progress
    from BrainAnomalyLib.slicer.panel.common.parameters import BrainAnomalyParameterNode
    from BrainAnomalyLib.slicer.panel.widget import DetectionPanel
    from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic, DetectionNodes


class BrainAnomaly(ScriptedLoadableModule):
    """What the application's module list shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Anomaly")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["BrainAnomaly contributors"]
        self.parent.helpText = _(
            "Finds what does not belong in a brain MR scan, without having been taught any disease: the scan is "
            "compared with healthy brains and what differs is shown as a map, a segment and a table. "
            "For research, not for diagnosis."
        )
        self.parent.acknowledgementText = _(
            "Template: ICBM 2009a nonlinear symmetric, Montreal Neurological Institute, McGill University."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the demonstration case in the Sample Data module."""
    from BrainAnomalyLib.slicer.panel.sample_data import register

    register(Path(__file__).parent / "Resources")


class BrainAnomalyWidget(ScriptedLoadableModuleWidget):
    """The module's panel: loads the .ui file and hands its widgets to ``BrainAnomalyLib.slicer.panel``."""

    def __init__(self, parent: Any = None) -> None:
        # The base class calls setup() when there is no parent.
        self.panel: DetectionPanel | None = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Build the panel; called once when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from BrainAnomalyLib.slicer.panel.widget import DetectionPanel

        self.logic = BrainAnomalyLogic()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BrainAnomaly.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        requirements = Path(self.resourcePath("requirements.txt"))
        self.panel = DetectionPanel(self.ui, self.logic.sceneLogic, self.logic.getParameterNode, requirements)

    def enter(self) -> None:
        """The module was opened: make sure that there is a parameter node."""
        if self.panel is not None and self.panel.parameters is None:
            self.panel.bindParameters()

    def exit(self) -> None:
        """Another module was opened; a run goes on."""

    def cleanup(self) -> None:
        """The module is closed, reloaded, or Slicer ends: stop the run and leave nothing behind."""
        panel, self.panel = self.panel, None
        if panel is not None:
            panel.close()


class BrainAnomalyLogic(ScriptedLoadableModuleLogic):
    """Detection for scripts: a volume node in, result nodes out. It runs in this process and blocks until it is done.

    >>> from BrainAnomaly import BrainAnomalyLogic
    >>> logic = BrainAnomalyLogic()
    >>> nodes = logic.detect(slicer.util.getNode("MRHead"))
    >>> slicer.util.dataframeFromTable(nodes.findings_table)
    >>> logic.setThreshold(slicer.util.getNode("MRHead"), 5.0, minimumMm3=50.0)

    Every scan has one result; a second run replaces it. Errors that a user can mend are ``BrainAnomalyError``.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic

        self._scene = BrainAnomalySceneLogic()

    @property
    def sceneLogic(self) -> BrainAnomalySceneLogic:
        """The logic that keeps results in the scene; the panel shares it and its cached map."""
        return self._scene

    def getParameterNode(self) -> BrainAnomalyParameterNode:
        """What was chosen in the panel, saved with the scene."""
        from BrainAnomalyLib.slicer.panel.common.parameters import BrainAnomalyParameterNode

        return BrainAnomalyParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    @staticmethod
    def detectorNames() -> tuple[str, ...]:
        """Names that ``detect`` accepts."""
        from BrainAnomalyLib.detectors.registry import detector_names

        return detector_names()

    def detect(
        self,
        inputNode: Any,
        detectorName: str | None = None,
        options: DetectionOptions | None = None,
        progress: Progress | None = None,
    ) -> DetectionNodes:
        """Find anomalies in a volume and leave them in its scene; without a name the detector suits the contrast."""
        from BrainAnomalyLib.progress import silent

        return self._scene.detect(inputNode, detectorName, options, progress or silent)

    def setThreshold(self, inputNode: Any, threshold: float, minimumMm3: float = 20.0) -> Findings:
        """Cut the anomaly map in the scene at another threshold; nothing is run again."""
        return self._scene.setThreshold(inputNode, threshold, minimumMm3)

    def resultNodes(self, inputNode: Any) -> DetectionNodes:
        """The nodes of the result of this volume, None for each that does not exist."""
        return self._scene.resultNodes(inputNode)

    def hasAnomalyMap(self, inputNode: Any) -> bool:
        """Whether a threshold can be set for this volume."""
        return self.resultNodes(inputNode).anomaly_map is not None

    def record(self, inputNode: Any) -> Any:
        """Settings and provenance of the result of this volume."""
        return self._scene.record(inputNode)

    def removeResults(self, inputNode: Any) -> None:
        """Remove the result of this volume from the scene."""
        self._scene.removeResults(inputNode)

    def showInSliceViews(self, inputNode: Any) -> None:
        """Show the volume with its anomaly map over it in the slice views."""
        self._scene.showInSliceViews(inputNode)


class BrainAnomalyTest(ScriptedLoadableModuleTest):
    """Self-test in the running application: a template brain with a bright spot, from volume node to findings."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_brightSpotIsFound()
        self.setUp()
        self.test_workerAnswers()

    def test_brightSpotIsFound(self) -> None:
        """The spot is the largest finding; a second run adds no node; no finding is left above the maximum."""
        from BrainAnomalyLib.detection import DetectionOptions
        from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import voxels

        inputNode, spotRas = self._volumeWithSpot()
        # With a given mask the test needs no brain extraction network, hence no torch.
        logic, options = BrainAnomalyLogic(), DetectionOptions(brain_mask=voxels(inputNode) > 0.0)
        nodes = logic.detect(inputNode, "histogram", options)
        count = slicer.mrmlScene.GetNumberOfNodes()
        table = slicer.util.dataframeFromTable(nodes.findings_table)
        for axis, position in zip("ras", spotRas, strict=True):
            assert abs(table[f"centroid_{axis}"][0] - position) < 4.0
        logic.detect(inputNode, "histogram", options)
        assert slicer.mrmlScene.GetNumberOfNodes() == count
        assert len(logic.setThreshold(inputNode, 2.0).table) == 0
        self._checkReview(logic, inputNode)
        self.delayDisplay(_("Test passed"))

    def test_workerAnswers(self) -> None:
        """The engine runs in a child process of this application's Python, and refuses in plain words."""
        from BrainAnomalyLib.slicer.panel.run.worker_process import Failed, WorkerProcess
        from BrainAnomalyLib.slicer.panel.widget import slicer_python

        worker, reports, end = WorkerProcess(slicer_python), [], time.monotonic() + 120.0
        try:
            worker.detect(scan="no such scan.nii", out="no such folder")
            while worker.busy and time.monotonic() < end:
                slicer.app.processEvents()
                reports += worker.poll()
        finally:
            worker.close()
        assert isinstance(reports[-1], Failed), reports
        assert "no such scan" in reports[-1].sentence
        self.delayDisplay(_("Test passed"))

    @staticmethod
    def _checkReview(logic: BrainAnomalyLogic, inputNode: Any) -> None:
        """A rejected finding is remembered when the threshold moves."""
        logic.setThreshold(inputNode, 0.98)
        logic.sceneLogic.setKept(inputNode, 1, False)
        logic.setThreshold(inputNode, 0.99)
        assert 1 in logic.sceneLogic.rejected(inputNode)

    def _volumeWithSpot(self) -> tuple[Any, tuple[float, float, float]]:
        import numpy as np

        from BrainAnomalyLib.preparation.space.template import load_template

        template, spotRas = load_template("template_2mm"), (28.0, -16.0, 26.0)
        indices = np.stack(np.meshgrid(*map(np.arange, template.grid.shape), indexing="ij"), axis=-1)
        distance = np.linalg.norm(
            indices @ template.grid.affine[:3, :3].T + template.grid.affine[:3, 3] - spotRas, axis=-1
        )
        image = np.where(distance < 20.0, 2.0, template.brain * template.brain_mask) * 100.0
        matrix = slicer.util.vtkMatrixFromArray(template.grid.affine)
        node = slicer.util.addVolumeFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)), matrix, "BrightSpot")
        return node, spotRas
