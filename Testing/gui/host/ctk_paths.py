"""Stand-ins for the path widgets of CTK."""

# ruff: noqa: N801, N815, RUF012  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from .record import RECORD
from .stand_in import row, stored


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a browse button and a history."""

    Dirs, Files, Drives, Hidden, Executable, Writable, Readable = 1, 2, 4, 256, 0x40, 0x20, 0x10
    FLAGS = {"filters": {"Dirs": 1, "Files": 2, "Drives": 4, "Readable": 16, "Writable": 32, "Executable": 64}}

    currentPathChanged = QtCore.Signal("QString")
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.lineEdit().textChanged.connect(self.currentPathChanged)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("...")
        self._browse.clicked.connect(lambda: self.browse())
        row(self, self._box, self._browse)

    def setCurrentPath(self, path: str) -> None:
        self._box.lineEdit().setText(path)

    def browse(self) -> None:
        """Ask for a path; tests queue the answer."""
        chosen = RECORD.answer(f"ctkPathLineEdit.browse({self.objectName()})", "")
        if chosen:
            self.setCurrentPath(chosen)

    def addCurrentPathToHistory(self) -> None:
        if self.currentPath and self._box.findText(self.currentPath) < 0:
            self._box.addItem(self.currentPath)

    def clear(self) -> None:
        self._box.lineEdit().clear()

    def comboBox(self) -> QtWidgets.QComboBox:
        """The editable combo box inside."""
        return self._box

    currentPath = QtCore.Property("QString", lambda self: self._box.lineEdit().text(), setCurrentPath)
    filters = stored(int, "filters", 3)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored("QString", "settingKey", "")
    options = stored(int, "options", 0)
    label = stored("QString", "label", "")
    showBrowseButton = QtCore.Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, on: self._browse.setVisible(on)
    )
    showHistoryButton = stored(bool, "showHistoryButton", True)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder; the current folder by default."""

    directoryChanged = QtCore.Signal("QString")
    directorySelected = QtCore.Signal("QString")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._folder = QtCore.QDir.currentPath()
        self._button = QtWidgets.QPushButton(self._folder, self)
        self._button.clicked.connect(lambda: self.browse())
        row(self, self._button)

    def setDirectory(self, path: str) -> None:
        changed, self._folder = path != self._folder, path
        self._button.setText(path)
        if changed:
            self.directoryChanged.emit(path)

    def browse(self) -> None:
        """Ask for a folder; tests queue the answer."""
        chosen = RECORD.answer(f"ctkDirectoryButton.browse({self.objectName()})", "")
        if chosen:
            self.setDirectory(chosen)
            self.directorySelected.emit(chosen)

    directory = QtCore.Property("QString", lambda self: self._folder, setDirectory)
    caption = stored("QString", "caption", "")
