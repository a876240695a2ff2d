"""The BrainAnomaly module of 3D Slicer: registration, a small panel, the scripting logic and a self-test.

Opening the module imports neither torch nor SimpleITK; a run imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ctk
import qt
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
    from BrainAnomalyLib.scene.logic import DetectionNodes


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


class BrainAnomalyWidget(ScriptedLoadableModuleWidget):
    """A minimal panel: choose a scan, run a detector, move the threshold."""

    def setup(self) -> None:
        """Build the panel; called once when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = BrainAnomalyLogic()
        self._addNotice()
        self._addInputs()
        self._addThreshold()
        self.layout.addStretch(1)
        self._updateControls()

    def _addNotice(self) -> None:
        notice = qt.QLabel(_("For research, not for diagnosis."))
        notice.objectName = "researchUseLabel"
        self.layout.addWidget(notice)

    def _addInputs(self) -> None:
        form = self._section(_("Detection"))
        self.inputSelector = self._inputSelector()
        form.addRow(_("Scan:"), self.inputSelector)
        self.detectorComboBox = qt.QComboBox()
        self.detectorComboBox.objectName = "detectorComboBox"
        self.detectorComboBox.addItems(list(self.logic.detectorNames()))
        form.addRow(_("Detector:"), self.detectorComboBox)
        self.detectButton = qt.QPushButton(_("Detect"))
        self.detectButton.objectName = "detectButton"
        self.detectButton.connect("clicked()", self.onDetect)
        form.addRow(self.detectButton)
        self.statusLabel = qt.QLabel()
        self.statusLabel.objectName = "statusLabel"
        self.statusLabel.wordWrap = True
        form.addRow(self.statusLabel)

    def _addThreshold(self) -> None:
        form = self._section(_("Findings"))
        self.thresholdSlider = ctk.ctkSliderWidget()
        self.thresholdSlider.objectName = "thresholdSlider"
        self.thresholdSlider.decimals = 3
        self.thresholdSlider.toolTip = _("Regions of the anomaly map above this value are findings.")
        self.thresholdSlider.connect("valueChanged(double)", self.onThresholdChanged)
        form.addRow(_("Threshold:"), self.thresholdSlider)

    def _section(self, title: str) -> Any:
        button = ctk.ctkCollapsibleButton()
        button.text = title
        self.layout.addWidget(button)
        return qt.QFormLayout(button)

    def _inputSelector(self) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.objectName = "inputSelector"
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"]
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.noneEnabled = True
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.parent.connect("mrmlSceneChanged(vtkMRMLScene*)", selector, "setMRMLScene(vtkMRMLScene*)")
        return selector

    def onInputChanged(self, node: Any) -> None:
        """Another scan was chosen, or the chosen one left the scene."""
        self._updateControls()

    def onDetect(self) -> None:
        """Run the chosen detector on the chosen scan; 3D Slicer waits meanwhile."""
        inputNode = self.inputSelector.currentNode()
        self.detectButton.enabled = False
        try:
            with slicer.util.tryWithErrorDisplay(_("Detection failed."), waitCursor=True):
                self._detect(inputNode)
        finally:
            self._updateControls()

    def _detect(self, inputNode: Any) -> None:
        from BrainAnomalyLib.errors import BrainAnomalyError

        try:
            self.logic.detect(inputNode, self.detectorComboBox.currentText, progress=self._showProgress)
        except BrainAnomalyError as error:
            # The display shows the message of an exception; the remedy belongs to it.
            raise RuntimeError(error.sentence()) from error
        self.logic.showInSliceViews(inputNode)

    def onThresholdChanged(self, value: float) -> None:
        """Cut the anomaly map of the chosen scan anew."""
        inputNode = self.inputSelector.currentNode()
        if inputNode is not None and self.logic.hasAnomalyMap(inputNode):
            self._showFindings(self.logic.setThreshold(inputNode, value, self.logic.record(inputNode).minimum_mm3))

    def _updateControls(self) -> None:
        inputNode = self.inputSelector.currentNode()
        self.detectButton.enabled = inputNode is not None
        self.detectButton.toolTip = _("Find anomalies in the scan.") if inputNode else _("Choose a scan first.")
        hasMap = inputNode is not None and self.logic.hasAnomalyMap(inputNode)
        self.thresholdSlider.enabled = hasMap
        self.statusLabel.text = ""
        if hasMap:
            self._showThreshold(inputNode)

    def _showThreshold(self, inputNode: Any) -> None:
        record = self.logic.record(inputNode)
        wasBlocked = self.thresholdSlider.blockSignals(True)
        self.thresholdSlider.maximum = max(record.display_maximum, record.threshold)
        self.thresholdSlider.singleStep = record.display_maximum / 200.0
        self.thresholdSlider.value = record.threshold
        self.thresholdSlider.blockSignals(wasBlocked)
        self.statusLabel.text = "\n".join(record.warnings)

    def _showFindings(self, findings: Findings) -> None:
        text = _("{count} findings, {volume} mL in total")
        self.statusLabel.text = text.format(count=len(findings.table), volume=f"{findings.total_ml:.2f}")

    def _showProgress(self, stage: str, fraction: float) -> None:
        self.statusLabel.text = f"{stage} ({fraction:.0%})"
        # Paints at once without letting clicks through, as processEvents() would.
        self.statusLabel.repaint()


class BrainAnomalyLogic(ScriptedLoadableModuleLogic):
    """Detection for scripts: a volume node in, result nodes out. It runs in this process and blocks until it is done.

    >>> from BrainAnomaly import BrainAnomalyLogic
    >>> logic = BrainAnomalyLogic()
    >>> nodes = logic.detect(slicer.util.getNode("MRHead"), "histogram")
    >>> slicer.util.dataframeFromTable(nodes.findings_table)
    >>> logic.setThreshold(slicer.util.getNode("MRHead"), 0.99, minimumMm3=50.0)

    Every scan has one result; a second run replaces it. Errors that a user can mend are ``BrainAnomalyError``.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from BrainAnomalyLib.scene.logic import BrainAnomalySceneLogic

        self._scene = BrainAnomalySceneLogic()

    @staticmethod
    def detectorNames() -> tuple[str, ...]:
        """Names that ``detect`` accepts."""
        from BrainAnomalyLib.detectors.registry import detector_names

        return detector_names()

    def detect(
        self,
        inputNode: Any,
        detectorName: str = "histogram",
        options: DetectionOptions | None = None,
        progress: Progress | None = None,
    ) -> DetectionNodes:
        """Find anomalies in a volume and leave them in its scene."""
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

    def test_brightSpotIsFound(self) -> None:
        """The spot is the largest finding; a second run adds no node; no finding is left above the maximum."""
        from BrainAnomalyLib.detection import DetectionOptions
        from BrainAnomalyLib.scene.scene_volumes import voxels

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
        self.delayDisplay(_("Test passed"))

    def _volumeWithSpot(self) -> tuple[Any, tuple[float, float, float]]:
        import numpy as np

        from BrainAnomalyLib.preparation.template import load_template

        template, spotRas = load_template("template_2mm"), (28.0, -16.0, 26.0)
        indices = np.stack(np.meshgrid(*map(np.arange, template.grid.shape), indexing="ij"), axis=-1)
        distance = np.linalg.norm(
            indices @ template.grid.affine[:3, :3].T + template.grid.affine[:3, 3] - spotRas, axis=-1
        )
        image = np.where(distance < 20.0, 2.0, template.brain) * 100.0
        matrix = slicer.util.vtkMatrixFromArray(template.grid.affine)
        node = slicer.util.addVolumeFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)), matrix, "BrightSpot")
        return node, spotRas
