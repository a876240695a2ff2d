"""Connections of a panel's slots, so that all of them can be cut when the panel goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Slot = Callable[..., Any]


class Connections:
    """Remembers what was connected. PythonQt keeps a slot, and all that it belongs to, until it is disconnected.

    >>> connections.of(button).connect("clicked()", self.onClicked)
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Slot]] = []

    def of(self, sender: Any) -> Sender:
        """The widget or timer whose signal is to be connected."""
        return Sender(sender, self._made)

    def close(self) -> None:
        """Cut everything that is still there."""
        for sender, signal, slot in self._made:
            if sender:
                sender.disconnect(signal, slot)
        self._made.clear()


@dataclass(frozen=True, eq=False)
class Sender:
    """One Qt object; ``made`` is where its connections are remembered."""

    qt_object: Any
    made: list[tuple[Any, str, Slot]]

    def connect(self, signal: str, slot: Slot) -> None:
        """Call ``slot`` on a signal such as ``"clicked()"`` until the connections are closed."""
        self.qt_object.connect(signal, slot)
        self.made.append((self.qt_object, signal, slot))
