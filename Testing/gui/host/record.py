"""What went wrong while tests drove the host: PythonQt only prints these things, so a test has to ask."""

from __future__ import annotations

import sys
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """Everything that the application would have printed and gone on from, and the answers that tests give to dialogs.

    ``problems`` lists slots that raised, refused connections, unknown .ui classes and properties, dialogs nobody
    answered. ``answers`` holds what the next modal dialogs return, first in, first out.
    """

    slot_errors: list[str] = field(default_factory=list)
    failed_connections: list[str] = field(default_factory=list)
    ui_problems: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    opened_urls: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)

    @property
    def problems(self) -> list[str]:
        """All problems in one list; empty when a test went as it should."""
        return [*self.slot_errors, *self.failed_connections, *self.ui_problems, *self.unanswered]

    def clear(self) -> None:
        """Forget everything."""
        for entries in vars(self).values():
            entries.clear()

    def slot_raised(self) -> None:
        """Print and remember the exception being handled, as PythonQt prints and swallows it."""
        text = traceback.format_exc()
        self.slot_errors.append(text)
        print(text, file=sys.stderr)

    def connection_failed(self, signature: str, class_name: str) -> bool:
        """Print PythonQt's message and return what its connect() returns."""
        text = f"PythonQt: QObject::connect() signal '{signature}' does not exist on {class_name}"
        self.failed_connections.append(text)
        print(text, file=sys.stderr)
        return False

    def answer(self, question: str, default: Any) -> Any:
        """The next answer of the test to a modal dialog; without one the dialog counts as unanswered."""
        self.dialogs.append(question)
        if self.answers:
            return self.answers.popleft()
        self.unanswered.append(f"nobody answered: {question}")
        return default


RECORD = Record()
