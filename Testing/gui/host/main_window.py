"""The main window as far as slicer.util needs it: the module selector and the status bar."""

# ruff: noqa: N801, N815  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets


class qSlicerModuleSelectorToolBar(QtCore.QObject):
    """``slicer.util.selectModule`` ends here."""

    moduleSelected = QtCore.Signal("QString")

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._selected = ""
        self.open_module: Callable[[str], Any] = lambda name: None

    def selectModule(self, name: str) -> None:
        """Leave the module shown now and enter another."""
        if name != self._selected:
            self._selected = name
            self.open_module(name)
            self.moduleSelected.emit(name)

    selectedModule = QtCore.Property("QString", lambda self: self._selected)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Never shown."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        """The module selector."""
        return self._selector
