"""The input part of the panel: parameters of the scene on one side, widgets on the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from BrainAnomalyLib.slicer.panel.common.bindings import parameter_widgets
from BrainAnomalyLib.slicer.panel.common.connections import Connections

from .choices import Choice, ChoiceBox
from .detector_choices import detector_choices, preset_choices
from .runs.requests import CalibrationRequest, CohortRequest, Target, TrainingRequest
from .training_parameters import TrainingParameters

_INPUTS = (
    *("cohortPathLineEdit", "contrastComboBox", "detectorComboBox", "presetComboBox", "deviceComboBox"),
    *("stepsSpinBox", "outputPathLineEdit", "packageNameLineEdit", "siteLineEdit", "calibratePathLineEdit"),
)


class SettingsView:
    """Shows one set of parameters at a time. ``cohort_changed`` is called when the user names another folder."""

    def __init__(self, ui: Any, connections: Connections, cohort_changed: Callable[[], None]) -> None:
        self._ui = ui
        self._cohort_changed = cohort_changed
        self._parameters: Any = None
        self._gui_tag: Any = None
        self._detector = ChoiceBox(ui.detectorComboBox, connections, detector_choices(), self._on_detector)
        self._preset = ChoiceBox(ui.presetComboBox, connections, preset_choices(), self._on_preset)
        connections.of(ui.cohortPathLineEdit).connect("currentPathChanged(QString)", self._on_cohort_path)
        connections.of(ui.outputPathLineEdit).connect("currentPathChanged(QString)", self._on_output_path)
        connections.of(ui.calibratePathLineEdit).connect("currentPathChanged(QString)", self._on_calibrated_path)

    @property
    def parameters(self) -> TrainingParameters | None:
        """What is shown now."""
        return self._parameters

    @property
    def cohort_folder(self) -> str:
        """The folder of healthy scans that is chosen now."""
        return self._parameters.cohortFolder if self._parameters is not None else ""

    def bind(self, parameters: Any) -> None:
        """Show these ``TrainingParameters`` and write the user's changes into them."""
        self.release()
        self._parameters = parameters
        self._gui_tag = parameters.connectParametersToGui(parameter_widgets(self._ui))
        self.refresh()

    def release(self) -> None:
        """Let go of the parameters, before their scene is closed."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
        self._parameters = None

    def refresh(self) -> None:
        """Bring the widgets that the parameter node does not drive by itself up to date."""
        if self._parameters is None:
            return
        self._detector.choose(self._parameters.detector)
        self._preset.choose(self._parameters.preset)
        _set_path(self._ui.cohortPathLineEdit, self._parameters.cohortFolder)
        _set_path(self._ui.outputPathLineEdit, self._parameters.outputFolder)
        _set_path(self._ui.calibratePathLineEdit, self._parameters.calibratedPackage)
        self._ui.packageNameLineEdit.placeholderText = self._default_name()
        self._describe(self._detector.choice)

    def enable(self, enabled: bool) -> None:
        """Let the user change the settings, or not while a command works with them."""
        for name in _INPUTS:
            getattr(self._ui, name).enabled = enabled

    def cohort_job(self) -> CohortRequest:
        """The check of the cohort that the settings ask for; it looks at every scan, also at the excluded ones."""
        shown = self._parameters
        return CohortRequest(shown.cohortFolder, shown.contrast, shown.detector, shown.preset)

    def training_job(self) -> TrainingRequest:
        """The training that the settings ask for."""
        shown = self._parameters
        excluded = tuple(shown.excluded)
        return TrainingRequest(self.cohort_job(), self._target(), shown.device, shown.steps, excluded, shown.site)

    def calibration_job(self) -> CalibrationRequest:
        """The new calibration of another package that the settings ask for."""
        shown = self._parameters
        excluded = tuple(shown.excluded)
        return CalibrationRequest(
            self.cohort_job(), shown.calibratedPackage, self._target(), shown.device, excluded, shown.site
        )

    def _target(self) -> Target:
        return Target(self._parameters.outputFolder, self._parameters.packageName.strip() or self._default_name())

    def _default_name(self) -> str:
        return f"{self._parameters.detector}_{self._parameters.contrast}".lower()

    def _describe(self, choice: Choice) -> None:
        self._ui.detectorDescriptionLabel.text = choice.description

    def _on_detector(self, value: str) -> None:
        if self._parameters is not None:
            self._parameters.detector = value

    def _on_preset(self, value: str) -> None:
        if self._parameters is not None:
            self._parameters.preset = value

    def _on_output_path(self, path: str) -> None:
        if self._parameters is not None:
            self._parameters.outputFolder = path

    def _on_calibrated_path(self, path: str) -> None:
        if self._parameters is not None:
            self._parameters.calibratedPackage = path

    def _on_cohort_path(self, path: str) -> None:
        if self._parameters is not None and path != self._parameters.cohortFolder:
            self._parameters.cohortFolder = path
            self._parameters.excluded = []
            self._cohort_changed()


def _set_path(edit: Any, path: str) -> None:
    if edit.currentPath != path:
        edit.currentPath = path
