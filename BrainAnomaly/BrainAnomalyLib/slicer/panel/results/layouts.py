"""View layouts on request: three linked views side by side, and slices with a plot."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from ...scene.nodes.links import Node, VolumeNode, nodes_of_class
from ..common.connections import Connections

# Numbers of own layouts, far from those of Slicer and of other extensions.
THREE_UP = 58401
_VIEWS = (("BrainAnomalyScan", "S"), ("BrainAnomalyHealthy", "H"), ("BrainAnomalyMap", "A"))
_VIEW_XML = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
    '<property name="orientation" action="default">Axial</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">#8C8C8C</property></view></item>'
)
# New views get their size after the event loop has run; a slow window system needs longer (milliseconds).
_SETTLING = (0, 250, 1000)


class Layouts:
    """Changes the layout when asked to and finds the way back."""

    def __init__(self, connections: Connections) -> None:
        self._before: int | None = None
        self._fitted: dict[str, tuple[int, ...]] = {}
        self._waits: list[int] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        connections.of(self._timer).connect("timeout()", self._on_settled)

    @property
    def is_three_up(self) -> bool:
        """Whether the three views side by side are what the layout shows."""
        return bool(slicer.app.layoutManager().layout == THREE_UP)

    def shows(self, input_node: VolumeNode) -> bool:
        """Whether the three views show this scan."""
        composite = slicer.app.layoutManager().sliceWidget(_VIEWS[0][0]) if self.is_three_up else None
        return composite is not None and (
            composite.mrmlSliceCompositeNode().GetBackgroundVolumeID() == input_node.GetID()
        )

    def showThreeUp(self, input_node: VolumeNode, healthy: VolumeNode | None, anomaly_map: VolumeNode) -> None:
        """Scan, expected healthy scan (the map alone where there is none) and map over the scan, linked."""
        manager = slicer.app.layoutManager()
        if not self.is_three_up:
            self._before = manager.layout
        _describe(manager.layoutLogic().GetLayoutNode())
        manager.setLayout(THREE_UP)
        layers = ((input_node, None), (healthy or anomaly_map, None), (input_node, anomaly_map))
        for (name, _label), (background, foreground) in zip(_VIEWS, layers, strict=True):
            _show(manager.sliceWidget(name), background, foreground)
        self._fit_when_settled()

    def back(self) -> None:
        """From the three views to the layout of before; any other layout is the reader's own and stays."""
        if self.is_three_up:
            slicer.app.layoutManager().setLayout(self._before or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._before = None

    def showPlot(self, chart: Node) -> Any:
        """A layout with a plot view beside the slices, and the chart in it; returns the plot widget or None."""
        manager = slicer.app.layoutManager()
        if manager.plotViewCount == 0:
            manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        widget = manager.plotWidget(0)
        view = None if widget is None else widget.mrmlPlotViewNode()
        if view is None:
            return None
        view.SetPlotChartNodeID(chart.GetID())
        view.SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
        return widget

    def close(self) -> None:
        """Fit nothing any more."""
        self._timer.stop()

    def _fit_when_settled(self) -> None:
        self._fitted, self._waits = {}, list(_SETTLING)
        self._timer.start(self._waits.pop(0))

    def _on_settled(self) -> None:
        """Fit the views whose size has changed since; those that the reader may have zoomed meanwhile stay."""
        if not self.is_three_up:
            return
        for name, _label in _VIEWS:
            widget = slicer.app.layoutManager().sliceWidget(name)
            size = tuple(widget.mrmlSliceNode().GetDimensions())
            if self._fitted.get(name) != size:
                self._fitted[name] = size
                _fit(widget)
        if self._waits:
            self._timer.start(self._waits.pop(0))


def composites_shown() -> list[Node]:
    """What names the layers of each slice view that the layout shows."""
    views = slicer.app.layoutManager().layoutLogic().GetViewNodes()
    names = {views.GetItemAsObject(index).GetLayoutName() for index in range(views.GetNumberOfItems())}
    composites = nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode")
    return [composite for composite in composites if composite.GetLayoutName() in names]


def _describe(layout_node: Node) -> None:
    views = "".join(_VIEW_XML.format(tag=tag, label=label) for tag, label in _VIEWS)
    if not layout_node.IsLayoutDescription(THREE_UP):
        layout_node.AddLayoutDescription(THREE_UP, f'<layout type="horizontal">{views}</layout>')


def _show(widget: Any, background: VolumeNode, foreground: VolumeNode | None) -> None:
    """Put volumes into a view and fit it; it is linked last: a linked view would change the others."""
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(background.GetID())
    composite.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
    _fit(widget)


def _fit(widget: Any) -> None:
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(False)
    widget.sliceLogic().FitSliceToBackground()
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
