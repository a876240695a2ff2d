"""The layout manager: real slice logics, and slice views that slicer-core draws offscreen when asked for a picture."""

# ruff: noqa: N801, N815  (names of the real classes; tables that nobody changes)

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .stand_in import stored

_VIEW_SIZE = (400, 400)
# What a view that a layout has just brought says of itself, until the layout has settled.
_UNSETTLED_SIZE = (328, 595)
# Layouts of Slicer that show tables or plots besides the views: (slice views, tables, plots).
_FOUR_UP = 3


class qMRMLSliceView(QtWidgets.QWidget):
    """The drawing part of a slice widget."""

    def __init__(self, owner: qMRMLSliceWidget) -> None:
        super().__init__(owner)
        self._owner = owner

    def forceRender(self) -> None:
        """Draw now."""
        self._owner.logic.UpdatePipeline()

    scheduleRender = forceRender

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self._owner.mrmlSliceNode()

    def setBackgroundColor(self, color: Any) -> None:
        """The background stays black."""


class qMRMLSliceController(QtWidgets.QWidget):
    """The bar over a slice view."""

    def __init__(self, owner: qMRMLSliceWidget) -> None:
        super().__init__(owner)
        self._owner = owner

    def fitSliceToBackground(self) -> None:
        """Show the whole background volume."""
        self._owner.fitSliceToBackground()

    def setSliceLink(self, linked: bool) -> None:
        """Link the views."""
        self._owner.mrmlSliceCompositeNode().SetLinkedControl(linked)

    def setSliceVisible(self, visible: bool) -> None:
        """Show the slice in 3D."""
        self._owner.mrmlSliceNode().SetSliceVisible(visible)


class qMRMLSliceWidget(QtWidgets.QWidget):
    """One slice view of the layout."""

    def __init__(self, application_logic: Any, node: Any, settled: bool) -> None:
        super().__init__()
        self._application_logic = application_logic
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLScene(node.GetScene())
        self.logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetSliceNode(node)
        self.logic.ResizeSliceNode(*_UNSETTLED_SIZE)
        if settled:
            self.settle()
        self._view, self._controller = qMRMLSliceView(self), qMRMLSliceController(self)
        self._drawn: Any = None

    def settle(self) -> None:
        """The layout has given the view its size."""
        self.logic.ResizeSliceNode(*_VIEW_SIZE)

    def sliceLogic(self) -> Any:
        """The slice logic."""
        return self.logic

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self.logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """The node that names the layers."""
        return self.logic.GetSliceCompositeNode()

    def sliceView(self) -> qMRMLSliceView:
        """The view."""
        return self._view

    def sliceController(self) -> qMRMLSliceController:
        """The bar."""
        return self._controller

    def fitSliceToBackground(self) -> None:
        """Show the whole background volume."""
        self.logic.FitSliceToBackground()

    def drawn(self) -> Any:
        """The offscreen view: ``draw()`` gives RGB pixels, ``pixel_of(ras)`` where a point lies."""
        if self._drawn is None:
            self._drawn = _offscreen_view(self._application_logic, self.logic)
        return self._drawn


class qMRMLThreeDView(QtWidgets.QWidget):
    """The drawing part of a 3D widget."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node = node
        self.resets = 0

    def mrmlViewNode(self) -> Any:
        """The view node."""
        return self._node

    def resetFocalPoint(self) -> None:
        """Center on what is shown."""
        self.resets += 1

    def resetCamera(self, *_options: Any) -> None:
        """Show everything."""
        self.resets += 1

    def forceRender(self) -> None:
        """Nothing is drawn in the host's 3D view."""

    scheduleRender = forceRender


class qMRMLThreeDWidget(QtWidgets.QWidget):
    """One 3D view of the layout."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._view = qMRMLThreeDView(node)
        self._view.setParent(self)

    def threeDView(self) -> qMRMLThreeDView:
        """The view."""
        return self._view

    def mrmlViewNode(self) -> Any:
        """The view node."""
        return self._view.mrmlViewNode()


class qSlicerLayoutManager(QtCore.QObject):
    """The layout of the scene; vtkMRMLLayoutLogic makes the view nodes."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, scene: Any, application_logic: Any) -> None:
        super().__init__()
        self._application_logic = application_logic
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(scene)
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._threed: list[qMRMLThreeDWidget] = []
        self._plots: dict[str, Any] = {}
        self._scene, self._settled = scene, True
        self.setLayout(_FOUR_UP)
        self._settled = False

    def setLayout(self, layout: int) -> None:
        """Choose a layout of Slicer, or one whose description was added to the layout node."""
        changed = layout != self._node().GetViewArrangement()
        self._node().SetViewArrangement(int(layout))
        self._make_views()
        if changed:
            self.layoutChanged.emit(int(layout))

    def leave_scene(self) -> None:
        """Let go of the scene; vtkMRMLLayoutLogic does not survive that its nodes go before."""
        self._layout_logic.SetMRMLScene(None)

    def layoutLogic(self) -> Any:
        """The layout logic."""
        return self._layout_logic

    def sliceViewNames(self) -> list[str]:
        """Names of the slice views of the layout."""
        self._make_views()
        return [node.GetLayoutName() for node in self._view_nodes() if node.IsA("vtkMRMLSliceNode")]

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        """One slice view, or None."""
        self._make_views()
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        """All slice logics."""
        return self._application_logic.GetSliceLogics()

    def threeDWidget(self, index: int) -> qMRMLThreeDWidget | None:
        """One 3D view."""
        return self._threed[index] if index < len(self._threed) else None

    def plotWidget(self, index: int) -> Any:
        """Plots are not drawn."""
        from .qmrml_widgets import qMRMLPlotWidget

        nodes = [node for node in self._view_nodes() if node.IsA("vtkMRMLPlotViewNode")]
        if index >= len(nodes):
            return None
        identifier = nodes[index].GetID()
        if identifier not in self._plots:
            self._plots[identifier] = qMRMLPlotWidget()
            self._plots[identifier].setMRMLPlotViewNode(nodes[index])
        return self._plots[identifier]

    def tableWidget(self, index: int) -> Any:
        """Tables are not drawn in the layout."""
        return None

    def resetSliceViews(self) -> None:
        """Fit all slice views."""
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Reset all 3D views."""
        for widget in self._threed:
            widget.threeDView().resetFocalPoint()

    def _node(self) -> Any:
        return self._layout_logic.GetLayoutNode()

    def _view_nodes(self) -> list[Any]:
        nodes = self._layout_logic.GetViewNodes()
        return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]

    def _make_views(self) -> None:
        for node in self._view_nodes():
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._slices:
                widget = qMRMLSliceWidget(self._application_logic, node, self._settled)
                self._slices[node.GetLayoutName()] = widget
                if not self._settled:
                    QtCore.QTimer.singleShot(0, widget, widget.settle)
            known = [widget.mrmlViewNode() for widget in self._threed]
            if node.IsA("vtkMRMLViewNode") and node not in known:
                self._threed.append(qMRMLThreeDWidget(node))

    def _count(self, class_name: str) -> int:
        return sum(node.IsA(class_name) for node in self._view_nodes())

    layout = QtCore.Property(int, lambda self: self._node().GetViewArrangement(), setLayout)
    threeDViewCount = QtCore.Property(int, lambda self: self._count("vtkMRMLViewNode"))
    plotViewCount = QtCore.Property(int, lambda self: self._count("vtkMRMLPlotViewNode"))
    tableViewCount = stored(int, "tableViewCount", 0)


def _offscreen_view(application_logic: Any, logic: Any) -> Any:
    """The drawing of Testing/scene/slice_rendering.py for a slice logic that exists already."""
    folder = str(Path(__file__).resolve().parents[2] / "scene")
    if folder not in sys.path:
        sys.path.append(folder)
    import slice_rendering

    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(application_logic)
    view = object.__new__(slice_rendering._SliceView)
    view.size, view.logic, view.node = _VIEW_SIZE, logic, logic.GetSliceNode()
    view.composite = logic.GetSliceCompositeNode()
    view._make_window()
    view._make_managers(application_logic)
    return view


def new_application_logic(scene: Any) -> Any:
    """The application logic of a scene, with color tables, selection and interaction nodes."""
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return logic
