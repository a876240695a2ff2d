"""The slice profile as a table, two plot series and a chart."""

from __future__ import annotations

import slicer

from ...findings.slice_profile import SliceProfile
from .nodes.links import PlotChartNode, PlotSeriesNode, TableNode
from .nodes.typed_table import Column, write_table

POSITION, NORMALITY, MEAN, RELATIVE = "template_z", "normality", "mean_anomaly", "mean_anomaly_per_threshold"
COLUMNS = (
    Column(POSITION, "Template z (mm)", "real", "mm", "Position of the axial template slice"),
    Column(NORMALITY, "Normality", "real", description="0 for the least healthy slice of this scan, 1 for the most"),
    Column(MEAN, "Mean anomaly", "real", description="Mean of the anomaly map over the slice's brain; absolute"),
    Column(RELATIVE, "Mean anomaly / threshold", "real", description="Mean anomaly over the detector's threshold"),
    Column("absolute_normality", "Absolute normality", "real", description="Share of healthy scans above"),
    Column("brain_fraction", "Brain fraction", "real", description="Part of the slice that is brain"),
)
_NORMALITY_COLOR = (0.35, 0.65, 0.95)
_ANOMALY_COLOR = (0.95, 0.45, 0.10)
# The part of the plot above the curves, where the legend stands.
_ROOM_FOR_LEGEND = 0.4


def write_profile_table(node: TableNode, profile: SliceProfile, default_threshold: float) -> float:
    """Replace the rows of ``node`` by this profile, from inferior to superior.

    The mean anomaly is given in its own unit and as a multiple of the detector's default threshold; the multiple
    shares an axis with the normality, whatever the unit. Returns the largest of these multiples.
    """
    relative = profile.mean_anomaly / default_threshold if default_threshold > 0 else profile.mean_anomaly * 0.0
    measured = (profile.position_mm, profile.normality, profile.mean_anomaly, relative)
    columns = (*measured, profile.absolute_normality, profile.brain_fraction)
    write_table(node, COLUMNS, [tuple(map(float, row)) for row in zip(*columns, strict=True)])
    return float(max(relative, default=0.0))


def write_series(normality: PlotSeriesNode, mean_anomaly: PlotSeriesNode, table: TableNode) -> None:
    """Let both series draw their column of ``table`` over the template z."""
    _write_series(normality, table, NORMALITY, _NORMALITY_COLOR)
    _write_series(mean_anomaly, table, RELATIVE, _ANOMALY_COLOR)


def write_chart(node: PlotChartNode, series: tuple[PlotSeriesNode, ...], highest: float) -> None:
    """Show these series, and no others, in the chart; ``highest`` is the largest of their values."""
    with slicer.util.NodeModify(node):
        node.RemoveAllPlotSeriesNodeIDs()
        for one in series:
            node.AddAndObservePlotSeriesNodeID(one.GetID())
        # The name of the node says which scan; a longer title would not fit above the plot.
        node.SetTitle("Slice profile")
        node.SetXAxisTitle("Feet to head, template z (mm)")
        node.SetYAxisTitle("Normality; map / threshold")
        node.SetLegendVisibility(True)
        node.SetYAxisRangeAuto(False)
        node.SetYAxisRange(0.0, (1.0 + _ROOM_FOR_LEGEND) * max(highest, 1.0))


def _write_series(node: PlotSeriesNode, table: TableNode, column: str, color: tuple[float, float, float]) -> None:
    with slicer.util.NodeModify(node):
        node.SetAndObserveTableNodeID(table.GetID())
        node.SetXColumnName(POSITION)
        node.SetYColumnName(column)
        # A scatter series with lines is Slicer's x-y plot; a "line" series would ignore the x column.
        node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        node.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        node.SetColor(*color)
