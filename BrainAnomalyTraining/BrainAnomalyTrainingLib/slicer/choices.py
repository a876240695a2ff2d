"""Combo boxes that show words and stand for values of the parameter node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from BrainAnomalyLib.slicer.panel.common.connections import Connections

ComboBox = Any


@dataclass(frozen=True)
class Choice:
    """One entry: the value that is saved, the words that are shown, and what they mean."""

    value: str
    title: str
    description: str = ""


class ChoiceBox:
    """Keeps a combo box and a value in step. ``changed`` is called with the value that the user chose."""

    def __init__(
        self, box: ComboBox, connections: Connections, choices: Sequence[Choice], changed: Callable[[str], None]
    ) -> None:
        self._box = box
        self._choices = tuple(choices)
        self._changed = changed
        for choice in choices:
            box.addItem(choice.title)
        self._show_description()
        connections.of(box).connect("currentIndexChanged(int)", self._on_changed)

    @property
    def choice(self) -> Choice:
        """The entry that is chosen."""
        return self._choices[max(0, self._box.currentIndex)]

    def choose(self, value: str) -> None:
        """Show this value; the first one if it is not known."""
        values = [choice.value for choice in self._choices]
        self._box.currentIndex = values.index(value) if value in values else 0

    def _on_changed(self, index: int) -> None:
        self._show_description()
        self._changed(self.choice.value)

    def _show_description(self) -> None:
        self._box.toolTip = self.choice.description
