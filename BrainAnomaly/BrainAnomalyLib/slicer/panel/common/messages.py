"""Everything the panel has to say: one line in the panel, everything in the log, no pop-ups."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt

from ....service.jobs import InternalError, in_plain_words
from .connections import Connections

# Orange: can be read on the light and on the dark background of the application.
WARNING_STYLE = "color: #d06a00"


class Messages:
    """The message line and the log with its copy button."""

    def __init__(self, ui: Any, connections: Connections) -> None:
        self._ui = ui
        connections.of(ui.copyLogButton).connect("clicked()", self.copyLog)

    def say(self, text: str, warns: bool = False) -> None:
        """Show a sentence in the message line and keep it in the log; an empty one clears the line.

        ``warns`` gives it the color of warnings.
        """
        self._ui.messageLabel.styleSheet = WARNING_STYLE if warns else ""
        show_text(self._ui.messageLabel, text)
        if text:
            self.log(text)

    def log(self, text: str) -> None:
        """Add to the log only."""
        self._ui.logTextEdit.appendPlainText(f"{time.strftime('%H:%M:%S')} {text.rstrip()}")

    def fail(self, error: BaseException) -> None:
        """Say what went wrong in plain words; the traceback of a fault of the program goes to the log."""
        plain = in_plain_words(error)
        self.say(plain.sentence(), warns=True)
        if isinstance(plain, InternalError):
            self.log("".join(traceback.format_exception(error)))

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Inside, failures are said in plain words instead of being lost: PythonQt swallows what a slot raises."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    @contextmanager
    def action(self) -> Iterator[None]:
        """Inside is what the reader asked for: what was said of the action before goes; failures as in ``plain``."""
        self.say("")
        with self.plain():
            yield

    def copyLog(self) -> None:
        """Put the whole log on the clipboard."""
        qt.QApplication.clipboard().setText(self._ui.logTextEdit.toPlainText())


def show_text(label: Any, text: str) -> None:
    """Show a text in a label, which takes no room while it has none."""
    label.text = text
    label.visible = bool(text)
