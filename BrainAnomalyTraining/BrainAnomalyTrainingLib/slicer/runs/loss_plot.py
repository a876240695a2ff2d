"""The loss curve as two tables, two plot series and a chart in the scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import slicer

from BrainAnomalyLib.slicer.scene.nodes.links import (
    Node,
    PlotChartNode,
    PlotSeriesNode,
    Scene,
    TableNode,
    batch,
    nodes_of_class,
)
from BrainAnomalyLib.slicer.scene.nodes.typed_table import Column, write_table

ROLE_ATTRIBUTE = "BrainAnomalyTraining.role"
STEP, LOSS = "step", "loss"
COLUMNS = (
    Column(STEP, "Step", "integer", description="Optimizer steps since the start of the training"),
    Column(LOSS, "Loss", "real", description="The detector's own loss, or its error on scans it does not learn from"),
)
_CURVES = {"training": ("Training loss", (0.35, 0.65, 0.95)), "validation": ("Validation error", (0.95, 0.45, 0.10))}
# More points than this are averaged in groups: a curve has no more pixels, and the table stays quick to write.
_MOST_POINTS = 1000


class LossPlot:
    """Draws the losses of a run. Nodes that the user has deleted, or the scene has lost, are made again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def is_drawn(self) -> bool:
        """Whether the chart is in the scene."""
        return self._find("vtkMRMLPlotChartNode", "chart") is not None

    @property
    def chart(self) -> PlotChartNode:
        """The chart node, made if it is not there."""
        return self._node("vtkMRMLPlotChartNode", "chart", "Training loss")

    def update(self, training: Mapping[int, float], validation: Mapping[int, float]) -> None:
        """Show these losses by step, and no others."""
        with batch(self._scene):
            curves = [self._curve(name, losses) for name, losses in zip(_CURVES, (training, validation), strict=True)]
            _write_chart(self.chart, curves)

    def table(self, curve: str) -> TableNode:
        """The table behind a curve, "training" or "validation"; made if it is not there."""
        return self._node("vtkMRMLTableNode", f"{curve} table", f"{_CURVES[curve][0]} table")

    def _curve(self, name: str, losses: Mapping[int, float]) -> PlotSeriesNode:
        title, color = _CURVES[name]
        table, series = self.table(name), self._node("vtkMRMLPlotSeriesNode", f"{name} series", title)
        write_table(table, COLUMNS, list(_thinned(losses)))
        _write_series(series, table, color)
        return series

    def _node(self, class_name: str, role: str, name: str) -> Node:
        node = self._find(class_name, role)
        if node is not None:
            return node
        node = self._scene.AddNewNodeByClass(class_name, self._scene.GenerateUniqueName(name))
        node.SetAttribute(ROLE_ATTRIBUTE, role)
        return node

    def _find(self, class_name: str, role: str) -> Node | None:
        nodes = nodes_of_class(self._scene, class_name)
        return next((node for node in nodes if node.GetAttribute(ROLE_ATTRIBUTE) == role), None)


def _thinned(losses: Mapping[int, float]) -> Iterator[tuple[int, float]]:
    """Rows in the order of steps; at most _MOST_POINTS, each the mean of its neighbors."""
    points = sorted(losses.items())
    size = -(-len(points) // _MOST_POINTS) or 1
    for start in range(0, len(points), size):
        group = points[start : start + size]
        yield group[-1][0], sum(loss for _step, loss in group) / len(group)


def _write_series(node: PlotSeriesNode, table: TableNode, color: tuple[float, float, float]) -> None:
    with slicer.util.NodeModify(node):
        node.SetAndObserveTableNodeID(table.GetID())
        node.SetXColumnName(STEP)
        node.SetYColumnName(LOSS)
        # A scatter series with lines is Slicer's x-y plot; a "line" series would ignore the x column.
        node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        node.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        node.SetColor(*color)


def _write_chart(node: PlotChartNode, curves: list[PlotSeriesNode]) -> None:
    shown = [node.GetNthPlotSeriesNodeID(index) for index in range(node.GetNumberOfPlotSeriesNodes())]
    if shown == [curve.GetID() for curve in curves]:
        return
    with slicer.util.NodeModify(node):
        node.RemoveAllPlotSeriesNodeIDs()
        for curve in curves:
            node.AddAndObservePlotSeriesNodeID(curve.GetID())
        node.SetTitle("Training loss")
        node.SetXAxisTitle("Step")
        node.SetYAxisTitle("Loss, error")
        node.SetLegendVisibility(True)
