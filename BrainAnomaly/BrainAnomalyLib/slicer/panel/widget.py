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
from ..scene.logic import BrainAnomalySceneLogic
from ..scene.nodes.links import VolumeNode
from .common.bindings import parameter_widgets
from .common.connections import Connections
from .common.messages import Messages
from .example import ExampleStart
from .inputs import Inputs
from .models.model_chooser import ModelChooser
from .models.model_manager import ModelManager
from .results.export_controls import ExportControls
from .results.findings_view import FindingsView
from .results.profile_view import ProfileView
from .results.result_choice import ResultChoice
from .results.review_controls import ReviewControls
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
        self.connections = Connections()
        self.messages = Messages(ui, self.connections)
        self._makeControllers(requirementsFile)
        self.runner = DetectionRunner(logic, worker or WorkerProcess(slicer_python), self)
        self.connections.of(ui.detectButton).connect("clicked()", self.onDetectOrCancel)
        self._observeScene()
        self.bindParameters()
        self.messages.say(self.setup.problem(), warns=True)

    def _makeControllers(self, requirementsFile: Path) -> None:
        ui, logic, messages, connections = self.ui, self._logic, self.messages, self.connections
        self.inputs = Inputs(ui, logic, connections, self.update)
        self.start = ExampleStart(ui, messages, connections)
        self.models = ModelChooser(ui, connections, self.update)
        self.manager = ModelManager(ui, messages, connections, self.models.refresh)
        self.run = RunControls(ui)
        self.views = Views(ui, logic, messages, connections)
        self.review = ReviewControls(ui, logic, messages, connections, self.onReviewed)
        self.findings = FindingsView(ui, logic, messages, connections, self.review.keep, self.review.choose)
        self.profile = ProfileView(ui, logic, connections, self.views.showPlot)
        self.threshold = ThresholdControls(ui, logic, messages, connections, self.onCut)
        self.export = ExportControls(ui, logic, messages, connections)
        self.results = ResultChoice(ui, logic, connections, self.onResultChosen)
        self.setup = SetupSection(ui, messages, connections, requirementsFile, self.models.refresh)

    def _observeScene(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodesChanged)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onNodesChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)

    def bindParameters(self) -> None:
        """Bind the widgets to the scene's parameter node and show what the scene holds."""
        self.unbindParameters()
        parameters = self._newParameterNode()
        self._guiTag = parameters.connectParametersToGui(parameter_widgets(self.ui))
        self.parameters = parameters
        for controller in (self.inputs, self.models, self.export):
            controller.setParameters(parameters)
        self.onNodesChanged()
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
        self.views.close()
        self.connections.close()

    def update(self) -> None:
        """Let the button say whether detection can start, and the line above it what will run or why it cannot."""
        count, problem = self.inputs.count(), self.inputs.problem()
        self.models.sayWhichRuns(count, problem if count else "")
        if not self.runner.running:
            self.run.showIdle(problem or self.models.problem())

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        """Something was chosen; another scan brings its result with it."""
        if self.parameters is None:
            return
        with self.messages.plain():
            chosen = self.parameters.inputVolume
            if chosen is not self._refreshed:
                self._refreshed = chosen
                self.messages.say("")
                self.results.refresh(chosen)
            self.update()

    def onDetectOrCancel(self) -> None:
        """The one button."""
        with self.messages.action():
            if self.runner.running:
                self.run.showCancelling()
                self.runner.cancel()
                return
            request = self.inputs.request(*self.models.engine_choice())
            if request is not None:
                self.run.showRunning()
                with slicer.util.WaitCursor():
                    self.runner.start(request)

    def onProgress(self, progress: RunProgress) -> None:
        """The run went on."""
        self.run.showProgress(progress)

    def onRunEnded(self, node: VolumeNode, ending: Ending, sentence: str, details: str) -> None:
        """The run is over: show its result or say why there is none."""
        self.update()
        if ending == "done":
            self.messages.log(_("The result of '{name}' is in the scene.").format(name=node.GetName()))
            with self.messages.plain():
                self.inputs.hideResults()
                self.results.refresh(node)
                self.views.showResult(node)
                self._sayWhatWasFound()
        else:
            self.messages.say(sentence, warns=True)
        printed = [text for text in (details, self.runner.worker.log.strip()) if text]
        for text in printed:
            self.messages.log(text)

    def _sayWhatWasFound(self) -> None:
        """The end of a run in the message line: what was found."""
        found = self.findings.summary()
        if self.findings.jumpToLargest():
            found = _("{summary} The largest is shown.").format(summary=found)
        if self.ui.warningsLabel.text:
            found = _("{summary} Read the warnings below.").format(summary=found)
        self.messages.say(found)

    def onResultChosen(self) -> None:
        """Another result is to be shown."""
        node = self.results.node
        with self.messages.plain():
            self.threshold.show(node)
            self.findings.show(node)
            self.review.show(node, self.findings.chosen)
            self.profile.show(node)
            self.views.show(node)
            self.export.show(node)

    def onCut(self, findings: Findings) -> None:
        """The threshold moved."""
        self.findings.show(self.results.node, findings)
        self.review.show(self.results.node, self.findings.chosen)

    def onReviewed(self) -> None:
        """A finding was kept, rejected or commented on, or a step of that was taken back."""
        self.findings.show(self.results.node)
        self.review.show(self.results.node, self.findings.chosen)

    def onNodesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Nodes came or went: what may be chosen, and whether this is a first start."""
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsBatchProcessing():
            return
        with self.messages.plain():
            self.inputs.hideResults()
            self.start.show(not self.inputs.hasScans())

    def onNodeRemoved(self, caller: Any, event: Any) -> None:
        """A node was deleted; it may be a scan or a part of a result."""
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsBatchProcessing():
            return
        with self.messages.plain():
            self.results.refresh(self.results.node, self.parameters.inputVolume if self.parameters else None)
            self.onNodesChanged()
            self.update()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """The scene is about to close: the run and all its files go."""
        with self.messages.action():
            self.runner.sceneClosed()
            self.views.sceneClosed()
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
