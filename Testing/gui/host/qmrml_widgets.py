"""Stand-ins for the other qMRML widgets: the .ui's top widget and small views of tables, plots and segments."""

# ruff: noqa: N801, N815, RUF012  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtWidgets

from .ctk_sliders import qMRMLRangeWidget, qMRMLSliderWidget, qMRMLSpinBox  # noqa: F401
from .stand_in import stored


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands its scene on to the widgets connected to it."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "sceneChosen"}
    sceneChosen = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene and tell the connected widgets."""
        if scene is not self._scene:
            self._scene = scene
            self.sceneChosen.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """What the application uses for a module's panel."""


class _NodeView(QtWidgets.QTableWidget):
    """A table that shows something of one node and follows its changes."""

    HIDDEN = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._tag = 0

    def setMRMLScene(self, scene: Any) -> None:
        """The node is set by itself."""

    def _set_node(self, node: Any) -> None:
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.AnyEvent, lambda *_: self._fill())
        self._fill()

    def _fill(self) -> None:
        raise NotImplementedError


class qMRMLTableView(_NodeView):
    """Shows a table node."""

    def setMRMLTableNode(self, node: Any) -> None:
        """Show this table node."""
        self._set_node(node)

    def mrmlTableNode(self) -> Any:
        """The table node."""
        return self._node

    def _fill(self) -> None:
        table = self._node.GetTable() if self._node is not None else vtk.vtkTable()
        self.setRowCount(table.GetNumberOfRows())
        self.setColumnCount(table.GetNumberOfColumns())
        self.setHorizontalHeaderLabels([table.GetColumnName(index) or "" for index in range(self.columnCount())])
        for place in range(self.rowCount()):
            for index in range(self.columnCount()):
                self.setItem(place, index, QtWidgets.QTableWidgetItem(table.GetValue(place, index).ToString()))


class qMRMLSegmentsTableView(_NodeView):
    """Lists the segments of a segmentation node."""

    def setSegmentationNode(self, node: Any) -> None:
        """Show this segmentation node."""
        self._set_node(node)

    def segmentationNode(self) -> Any:
        """The segmentation node."""
        return self._node

    def _fill(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        count = segmentation.GetNumberOfSegments() if segmentation is not None else 0
        self.setRowCount(count)
        self.setColumnCount(1)
        for index in range(count):
            self.setItem(index, 0, QtWidgets.QTableWidgetItem(segmentation.GetNthSegment(index).GetName()))


class qMRMLPlotWidget(QtWidgets.QWidget):
    """Holds a plot view node; the host draws no curve."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "sceneChosen"}
    sceneChosen = QtCore.Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        """The scene of the plot."""
        self._scene = scene
        self.sceneChosen.emit(scene)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        """The plot view node."""
        self._view_node = node

    def mrmlPlotViewNode(self) -> Any:
        """The plot view node."""
        return getattr(self, "_view_node", None)

    def plotView(self) -> qMRMLPlotView:
        """The view inside."""
        return self.findChild(qMRMLPlotView) or qMRMLPlotView(self)


class qMRMLPlotView(QtWidgets.QWidget):
    """The view of a plot: signals of what the user picked."""

    SIGNALS = {"dataSelected(vtkStringArray*,vtkCollection*)": "picked"}
    picked = QtCore.Signal(object, object)
    title = stored("QString", "title", "")

    def setMRMLScene(self, scene: Any) -> None:
        """The scene of the plot."""

    def setMRMLPlotViewNode(self, node: Any) -> None:
        """The plot view node."""
        self._view_node = node

    def fitToContent(self) -> None:
        """Nothing is drawn, so nothing is fitted."""


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Named by some .ui files; chooses nothing in the host."""
