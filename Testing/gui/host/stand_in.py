"""Helpers for the host's own widgets: plain PySide6 classes with the names, properties and signals of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets


def stored(kind: Any, name: str, default: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A Qt property that keeps its value in the widget and may call a method of it when it is set."""
    key = f"_stored_{name}"

    def read(self: Any) -> Any:
        return getattr(self, key, default)

    def write(self: Any, value: Any) -> None:
        setattr(self, key, value)
        if changed is not None:
            changed(self)

    return QtCore.Property(kind, read, write)


def row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    """Lay parts out side by side without margins."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return layout
