"""The BrainAnomalyTraining module of 3D Slicer: registration, the panel, the scripting logic and a self-test.

Opening the module imports neither torch nor monai: trainings are processes of their own.
"""

from __future__ import annotations

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
    from BrainAnomalyTrainingLib.slicer.runs.requests import CalibrationRequest, CohortRequest, TrainingRequest
    from BrainAnomalyTrainingLib.slicer.runs.run_monitor import RunMonitor
    from BrainAnomalyTrainingLib.slicer.training_parameters import TrainingParameters


class BrainAnomalyTraining(ScriptedLoadableModule):
    """What the application's module list shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Anomaly Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["BrainAnomaly"]
        self.parent.contributors = ["BrainAnomaly contributors"]
        self.parent.helpText = _(
            "Trains the detectors of Brain Anomaly on a folder of healthy scans: checks the scans, trains, calibrates, "
            "and writes a package that Brain Anomaly can use. A training goes on when 3D Slicer is closed. "
            "For research, not for diagnosis."
        )
        self.parent.acknowledgementText = ""


class BrainAnomalyTrainingWidget(ScriptedLoadableModuleWidget):
    """Loads the panel; ``BrainAnomalyTrainingLib.slicer`` is what stands behind it."""

    def setup(self) -> None:
        """Build the panel; called once when the module is first opened."""
        from BrainAnomalyTrainingLib.slicer.panel import TrainingPanel

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = BrainAnomalyTrainingLogic()
        widget = slicer.util.loadUI(self.resourcePath("UI/BrainAnomalyTraining.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.panel: TrainingPanel | None = TrainingPanel(self.ui, self.logic.getParameterNode)

    def enter(self) -> None:
        """The user comes to the module: look at the run at once."""
        if self.panel is not None:
            self.panel.refresh()

    def cleanup(self) -> None:
        """The application closes or reloads the module; a training goes on."""
        panel, self.panel = self.panel, None
        if panel is not None:
            panel.close()


class BrainAnomalyTrainingLogic(ScriptedLoadableModuleLogic):
    """Trainings for scripts: start one, look at it, end it. Nothing here waits.

    >>> from BrainAnomalyTraining import BrainAnomalyTrainingLogic
    >>> from BrainAnomalyTrainingLib.slicer.runs.requests import CohortRequest, Target, TrainingRequest
    >>> cohort = CohortRequest("/data/healthy", "T1w", "denoising", preset="small")
    >>> run = BrainAnomalyTrainingLogic().train(TrainingRequest(cohort, Target("/data/models", "my_model")))
    >>> run.poll(); print(run.phase, run.state.step, run.state.losses)
    >>> run.pause()
    """

    def getParameterNode(self) -> TrainingParameters:
        """The panel's settings in the scene."""
        from BrainAnomalyTrainingLib.slicer.training_parameters import TrainingParameters

        return TrainingParameters(ScriptedLoadableModuleLogic.getParameterNode(self))

    @staticmethod
    def checkCohort(job: CohortRequest) -> RunMonitor:
        """Start finding and preparing the scans of a folder. Raises ValueError, in plain words, if it cannot."""
        from BrainAnomalyTrainingLib.slicer.runs.requests import start_check

        return start_check(job)

    @staticmethod
    def train(job: TrainingRequest | CalibrationRequest) -> RunMonitor:
        """Start a training or a calibration, which outlives this process. Raises ValueError if it cannot."""
        from BrainAnomalyTrainingLib.slicer.runs.requests import start_job

        return start_job(job)

    @staticmethod
    def run(folder: str | Path) -> RunMonitor:
        """The run in a run folder, whoever started it."""
        from BrainAnomalyTrainingLib.slicer.runs.run_monitor import RunMonitor

        return RunMonitor(Path(folder))


class BrainAnomalyTrainingTest(ScriptedLoadableModuleTest):
    """Self-test in the running application: the command answers, and a folder without scans is refused in words."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_emptyFolderIsRefusedInWords()
        self.setUp()
        self.test_settingsAreKeptInTheScene()

    def test_emptyFolderIsRefusedInWords(self) -> None:
        """A check of a folder without scans ends with a sentence that names the folder."""
        import tempfile
        import time

        from BrainAnomalyTrainingLib.slicer.runs.requests import CohortRequest
        from BrainAnomalyTrainingLib.slicer.wording import situation

        with tempfile.TemporaryDirectory() as folder:
            run = BrainAnomalyTrainingLogic.checkCohort(CohortRequest(folder, "T1w", "denoising"))
            deadline = time.monotonic() + 120.0
            while run.phase.is_alive and time.monotonic() < deadline:
                slicer.app.processEvents()
                time.sleep(0.2)
                run.poll()
            assert run.phase.value == "failed", run.console()
            assert folder in situation(run)
        self.delayDisplay(_("Test passed"))

    def test_settingsAreKeptInTheScene(self) -> None:
        """What one object writes, another one reads from the same scene."""
        BrainAnomalyTrainingLogic().getParameterNode().steps = 17
        assert BrainAnomalyTrainingLogic().getParameterNode().steps == 17
        self.delayDisplay(_("Test passed"))
