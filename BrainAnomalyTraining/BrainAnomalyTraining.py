"""The BrainAnomalyTraining module of 3D Slicer: says how training is started; it has no engine of its own yet.

Opening the module imports neither torch nor SimpleITK.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class BrainAnomalyTraining(ScriptedLoadableModule):
    """What the application's module list shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Anomaly Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["BrainAnomaly"]
        self.parent.contributors = ["BrainAnomaly contributors"]
        self.parent.helpText = _(
            "Trains the detectors of Brain Anomaly on a cohort of healthy scans. Training runs from the command line. "
            "For research, not for diagnosis."
        )
        self.parent.acknowledgementText = ""


class BrainAnomalyTrainingWidget(ScriptedLoadableModuleWidget):
    """Says, honestly, that training is not started from here yet, and shows the command that starts it."""

    def setup(self) -> None:
        """Build the panel; called once when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = BrainAnomalyTrainingLogic()
        self._addLabel("researchUseLabel", _("For research, not for diagnosis."))
        self._addLabel(
            "explanationLabel",
            _("Training takes hours and runs outside 3D Slicer, on a computer with torch and monai. Start it with:"),
        )
        command = self._addLabel("commandLabel", self.logic.trainingCommand())
        command.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.layout.addStretch(1)

    def _addLabel(self, name: str, text: str) -> Any:
        label = qt.QLabel(text)
        label.objectName = name
        label.wordWrap = True
        self.layout.addWidget(label)
        return label


class BrainAnomalyTrainingLogic(ScriptedLoadableModuleLogic):
    """Where the training code lies and how it is started."""

    @staticmethod
    def trainingCommand() -> str:
        """The command line (of a POSIX shell) that trains the denoising detector."""
        engine = find_spec("BrainAnomalyLib")
        folders = [Path(__file__).resolve().parent]
        if engine is not None and engine.origin is not None:
            folders.append(Path(engine.origin).resolve().parents[1])
        path = os.pathsep.join(map(str, dict.fromkeys(folders)))
        program = "python -m BrainAnomalyTrainingLib.denoising_training"
        return f'PYTHONPATH="{path}" {program} --data COHORT --out RESULTS'


class BrainAnomalyTrainingTest(ScriptedLoadableModuleTest):
    """Self-test: the command that the panel shows names code that is there."""

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_commandNamesExistingCode()

    def test_commandNamesExistingCode(self) -> None:
        """The training program stands beside this module."""
        program = Path(__file__).resolve().parent / "BrainAnomalyTrainingLib" / "denoising_training.py"
        assert program.is_file()
        assert program.stem in BrainAnomalyTrainingLogic.trainingCommand()
        self.delayDisplay(_("Test passed"))
