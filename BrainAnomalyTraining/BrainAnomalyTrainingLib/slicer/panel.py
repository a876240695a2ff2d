"""The training panel: starts commands, watches them by a timer, and lets only those buttons be pressed that make sense.

The run goes on without the panel. It is found again by the folder that the scene or the application's settings name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from BrainAnomalyLib.slicer.panel.common.connections import Connections
from BrainAnomalyLib.slicer.panel.common.messages import Messages, show_text

from .cohort_view import CohortView
from .run_view import RunView, allow, example_file
from .runs.example_volumes import load_example, show_example
from .runs.last_run import remember, remembered, run_to_show
from .runs.requests import start_check, start_job
from .runs.run_monitor import Phase, RunMonitor
from .settings_view import SettingsView
from .trained_package import use_in_brain_anomaly
from .training_parameters import TrainingParameters
from .wording import cohort_summary

POLL_MILLISECONDS = 500


class TrainingPanel(VTKObservationMixin):
    """Everything behind the widgets of ``BrainAnomalyTraining.ui``.

    ``ui`` holds the widgets by name; ``parameters`` makes the parameter object of the scene that is open now.
    """

    def __init__(self, ui: Any, parameters: Callable[[], TrainingParameters]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.monitor = RunMonitor.none()
        self._new_parameters = parameters
        self._connections = Connections()
        self._messages = Messages(ui, self._connections)
        self._settings = SettingsView(ui, self._connections, self._on_cohort_changed)
        self._cohort = CohortView(ui, self._connections, self._on_excluded)
        self._run = RunView(ui, self._messages)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._connect()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_opened)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_opened)
        self._open_scene()

    def close(self) -> None:
        """The panel goes away; a run goes on."""
        self._timer.stop()
        self.removeObservers()
        self._settings.release()
        self._connections.close()

    def refresh(self) -> None:
        """Look at the run again, as when the module is entered."""
        self.monitor.poll()
        self.update()

    def update(self) -> None:
        """Show the run and what can be done with it now."""
        self._run.show(self.monitor)
        if self.monitor.cohort in ("", self._settings.cohort_folder):
            self._cohort.show(self.monitor.state.scans, self.monitor.folder)
        show_text(self.ui.cohortSummaryLabel, cohort_summary(self._cohort.scans))
        self._update_controls()

    def _open_scene(self) -> None:
        """Show the settings of the scene, and its run or the last one."""
        parameters: Any = self._new_parameters()
        self._settings.bind(parameters)
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
        if not self.monitor.phase.is_alive:
            self._watch(run_to_show(parameters.runFolder, remembered()))
        if not parameters.cohortFolder:
            parameters.cohortFolder = self.monitor.cohort
        self._cohort.show_excluded(parameters.excluded)
        self.update()

    def _on_scene_closes(self, caller: Any = None, event: Any = None) -> None:
        self.removeObservers(self._on_parameters)
        self._settings.release()

    def _on_scene_opened(self, caller: Any = None, event: Any = None) -> None:
        with self._messages.plain():
            self.removeObservers(self._on_parameters)
            self._open_scene()

    def _connect(self) -> None:
        self._connections.of(self._timer).connect("timeout()", self._on_timer)
        for button, slot in (
            (self.ui.checkCohortButton, self._on_check_cohort),
            (self.ui.startButton, self._on_start),
            (self.ui.pauseButton, self._on_pause),
            (self.ui.resumeButton, self._on_resume),
            (self.ui.cancelButton, self._on_cancel),
            (self.ui.showLossButton, self._on_show_loss),
            (self.ui.showExampleButton, self._on_show_example),
            (self.ui.calibrateButton, self._on_calibrate),
            (self.ui.useButton, self._on_use),
        ):
            self._connections.of(button).connect("clicked()", slot)

    def _watch(self, monitor: RunMonitor) -> None:
        self.monitor = monitor
        if not monitor.folder.is_dir():
            return
        remember(monitor.folder)
        if self._settings.parameters is not None:
            self._settings.parameters.runFolder = str(monitor.folder)
        self._timer.start()

    def _on_timer(self) -> None:
        with self._messages.plain():
            if self.monitor.poll():
                self.update()
        if not self.monitor.phase.is_alive:
            self._timer.stop()

    def _on_parameters(self, caller: Any = None, event: Any = None) -> None:
        with self._messages.plain():
            self._settings.refresh()
            self._find_begun_training()
            self._update_controls()

    def _find_begun_training(self) -> None:
        """Where the settings name a training that was begun, show it, so that it can be resumed."""
        folder = self._settings.training_job().target.run_folder
        if self.monitor.phase.is_alive or folder == self.monitor.folder or not folder.is_dir():
            return
        self._watch(RunMonitor(folder))
        self.update()

    def _on_cohort_changed(self) -> None:
        self._cohort.clear()
        self._cohort.show_excluded(())
        show_text(self.ui.cohortSummaryLabel, "")

    def _on_excluded(self, subjects: list[str]) -> None:
        if self._settings.parameters is not None:
            self._settings.parameters.excluded = subjects

    def _on_check_cohort(self) -> None:
        with self._messages.plain():
            self._cohort.clear()
            self._watch(start_check(self._settings.cohort_job()))
            self.update()

    def _on_start(self) -> None:
        with self._messages.plain():
            self._watch(start_job(self._settings.training_job()))
            self.update()

    def _on_calibrate(self) -> None:
        with self._messages.plain():
            self._watch(start_job(self._settings.calibration_job()))
            self.update()

    def _on_resume(self) -> None:
        with self._messages.plain():
            self.monitor.start(self.monitor.arguments)
            self._watch(self.monitor)
            self.update()

    def _on_pause(self) -> None:
        with self._messages.plain():
            self.monitor.pause()
            self.update()

    def _on_cancel(self) -> None:
        with self._messages.plain():
            self.monitor.cancel()
            self.update()

    def _on_show_loss(self) -> None:
        with self._messages.plain():
            chart = self._run.draw_losses(self.monitor).chart
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _on_show_example(self) -> None:
        with self._messages.plain():
            path = example_file(self.monitor, "volume")
            if path is not None:
                show_example(load_example(slicer.mrmlScene, path))

    def _on_use(self) -> None:
        with self._messages.plain():
            if self.monitor.state.package is not None:
                use_in_brain_anomaly(self.monitor.state.package)
                self._messages.say(_("The package is now among the models of Brain Anomaly."))

    def _update_controls(self) -> None:
        if self._settings.parameters is None:
            return
        alive = self.monitor.phase.is_alive
        self._settings.enable(not alive)
        busy = _("A run is going on.") if alive else ""
        cohort, training = self._settings.cohort_job(), self._settings.training_job()
        allow(self.ui.checkCohortButton, busy or cohort.problem(), _("Find and prepare the scans."))
        allow(self.ui.startButton, busy or training.problem(), _("Train the detector on the scans."))
        again = self._settings.calibration_job().problem()
        allow(self.ui.calibrateButton, busy or again, _("Set the thresholds of the package by these scans."))
        self._update_run_controls()

    def _update_run_controls(self) -> None:
        phase = self.monitor.phase
        problem = "" if self.monitor.is_training and phase is Phase.RUNNING else _("No training is running.")
        allow(self.ui.pauseButton, problem, _("Write a checkpoint and stop; Resume goes on."))
        problem = "" if phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSING) else _("Nothing is running.")
        allow(self.ui.cancelButton, problem, _("End the run."))
        problem = "" if self.monitor.can_resume else _("No training is paused.")
        allow(self.ui.resumeButton, problem, _("Go on from the last checkpoint."))
