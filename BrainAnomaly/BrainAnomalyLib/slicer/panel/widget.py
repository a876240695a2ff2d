"""The panel: small controllers put together, and what the scene does to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...findings.table import Findings
from ...output.folder import RESEARCH_USE
from ..scene.links import VolumeNode
from ..scene.logic import BrainAnomalySceneLogic
from .common.bindings import parameter_widgets
from .common.messages import Messages
from .inputs import Inputs
from .models.model_chooser import ModelChooser
from .models.model_manager import ModelManager
from .results.export_controls import ExportControls
from .results.findings_view import FindingsView
from .results.profile_view import ProfileView
from .results.result_choice import ResultChoice
from .results.threshold import ThresholdControls
from .results.views import Views
from .run.detection_runner import DetectionRunner, Ending, RunProgress
from .run.interpreter import worker_python
from .run.run_controls import RunControls
from .run.worker_process import WorkerProcess
from .setup_section import SetupSection


class DetectionPanel(VTKObservationMixin):
    """Everything in the panel of the module. ``close`` must be called before it is dropped.

    ``ui`` holds the widgets of ``BrainAnomaly.ui`` by name, ``newParameterNode`` gives the scene's parameter node,
    ``worker`` may be another one than the one that Slicer's own Python runs.
    """

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        newParameterNode: Callable[[], Any],
        requirementsFile: Path,
        worker: WorkerProcess | None = None,
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._logic, self._newParameterNode = ui, logic, newParameterNode
        # A BrainAnomalyParameterNode; what its decorator adds is not known to type checkers.
        self.parameters: Any = None
        self._guiTag: Any = None
        self._refreshed: VolumeNode | None = None
        ui.noticeLabel.text = RESEARCH_USE
        self.messages = Messages(ui)
        self._makeControllers(requirementsFile)
        self.runner = DetectionRunner(logic, worker or WorkerProcess(slicer_python), self)
        ui.detectButton.connect("clicked()", self.onDetectOrCancel)
        self._observeScene()
        self.bindParameters()
        self.messages.say(self.setup.problem())

    def _makeControllers(self, requirementsFile: Path) -> None:
        ui, logic, messages = self.ui, self._logic, self.messages
        self.inputs = Inputs(ui, self.update)
        self.models = ModelChooser(ui, self.update)
        self.manager = ModelManager(ui, messages, self.models.refresh)
        self.run = RunControls(ui)
        self.views = Views(ui, logic, messages)
        self.findings = FindingsView(ui, logic, messages, self.onReviewed)
        self.profile = ProfileView(ui, logic, self.views.showPlot)
        self.threshold = ThresholdControls(ui, logic, messages, self.onCut)
        self.export = ExportControls(ui, logic, messages)
        self.results = ResultChoice(ui, logic, self.onResultChosen)
        self.setup = SetupSection(ui, messages, requirementsFile, self.models.refresh)

    def _observeScene(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)

    def bindParameters(self) -> None:
        """Bind the widgets to the scene's parameter node and show what the scene holds."""
        self.unbindParameters()
        parameters = self._newParameterNode()
        self._guiTag = parameters.connectParametersToGui(parameter_widgets(self.ui))
        self.parameters = parameters
        for controller in (self.inputs, self.models, self.export):
            controller.setParameters(parameters)
        self.addObserver(parameters.parameterNode, "ModifiedEvent", self.onParametersChanged)
        self._refreshed = parameters.inputVolume
        self.results.refresh(parameters.inputVolume)
        self.update()

    def unbindParameters(self) -> None:
        """Let go of the parameter node."""
        parameters, self.parameters = self.parameters, None
        if parameters is None:
            return
        self.removeObserver(parameters.parameterNode, "ModifiedEvent", self.onParametersChanged)
        parameters.disconnectGui(self._guiTag)
        for controller in (self.inputs, self.models, self.export):
            controller.setParameters(None)

    def close(self) -> None:
        """Stop everything and leave nothing behind."""
        self.runner.close()
        self.unbindParameters()
        self.removeObservers()

    def update(self) -> None:
        """Let the button say whether detection can start."""
        if not self.runner.running:
            self.run.showIdle(self.inputs.problem() or self.models.problem())

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        """Something was chosen; another scan brings its result with it."""
        if self.parameters is None:
            return
        with self.messages.plain():
            chosen = self.parameters.inputVolume
            if chosen is not self._refreshed:
                self._refreshed = chosen
                self.results.refresh(chosen)
            self.update()

    def onDetectOrCancel(self) -> None:
        """The one button."""
        with self.messages.plain():
            if self.runner.running:
                self.run.showCancelling()
                self.runner.cancel()
                return
            requests = self.inputs.requests(*self.models.engine_choice())
            self.messages.say("")
            self.run.showRunning()
            self.runner.start(requests)

    def onProgress(self, progress: RunProgress) -> None:
        """The run went on."""
        self.run.showProgress(progress)

    def onVolumeEnded(self, node: VolumeNode, ending: Ending, sentence: str, details: str) -> None:
        """One volume is through: show its result or say why there is none."""
        if ending == "done":
            self.messages.log(_("The result of '{name}' is in the scene.").format(name=node.GetName()))
            with self.messages.plain():
                self.results.refresh(node)
                self.views.showResult(node)
            return
        self.messages.say(sentence)
        if details:
            self.messages.log(details)

    def onRunEnded(self) -> None:
        """All volumes are through."""
        self.run.showIdle(self.inputs.problem() or self.models.problem())
        printed = self.runner.worker.log.strip()
        if printed:
            self.messages.log(printed)

    def onResultChosen(self) -> None:
        """Another result is to be shown."""
        node = self.results.node
        with self.messages.plain():
            self.threshold.show(node)
            self.findings.show(node)
            self.profile.show(node)
            self.views.show(node)
            self.export.show(node)

    def onCut(self, findings: Findings) -> None:
        """The threshold moved."""
        self.findings.show(self.results.node, findings)

    def onReviewed(self) -> None:
        """A finding was kept or rejected."""
        self.findings.show(self.results.node)

    def onNodeRemoved(self, caller: Any, event: Any) -> None:
        """A node was deleted; it may be a scan or a part of a result."""
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsBatchProcessing():
            return
        with self.messages.plain():
            self.results.refresh()
            self.update()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """The scene is about to close: the run and all its files go."""
        with self.messages.plain():
            self.runner.sceneClosed()
            self.unbindParameters()

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """The scene is empty: start over."""
        with self.messages.plain():
            self.bindParameters()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A scene was loaded: its parameters and results are shown."""
        with self.messages.plain():
            self.bindParameters()


def slicer_python() -> str:
    """The Python that runs the worker of this application. Raises DependencyError."""
    return worker_python(home=str(getattr(slicer.app, "slicerHome", "") or ""))
