"""The colors of maps: own color tables, absolute scale, threshold display and color legend.

Heat colors say how anomalous a voxel is; those of differences are blue below 0, red above, and clear about it.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from .links import (
    PREFIX,
    ColorNode,
    Node,
    Scene,
    VolumeNode,
    batch,
    mark_companion,
    nodes_of_class,
    remove_with_companions,
)

COLOR_TABLE_ATTRIBUTE = PREFIX + "color_table"
HEAT, DIFFERENCE = "heat", "difference"
_NAMES = {HEAT: "Brain anomaly heat", DIFFERENCE: "Brain anomaly difference"}
_COLORS = 256
# Black, red, yellow, white: the way a heated body changes.
_HEAT_CORNERS = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
# Below and above 0, from the end of the clear part to the end of the scale: the blue and the red of a map in either.
_BELOW = np.array([[0.0, 0.2, 0.9], [0.6, 0.95, 1.0]])
_ABOVE = np.array([[0.85, 0.0, 0.0], [1.0, 0.9, 0.3]])
# Luminance of linear sRGB primaries (IEC 61966-2-1).
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
# Maps that are a fraction end at 1; others are shown up to this multiple of the detector's own threshold.
_UNIT_MAXIMUM = {"equalized intensity": 1.0}
_THRESHOLDS_SHOWN = 3.0
# A title in lines of this many characters and letters of this size (points) leave the brain visible.
_LEGEND_TITLE_WIDTH = 22
_LEGEND_FONT_SIZE = 9
_LEGEND_SIZE = (0.1, 0.4)
_LEGEND_POSITION = (0.98, 0.5)


def heat_colors(count: int = _COLORS) -> NDArray[np.float64]:
    """``count`` RGB rows in [0, 1] from black over red and yellow to white, evenly spaced in CIE lightness."""
    steps = np.linspace(0.0, 3.0, 3001)
    path = np.stack([np.interp(steps, range(4), _HEAT_CORNERS[:, channel]) for channel in range(3)], axis=1)
    lightness = _lightness(path)
    even = np.linspace(lightness[0], lightness[-1], count)
    return np.stack([np.interp(even, lightness, path[:, channel]) for channel in range(3)], axis=1)


def difference_colors(count: int = _COLORS) -> NDArray[np.float64]:
    """``count`` RGBA rows from blue to red, evenly from -1 to 1; clear up to a third of the way, where others begin."""
    places = np.linspace(-1.0, 1.0, count)
    share = np.clip((np.abs(places) * _THRESHOLDS_SHOWN - 1.0) / (_THRESHOLDS_SHOWN - 1.0), 0.0, 1.0)[:, None]
    below, above = (ends[0] + share * (ends[1] - ends[0]) for ends in (_BELOW, _ABOVE))
    colors = np.where(places[:, None] < 0.0, below, above)
    return np.column_stack([colors, np.abs(places) * _THRESHOLDS_SHOWN > 1.0])


def display_maximum(unit: str, default_threshold: float) -> float:
    """The value shown in white. It depends on the detector alone, so that colors compare between scans."""
    return _UNIT_MAXIMUM.get(unit, _THRESHOLDS_SHOWN * max(default_threshold, 1e-6))


def map_color_node(scene: Scene, kind: str = HEAT) -> ColorNode:
    """The scene's table of ``HEAT`` or ``DIFFERENCE`` colors, made if it is not there; all maps of a scene share it."""
    return _existing_color_node(scene, kind) or _new_color_node(scene, kind)


def remove_color_nodes_if_unused(scene: Scene) -> None:
    """Remove the color tables that no display node uses any more."""
    used = {display.GetColorNodeID() for display in nodes_of_class(scene, "vtkMRMLDisplayNode")}
    for kind in _NAMES:
        node = _existing_color_node(scene, kind)
        if node is not None and node.GetID() not in used:
            remove_with_companions(node)


def show_as_heat(node: VolumeNode, threshold: float, maximum: float, title: str) -> None:
    """Show an anomaly map in heat colors from 0 to ``maximum``, transparent up to ``threshold``, with a legend."""
    _show_in_colors(node, HEAT, 0.0, maximum)
    show_above(node, threshold, maximum)
    _show_legend(node, title)


def show_as_difference(node: VolumeNode, maximum: float, title: str) -> None:
    """Show a signed map in blue and red from -``maximum`` to ``maximum``, clear up to a third of it, with a legend."""
    _show_in_colors(node, DIFFERENCE, -maximum, maximum)
    node.GetScalarVolumeDisplayNode().ApplyThresholdOff()
    _show_legend(node, title)


def _show_in_colors(node: VolumeNode, kind: str, low: float, high: float) -> None:
    if node.GetScalarVolumeDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    mark_companion(display)
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(map_color_node(node.GetScene(), kind).GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, high)
        display.SetInterpolate(False)


def show_above(node: VolumeNode, threshold: float, maximum: float) -> None:
    """Make the map transparent up to ``threshold``; the colors keep their meaning."""
    display = node.GetScalarVolumeDisplayNode()
    if display is None:
        return
    highest = max(maximum, float(node.GetImageData().GetScalarRange()[1]), threshold)
    with slicer.util.NodeModify(display):
        display.AutoThresholdOff()
        # The slice pipeline shows values at the limit too; a finding lies strictly above it.
        display.SetThreshold(float(np.nextafter(np.float32(threshold), np.float32(np.inf))), highest)
        display.ApplyThresholdOn()


def show_as_gray(node: VolumeNode, low: float, high: float) -> None:
    """Show a volume in gray between two fixed values."""
    if node.GetScalarVolumeDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    mark_companion(display)
    with slicer.util.NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, high)


def legend_of(node: VolumeNode) -> Node | None:
    """The color legend of a volume, None if there is none."""
    return _color_logic().GetColorLegendDisplayNode(node)


def _show_legend(node: VolumeNode, title: str) -> None:
    legend = legend_of(node) or _new_legend(node)
    with slicer.util.NodeModify(legend):
        legend.SetTitleText(textwrap.fill(title, _LEGEND_TITLE_WIDTH))


def _new_legend(node: VolumeNode) -> Node:
    scene = node.GetScene()
    if not scene.IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode"):
        # The application does this at its start; a bare scene does not.
        scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    legend = _color_logic().AddDefaultColorLegendDisplayNode(node)
    mark_companion(legend)
    with slicer.util.NodeModify(legend):
        legend.SetNumberOfLabels(5)
        legend.SetLabelFormat("%.2f")
        legend.GetTitleTextProperty().SetFontSize(_LEGEND_FONT_SIZE)
        legend.GetLabelTextProperty().SetFontSize(_LEGEND_FONT_SIZE)
        legend.SetSize(*_LEGEND_SIZE)
        legend.SetPosition(*_LEGEND_POSITION)
    return legend


def _color_logic() -> Any:
    """The class with the static legend functions; the application's module logic where the class is not exported."""
    return getattr(slicer, "vtkSlicerColorLogic", None) or slicer.modules.colors.logic()


def _existing_color_node(scene: Scene, kind: str) -> ColorNode | None:
    tables = nodes_of_class(scene, "vtkMRMLColorTableNode")
    return next((node for node in tables if node.GetAttribute(COLOR_TABLE_ATTRIBUTE) == kind), None)


def _new_color_node(scene: Scene, kind: str) -> ColorNode:
    colors = difference_colors() if kind == DIFFERENCE else np.column_stack([heat_colors(), np.ones(_COLORS)])
    with batch(scene):
        node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", scene.GenerateUniqueName(_NAMES[kind]))
        node.SetAttribute(COLOR_TABLE_ATTRIBUTE, kind)
        node.SetAttribute("Category", "Brain Anomaly")
        node.SetTypeToUser()
        # Told once: every selector of the application looks at the scene again for each change of a node.
        with slicer.util.NodeModify(node):
            node.SetNumberOfColors(_COLORS)
            for index, color in enumerate(colors):
                node.SetColor(index, f"{kind} {index}", *map(float, color))
    return node


def _lightness(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L* of sRGB rows (CIE 15:2004, equation 8.3)."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    relative = linear @ _LUMINANCE
    cube_root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.asarray(116.0 * cube_root - 16.0)
