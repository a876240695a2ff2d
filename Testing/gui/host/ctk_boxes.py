"""Stand-ins for the containers, buttons and combo boxes of CTK."""

# ruff: noqa: N801, N815  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .stand_in import stored

_HEADER = 24


class _Collapsing:
    """Shared by the two collapsible containers: children are hidden while it is collapsed.

    A child that was hidden by itself, also meanwhile, stays hidden when the container is opened.
    """

    def _collapse(self, collapsed: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and not child.isWindow():
                self._show_child(child, not collapsed)
        self.updateGeometry()

    def _show_child(self, child: QtWidgets.QWidget, shown: bool) -> None:
        wanted = child.property("visibilityToParent")
        self._forcing = True
        child.setVisible(shown and wanted is not False)
        if wanted is not False:
            child.setAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def _adopt(self, child: QtCore.QObject) -> None:
        if isinstance(child, QtWidgets.QWidget):
            explicit = child.testAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            if explicit and child.isHidden():
                child.setProperty("visibilityToParent", False)
            child.installEventFilter(self)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if not self.__dict__.get("_forcing", False):
            if event.type() == QtCore.QEvent.Type.ShowToParent:
                child.setProperty("visibilityToParent", True)
                if self.collapsed:
                    self._show_child(child, False)
            elif event.type() == QtCore.QEvent.Type.HideToParent:
                child.setProperty("visibilityToParent", False)
        return False


class ctkCollapsibleButton(_Collapsing, QtWidgets.QWidget):
    """A section whose header hides and shows its content."""

    contentsCollapsed = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = [argument for argument in arguments if isinstance(argument, str)]
        super().__init__(*[argument for argument in arguments if not isinstance(argument, str)])
        self._text, self._collapsed = (text or [""])[0], False
        self.setContentsMargins(0, _HEADER, 0, 0)
        # Not Preferred: what the content would like to have becomes the least that the section takes.
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self._collapse(collapsed)
            self.contentsCollapsed.emit(collapsed)
            self.toggled.emit(not collapsed)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() <= _HEADER:
            self.setCollapsed(not self._collapsed)
            self.clicked.emit(not self._collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added():
            self._adopt(event.child())
        if self.__dict__.get("_collapsed") and event.added() and event.child().isWidgetType():
            QtCore.QTimer.singleShot(0, self, lambda: self._collapse(self._collapsed))

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        self._collapse(self._collapsed)

    def hasHeightForWidth(self) -> bool:
        return bool(self.layout()) and not self._collapsed and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return self.layout().totalHeightForWidth(width) if self.hasHeightForWidth() else _HEADER

    def sizeHint(self) -> QtCore.QSize:
        return self._needed("totalSizeHint")

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._needed("totalMinimumSize")

    def _needed(self, kind: str) -> QtCore.QSize:
        header = QtCore.QSize(100, _HEADER)
        inner = getattr(self.layout(), kind)() if self.layout() and not self._collapsed else header
        return inner.expandedTo(header)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), _HEADER)
        option.text = ("▸ " if self._collapsed else "▾ ") + self._text
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)

    text = QtCore.Property("QString", lambda self: self._text, setText)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, setCollapsed)
    checked = QtCore.Property(bool, lambda self: not self._collapsed, lambda self, on: self.setCollapsed(not on))
    flat = stored(bool, "flat", False)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    collapsedHeight = stored(int, "collapsedHeight", 10)


class ctkCollapsibleGroupBox(_Collapsing, QtWidgets.QGroupBox):
    """A group box with a tick that hides its content."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda on: self._collapse(not on))

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added():
            self._adopt(event.child())

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        super().showEvent(event)
        self._collapse(self.collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), setCollapsed)
    collapsedHeight = stored(int, "collapsedHeight", 10)


class ctkPushButton(QtWidgets.QPushButton):
    """A push button with elided text."""


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box with an indicator icon."""


class ctkCheckablePushButton(QtWidgets.QPushButton):
    """A push button with a check box inside."""

    checkBoxToggled = QtCore.Signal(bool)


class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu at its side."""


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text shown when nothing is chosen."""

    defaultText = stored("QString", "defaultText", "")


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose entries are ticked."""

    checkedIndexesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().itemChanged.connect(lambda _: self.checkedIndexesChanged.emit())
        self.model().rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, _parent: Any, first: int, last: int) -> None:
        for index in range(first, last + 1):
            self.model().item(index).setCheckable(True)
            self.model().item(index).setCheckState(QtCore.Qt.CheckState.Unchecked)

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        rows = range(self.count())
        ticked = [index for index in rows if self.model().item(index).checkState() == QtCore.Qt.CheckState.Checked]
        return [self.model().index(index, 0) for index in ticked]

    def checkState(self, index: QtCore.QModelIndex) -> QtCore.Qt.CheckState:
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index: QtCore.QModelIndex, state: Any) -> None:
        self.model().itemFromIndex(index).setCheckState(QtCore.Qt.CheckState(int(getattr(state, "value", state))))


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with "do not show again"."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored("QString", "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)


class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button that holds a color."""

    colorChanged = QtCore.Signal(QtGui.QColor)

    def _set(self, color: QtGui.QColor) -> None:
        self._color = QtGui.QColor(color)
        self.colorChanged.emit(self._color)

    color = QtCore.Property(QtGui.QColor, lambda self: getattr(self, "_color", QtGui.QColor("black")), _set)
    displayColorName = stored(bool, "displayColorName", True)


class ctkExpandableWidget(QtWidgets.QFrame):
    """A frame with a grip."""


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    collapsed = stored(bool, "collapsed", False)
    collapsibleText = stored("QString", "collapsibleText", "")


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit with a magnifying glass."""

    showSearchIcon = stored(bool, "showSearchIcon", True)
    alwaysShowClearIcon = stored(bool, "alwaysShowClearIcon", False)
