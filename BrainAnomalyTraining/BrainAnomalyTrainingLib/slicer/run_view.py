"""The part of the panel that shows a run: progress, words, losses, example, calibration, log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from BrainAnomalyLib.slicer.panel.common.messages import Messages, show_text
from BrainAnomalyLib.slicer.panel.common.plain_words import duration

from . import wording
from .pictures import show_picture
from .runs.loss_plot import LossPlot
from .runs.run_monitor import Phase, RunMonitor

_PERCENT = 100


class RunView:
    """Shows whatever monitor it is given; ``show`` is called whenever that has read something new."""

    def __init__(self, ui: Any, messages: Messages) -> None:
        self._ui, self._messages = ui, messages
        self._losses_drawn = (0, 0)
        self._logged: tuple[Path, Phase] | None = None

    def show(self, monitor: RunMonitor) -> None:
        """Show this run."""
        self._show_progress(monitor)
        self._show_losses(monitor)
        self._show_example(monitor)
        self._show_result(monitor)
        self._show_log(monitor)

    def draw_losses(self, monitor: RunMonitor) -> LossPlot:
        """Draw the loss curve into the scene; it is kept up to date from then on."""
        plot = LossPlot(slicer.mrmlScene)
        plot.update(monitor.state.losses, monitor.state.validation_losses)
        return plot

    def _show_progress(self, monitor: RunMonitor) -> None:
        state, alive = monitor.state, monitor.phase.is_alive
        self._ui.progressBar.visible = alive
        self._ui.progressBar.value = round(_PERCENT * state.fraction)
        show_text(self._ui.stageLabel, wording.stage(state.stage) if alive else "")
        left = state.seconds_left if alive else None
        text = _("About {time} left in this stage.").format(time=duration(left)) if left is not None else ""
        show_text(self._ui.timeLeftLabel, text)
        show_text(self._ui.messageLabel, "\n".join(filter(None, [wording.situation(monitor), *state.warnings])))

    def _show_losses(self, monitor: RunMonitor) -> None:
        state = monitor.state
        self._ui.lossLabel.text = wording.loss_sentence(state)
        problem = "" if state.losses else _("There is no loss yet.")
        allow(self._ui.showLossButton, problem, _("Show the loss curve in a plot view."))
        drawn = (state.step, len(state.losses) + len(state.validation_losses))
        if state.losses and drawn != self._losses_drawn and LossPlot(slicer.mrmlScene).is_drawn:
            self._losses_drawn = drawn
            self.draw_losses(monitor)

    def _show_example(self, monitor: RunMonitor) -> None:
        picture = example_file(monitor, "picture")
        shown = show_picture(self._ui.exampleLabel, picture, _("No example yet."))
        caption = _("From left to right: the scan, the healthy scan that is expected, and their difference.")
        show_text(self._ui.exampleCaption, caption if shown else "")
        problem = "" if example_file(monitor, "volume") else _("There is no example yet.")
        allow(self._ui.showExampleButton, problem, _("Load the latest example and show it in the slice views."))

    def _show_result(self, monitor: RunMonitor) -> None:
        done = monitor.phase is Phase.FINISHED and monitor.state.package is not None
        text = wording.calibration(monitor.state.calibration) if done else _("Not calibrated yet.")
        self._ui.calibrationLabel.text = text
        problem = "" if done else _("No training has finished here.")
        allow(self._ui.useButton, problem, _("Add the package to your models and open Brain Anomaly."))

    def _show_log(self, monitor: RunMonitor) -> None:
        for line in filter(None, map(wording.log_line, monitor.take_unread())):
            self._ui.logTextEdit.appendPlainText(line)
        state = (monitor.folder, monitor.phase)
        if state != self._logged and monitor.phase in (Phase.STARTING, Phase.FAILED, Phase.LOST):
            self._messages.log("\n".join((wording.command_line(monitor.arguments), monitor.console())))
        self._logged = state


def example_file(monitor: RunMonitor, kind: str) -> Path | None:
    """The "picture" or the "volume" of the run's latest example, None if it has none."""
    name = (monitor.state.example or {}).get(kind)
    path = monitor.folder / name if name else None
    return path if path is not None and path.is_file() else None


def allow(button: Any, problem: str, purpose: str) -> None:
    """Enable a button unless there is a problem; its tip says why not, or what it does."""
    button.enabled = not problem
    button.toolTip = problem or purpose
