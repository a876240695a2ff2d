"""The slice profile: a strip of cells in the panel and, on request, Slicer's plot; both lead to their slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from vtk.util import numpy_support

from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.color_table import heat_colors
from ...scene.nodes.links import VolumeNode
from ...scene.nodes.scene_volumes import is_right_handed, world_grid
from ...scene.profile_plot import NORMALITY, POSITION, RELATIVE
from ..common.connections import Connections

_STRIP_HEIGHT = 24
_SHADES = 64
# Where the middle of the ICBM152 brain lies in a slice: x and y in template mm.
_MIDDLE_X, _MIDDLE_Y = 0.0, -18.0


class ProfileView:
    """The strip and the button of the plot."""

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        connections: Connections,
        show_plot: Callable[[VolumeNode], Any],
    ) -> None:
        self._ui, self._logic, self._connections, self._show_plot = ui, logic, connections, show_plot
        self._node: VolumeNode | None = None
        self._levels: list[float] = []
        # IDs of plot view nodes: the objects that stand for their widgets in Python come and go.
        self._connected: set[str] = set()
        table = ui.profileTable
        table.setRowCount(1)
        table.horizontalHeader().visible = False
        table.verticalHeader().visible = False
        table.horizontalHeader().setMinimumSectionSize(1)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.setFixedHeight(_STRIP_HEIGHT + 4)
        connections.of(table).connect("cellClicked(int,int)", self.onCellClicked)
        connections.of(ui.profilePlotButton).connect("clicked()", self.onShowPlot)

    def show(self, node: VolumeNode | None) -> None:
        """Show the profile of the result of ``node``."""
        self._node = node
        columns = {} if node is None else _profile(self._logic.resultNodes(node).profile_table)
        self._ui.profilePlotButton.enabled = bool(columns)
        inside = columns["brain_fraction"] > 0.0 if columns else np.zeros(0, dtype=bool)
        self._levels = [float(value) for value in columns[POSITION][inside]] if columns else []
        self._fill({name: values[inside] for name, values in columns.items()})

    def onCellClicked(self, row: int, column: int) -> None:
        """A slice was clicked: the slices go to its level."""
        if column < len(self._levels):
            self.jumpToLevel(self._levels[column])

    def onShowPlot(self) -> None:
        """Show the chart in a plot view; a click on one of its points shows that slice."""
        if self._node is None:
            return
        widget = self._show_plot(self._node)
        identifier = "" if widget is None else str(widget.mrmlPlotViewNode().GetID())
        if widget is not None and identifier not in self._connected:
            self._connected.add(identifier)
            view = self._connections.of(widget.plotView())
            view.connect("dataSelected(vtkStringArray*,vtkCollection*)", self.onPointSelected)

    def onPointSelected(self, series: Any, selections: Any) -> None:
        """Points of the plot were selected: show the slice of the first."""
        for index in range(selections.GetNumberOfItems() if self._node is not None else 0):
            chosen = selections.GetItemAsObject(index)
            if chosen is not None and chosen.GetNumberOfValues():
                table = self._logic.resultNodes(self._node).profile_table
                self.jumpToLevel(float(_profile(table)[POSITION][chosen.GetValue(0)]))
                return

    def jumpToLevel(self, template_z: float) -> None:
        """Show the slices at a level of the template (mm), in the middle of the brain."""
        if self._node is None:
            return
        record = self._logic.record(self._node)
        matrix = record.template_from_world(world_grid(self._node), is_right_handed(self._node))
        place = np.linalg.inv(matrix) @ [_MIDDLE_X, _MIDDLE_Y, template_z, 1.0]
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(float(value) for value in place[:3]))

    def _fill(self, columns: dict[str, Any]) -> None:
        table = self._ui.profileTable
        table.setColumnCount(len(self._levels))
        table.setRowHeight(0, _STRIP_HEIGHT)
        colors = heat_colors(_SHADES)
        for index, level in enumerate(self._levels):
            item = qt.QTableWidgetItem("")
            item.setBackground(qt.QBrush(_color(colors, columns[RELATIVE], index)))
            item.setToolTip(_slice_text(level, float(columns[NORMALITY][index]), float(columns[RELATIVE][index])))
            table.setItem(0, index, item)


def _profile(table: Any) -> dict[str, Any]:
    """Columns of the profile table; empty if the reader has deleted it."""
    names = (POSITION, NORMALITY, RELATIVE, "brain_fraction")
    if table is None or any(table.GetTable().GetColumnByName(name) is None for name in names):
        return {}
    return {name: np.array(numpy_support.vtk_to_numpy(table.GetTable().GetColumnByName(name))) for name in names}


def _color(colors: Any, values: Any, index: int) -> Any:
    """Heat color of a slice; the slice with the highest mean anomaly is white."""
    share = float(values[index]) / max(float(np.max(values)), 1e-9)
    red, green, blue = colors[round(max(share, 0.0) * (_SHADES - 1))]
    return qt.QColor(round(255 * red), round(255 * green), round(255 * blue))


def _slice_text(level: float, normality: float, relative: float) -> str:
    text = _("Height {level} mm in the template: normality {normality}, mean of the map {relative} × its threshold")
    return str(text.format(level=f"{level:.0f}", normality=f"{normality:.2f}", relative=f"{relative:.2f}"))
