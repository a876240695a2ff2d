"""Detect and cancel: one button, a progress bar with stage and time left."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..common.messages import show_text
from ..common.plain_words import duration
from .detection_runner import RunProgress


class RunControls:
    """The button that detects or cancels, and what shows how far a run is."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.showIdle(_("Choose a scan first."))

    def showIdle(self, problem: str) -> None:
        """No run: the button detects, or says why it cannot."""
        button = self._ui.detectButton
        button.text = _("Detect anomalies")
        button.enabled = not problem
        button.toolTip = problem or _("Find what differs from healthy brains in the chosen scan.")
        self._ui.progressBar.visible = False
        show_text(self._ui.stageLabel, "")

    def showRunning(self) -> None:
        """A run began: the button cancels it."""
        button = self._ui.detectButton
        button.text = _("Cancel")
        button.toolTip = _("Stop the detection; an earlier result stays as it is.")
        button.enabled = True
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = True

    def showCancelling(self) -> None:
        """The run was told to stop."""
        self._ui.detectButton.enabled = False
        self._ui.detectButton.text = _("Cancelling...")
        show_text(self._ui.stageLabel, _("Cancelling: the current step is ended."))

    def showProgress(self, progress: RunProgress) -> None:
        """Stage, fraction and time left."""
        self._ui.progressBar.value = round(1000 * progress.fraction)
        show_text(self._ui.stageLabel, stage_text(progress))


def stage_text(progress: RunProgress) -> str:
    """``Aligning with the template, 40 %, about 20 s left``."""
    text = f"{progress.stage}, {progress.fraction:.0%}"
    if progress.seconds_left is not None:
        text += _(", about {time} left").format(time=duration(progress.seconds_left))
    return text
