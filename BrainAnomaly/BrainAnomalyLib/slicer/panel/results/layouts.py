"""View layouts on request: three linked views side by side, and slices with a plot."""

from __future__ import annotations

from typing import Any

import slicer

from ...scene.links import Node, VolumeNode

# Numbers of own layouts, far from those of Slicer and of other extensions.
THREE_UP = 58401
_VIEWS = (("BrainAnomalyScan", "S"), ("BrainAnomalyHealthy", "H"), ("BrainAnomalyMap", "A"))
_VIEW_XML = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
    '<property name="orientation" action="default">Axial</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">#8C8C8C</property></view></item>'
)


class Layouts:
    """Changes the layout when asked to and finds the way back."""

    def __init__(self) -> None:
        self._before: int | None = None

    def showThreeUp(self, input_node: VolumeNode, healthy: VolumeNode | None, anomaly_map: VolumeNode) -> None:
        """Scan, pseudo-healthy scan (the map alone where there is none) and map over the scan, linked."""
        manager = slicer.app.layoutManager()
        if manager.layout != THREE_UP:
            self._before = manager.layout
        _describe(manager.layoutLogic().GetLayoutNode())
        manager.setLayout(THREE_UP)
        layers = ((input_node, None), (healthy or anomaly_map, None), (input_node, anomaly_map))
        for (name, _label), (background, foreground) in zip(_VIEWS, layers, strict=True):
            _show(manager.sliceWidget(name), background, foreground)

    def back(self) -> None:
        """The layout from before, if this object has changed it."""
        if self._before is not None:
            slicer.app.layoutManager().setLayout(self._before)
            self._before = None

    def showPlot(self, chart: Node) -> Any:
        """A layout with a plot view beside the slices, and the chart in it; returns the plot widget or None."""
        manager = slicer.app.layoutManager()
        if manager.plotViewCount == 0:
            self._before = manager.layout
            manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        widget = manager.plotWidget(0)
        view = None if widget is None else widget.mrmlPlotViewNode()
        if view is None:
            return None
        view.SetPlotChartNodeID(chart.GetID())
        view.SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
        return widget


def _describe(layout_node: Node) -> None:
    views = "".join(_VIEW_XML.format(tag=tag, label=label) for tag, label in _VIEWS)
    if not layout_node.IsLayoutDescription(THREE_UP):
        layout_node.AddLayoutDescription(THREE_UP, f'<layout type="horizontal">{views}</layout>')


def _show(widget: Any, background: VolumeNode, foreground: VolumeNode | None) -> None:
    """Put volumes into a view, fit it, and only then link it: a linked view would change the others."""
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(background.GetID())
    composite.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
    widget.sliceLogic().FitSliceToBackground()
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
