"""The Host that tests hold: opens modules, clicks and types as a user, waits, takes pictures."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from .record import RECORD, Record
from .scripted_module import PACKAGING, PackagingRecord

ROOT = Path(__file__).resolve().parents[3]


class Host:
    """One running host with a fresh scene. Made by ``installed()``, see the package's docstring."""

    def __init__(self) -> None:
        self.record: Record = RECORD
        self.packaging: PackagingRecord = PACKAGING
        self._panels: dict[str, Any] = {}
        self._entered = ""
        self._modules: list[str] = []
        slicer.util.moduleSelector().qt_object().open_module = self._enter

    def load_module(self, name: str) -> ModuleType:
        """Import a module file of this repository as the application does, and register it in ``slicer.modules``."""
        path = ROOT / name / f"{name}.py"
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        specification = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        self._modules.append(name)
        specification.loader.exec_module(module)
        slicer.modules.add_scripted(name, path)
        return module

    def open(self, name: str, width: int = 480, height: int = 900) -> Any:
        """Open a module as the user does, and show its panel. The widget object of the module."""
        slicer.util.selectModule(name)
        return self.show(self._panels[name], width, height)

    def show(self, panel: Any, width: int = 480, height: int = 900) -> Any:
        """Show a panel with a size in pixels; higher if it needs that, as in the application's scroll area."""
        qt = panel.parent.qt_object()
        qt.resize(width, height)
        qt.show()
        self._fit(qt)
        return panel

    def _fit(self, qt: QtWidgets.QWidget) -> None:
        """Make a window as high as its content needs."""
        self.process_events()
        needed = qt.layout().totalHeightForWidth(qt.width()) if qt.layout() else 0
        qt.resize(max(qt.width(), self.narrowest(qt)), max(qt.height(), needed, qt.minimumSizeHint().height()))
        self.process_events()
        hidden = sum(area.verticalScrollBar().maximum() for area in qt.findChildren(QtWidgets.QScrollArea))
        qt.resize(qt.width(), qt.height() + hidden)
        self.process_events()

    @staticmethod
    def narrowest(widget: Any) -> int:
        """The width in pixels that the application's module panel is forced to, and does not scroll below."""
        qt = widget if isinstance(widget, QtWidgets.QWidget) else widget.qt_object()
        return qt.minimumSizeHint().width()

    def _enter(self, name: str) -> None:
        """What the application does when a module is selected: import, register, set up, leave the other, enter."""
        if name not in self._panels:
            module = self.load_module(name)
            getattr(module, name)(_Registration())
            self._panels[name] = getattr(module, f"{name}Widget")()
        if self._entered:
            self._panels[self._entered].exit()
        self._entered = name
        self._panels[name].enter()

    def click(self, widget: Any) -> None:
        """A left click on the middle of a widget (on the box of a check box, the header of a collapsible button)."""
        qt = widget.qt_object()
        if not qt.isEnabled():
            raise AssertionError(f"{widget.name} is disabled: {qt.toolTip()}")
        is_check = isinstance(qt, QtWidgets.QCheckBox | QtWidgets.QRadioButton)
        header = QtCore.QPoint(10, 10) if is_check or hasattr(qt, "contentsCollapsed") else QtCore.QPoint()
        QtTest.QTest.mouseClick(qt, QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier, header)
        self.process_events()

    def click_cell(self, table: Any, row: int, column: int) -> None:
        """A left click into a cell of a table widget or view."""
        qt = table.qt_object()
        place = qt.visualRect(qt.model().index(row, column)).center()
        QtTest.QTest.mouseClick(
            qt.viewport(), QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier, place
        )
        self.process_events()

    def type(self, widget: Any, text: str) -> None:
        """Key by key into an edit; into the editable part of a path edit."""
        qt = widget.qt_object()
        target = qt if isinstance(qt, QtWidgets.QLineEdit) else qt.findChild(QtWidgets.QLineEdit) or qt
        QtTest.QTest.keyClicks(target, text)
        self.process_events()

    def press(self, widget: Any, key: str) -> None:
        """One key, such as "Down", on a widget that has the focus."""
        target = widget.qt_object()
        target.setFocus()
        QtTest.QTest.keyClick(target, getattr(QtCore.Qt.Key, f"Key_{key}"))
        self.process_events()

    def choose(self, combo_box: Any, text: str) -> None:
        """Choose an entry of a combo box as a user does: activated() is emitted too."""
        qt = combo_box.qt_object()
        box = qt if isinstance(qt, QtWidgets.QComboBox) else qt.findChild(QtWidgets.QComboBox)
        index = box.findText(text)
        if index < 0:
            raise AssertionError(f"{text!r} is not among {[box.itemText(place) for place in range(box.count())]}")
        box.setCurrentIndex(index)
        box.activated.emit(index)
        self.process_events()

    def process_events(self) -> None:
        """Let Qt handle what is waiting, deferred deletes too."""
        QtWidgets.QApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    def wait(self, until: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
        """Process events until a condition holds, and return its value; AssertionError after ``seconds``."""
        end = time.monotonic() + seconds
        while not (value := until()):
            if time.monotonic() > end:
                problems = self.record.problems
                raise AssertionError(f"waited {seconds:g} s for {what or until} in vain; problems: {problems}")
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            time.sleep(0.005)
        return value

    def answer(self, *answers: Any) -> None:
        """What the next modal dialogs return: a path, a button's number, or a function of the open dialog."""
        self.record.answers.extend(answers)

    def picture(self, widget: Any, path: Path | None = None) -> QtGui.QImage:
        """A picture of a widget, saved as PNG if a path is given."""
        qt = widget.qt_object()
        if qt.isWindow():
            self._fit(qt)
        image = qt.grab().toImage()
        if path is not None:
            image.save(str(path), "PNG")
        return image

    def slice_view(self, name: str = "Red") -> Any:
        """The offscreen drawing of a slice view: ``draw()`` gives RGB pixels (row, column, 3), row 0 on top.

        Ask for it once before the nodes it is to show: color legends that are there already are not drawn.
        """
        view = slicer.app.layoutManager().qt_object().sliceWidget(name).drawn()
        # Their displayable manager looks at the layers of a view only when a legend changes.
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
            legend.Modified()
        return view

    def close_panels(self) -> None:
        """Leave and clean up the open panels as the application does at exit."""
        if self._entered:
            self._panels[self._entered].exit()
        for panel in self._panels.values():
            panel.cleanup()
            panel.parent.hide()
            panel.parent.deleteLater()
        self._panels, self._entered = {}, ""
        self.process_events()

    def forget_modules(self) -> None:
        """Drop the module files that were loaded."""
        for name in self._modules:
            sys.modules.pop(name, None)
        self._modules.clear()


class _Registration:
    """The parent that a ScriptedLoadableModule fills in."""
