"""View layouts on request: three linked views side by side, and slices with a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import qt
import slicer

from ...scene.nodes.links import Node, VolumeNode, nodes_of_class
from ..common.connections import Connections


class Comparison(NamedTuple):
    """A layout of three linked views: its number, and the name and letter of each view."""

    layout: int
    views: tuple[tuple[str, str], ...]


# Numbers of own layouts, far from those of Slicer and of other extensions.
HEALTHY = Comparison(58401, (("BrainAnomalyScan", "S"), ("BrainAnomalyHealthy", "H"), ("BrainAnomalyMap", "A")))
DATES = Comparison(58402, (("BrainAnomalyNow", "N"), ("BrainAnomalyEarlier", "E"), ("BrainAnomalyChange", "C")))
# Background and foreground of a view.
Layers = tuple[VolumeNode, VolumeNode | None]
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
        # ID of the volume that all views are fitted to.
        self._frame = ""
        self._fitted: dict[str, tuple[int, ...]] = {}
        self._waits: list[int] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        connections.of(self._timer).connect("timeout()", self._on_settled)

    @property
    def comparison(self) -> Comparison | None:
        """The three views side by side that the layout shows, None for any other layout."""
        shown = slicer.app.layoutManager().layout
        return next((one for one in (HEALTHY, DATES) if one.layout == shown), None)

    def shows(self, comparison: Comparison, input_node: VolumeNode) -> bool:
        """Whether the views of a comparison show this scan."""
        if self.comparison is not comparison:
            return False
        widget = slicer.app.layoutManager().sliceWidget(comparison.views[0][0])
        return widget is not None and bool(
            widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == input_node.GetID()
        )

    def compare(self, comparison: Comparison, layers: Sequence[Layers]) -> None:
        """Three linked views with these layers, all with the field of view of the first one's background."""
        manager = slicer.app.layoutManager()
        if self.comparison is None:
            self._before = manager.layout
        _describe(manager.layoutLogic().GetLayoutNode(), comparison)
        manager.setLayout(comparison.layout)
        self._frame = layers[0][0].GetID()
        for (name, _label), (background, foreground) in zip(comparison.views, layers, strict=True):
            _show(manager.sliceWidget(name), background, foreground, self._frame)
        self._fit_when_settled()

    def back(self) -> None:
        """From three views side by side to the layout of before; any other layout is the reader's own and stays."""
        if self.comparison is not None:
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
        shown = self.comparison
        if shown is None:
            return
        for name, _label in shown.views:
            widget = slicer.app.layoutManager().sliceWidget(name)
            size = tuple(widget.mrmlSliceNode().GetDimensions())
            if self._fitted.get(name) != size:
                self._fitted[name] = size
                _fit(widget, self._frame)
        if self._waits:
            self._timer.start(self._waits.pop(0))


def composites_shown() -> list[Node]:
    """What names the layers of each slice view that the layout shows."""
    views = slicer.app.layoutManager().layoutLogic().GetViewNodes()
    names = {views.GetItemAsObject(index).GetLayoutName() for index in range(views.GetNumberOfItems())}
    composites = nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode")
    return [composite for composite in composites if composite.GetLayoutName() in names]


def _describe(layout_node: Node, comparison: Comparison) -> None:
    views = "".join(_VIEW_XML.format(tag=tag, label=label) for tag, label in comparison.views)
    if not layout_node.IsLayoutDescription(comparison.layout):
        layout_node.AddLayoutDescription(comparison.layout, f'<layout type="horizontal">{views}</layout>')


def _show(widget: Any, background: VolumeNode, foreground: VolumeNode | None, frame: str) -> None:
    """Put volumes into a view and fit it; it is linked last: a linked view would change the others."""
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(background.GetID())
    composite.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
    _fit(widget, frame)


def _fit(widget: Any, frame: str) -> None:
    """Fit a view to the volume of that ID, whatever it shows: what is compared must have one scale."""
    composite = widget.mrmlSliceCompositeNode()
    background = composite.GetBackgroundVolumeID()
    composite.SetLinkedControl(False)
    if slicer.mrmlScene.GetNodeByID(frame) is not None:
        composite.SetBackgroundVolumeID(frame)
    widget.sliceLogic().FitSliceToBackground()
    composite.SetBackgroundVolumeID(background)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
