"""The setup section: what is installed, one button for what is not, and how to do it without internet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .common.connections import Connections
from .common.messages import Messages, show_text
from .dependencies import install, missing, states

UNFINISHED_KEY = "BrainAnomaly/SetupUnfinished"


class SetupSection:
    """Status lines and the install button. An installation that needs a restart goes on when Slicer is back."""

    def __init__(
        self,
        ui: Any,
        messages: Messages,
        connections: Connections,
        requirements_file: Path,
        installed: Callable[[], None],
    ) -> None:
        self._ui, self._messages = ui, messages
        self._requirements_file, self._installed = requirements_file, installed
        connections.of(ui.installButton).connect("clicked()", self.onInstall)
        ui.offlineLabel.text = self._offline_text()
        self.refresh()
        self._resume()

    def refresh(self) -> None:
        """Look again at what is installed."""
        found = states(self._requirements_file)
        lines = [state.text() for state in found]
        complete = all(state.is_enough for state in found)
        headline = _("Everything is installed.") if complete else _("Some packages are missing:")
        show_text(self._ui.setupStatusLabel, "\n".join([headline, *lines]))
        self._ui.installButton.enabled = not complete
        self._ui.installButton.toolTip = (
            _("Nothing is missing.") if complete else _("Install Python packages into 3D Slicer, after asking you.")
        )

    def problem(self) -> str:
        """What is missing for any run, as a sentence; empty if nothing is."""
        names = [requirement.split(">=")[0] for requirement in missing(self._requirements_file)]
        if not names:
            return ""
        text = _("Missing Python packages: {names}. Open 'Setup' below to install them.")
        return str(text.format(names=", ".join(names)))

    def onInstall(self) -> None:
        """Install what is missing; the reader has asked for it."""
        self._remember(True)
        with self._messages.action():
            install(self._requirements_file)
        self.refresh()
        left = self.problem()
        if not left:
            self._remember(False)
            self._messages.say(_("Everything is installed."))
        self._installed()

    def _resume(self) -> None:
        """Come back to an installation that was not finished, for example because Slicer had to be restarted."""
        unfinished = slicer.util.settingsValue(UNFINISHED_KEY, False, converter=slicer.util.toBool)
        if not unfinished:
            return
        if self.problem():
            self._ui.setupCollapsibleButton.collapsed = False
            self._messages.say(_("The installation was not finished. Press 'Install what is missing' to go on."))
        else:
            self._remember(False)

    @staticmethod
    def _remember(unfinished: bool) -> None:
        qt.QSettings().setValue(UNFINISHED_KEY, unfinished)

    def _offline_text(self) -> str:
        text = _(
            "Without internet: on another computer of the same kind run\n"
            "pip download torch -r requirements.txt -d packages\n"
            "with the file {file}, copy the folder 'packages' here, and run in Slicer's Python console:\n"
            "slicer.util.pip_install('--no-index --find-links PATH/packages torch -r \"{file}\"')"
        )
        return str(text.format(file=self._requirements_file))
