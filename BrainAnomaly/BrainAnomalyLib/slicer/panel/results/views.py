"""The views section: overlay, legend, before and after, 3D and layouts; nothing changes unless it is asked for."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ...scene.color_table import legend_of
from ...scene.links import Node, VolumeNode, nodes_of_class
from ...scene.logic import BrainAnomalySceneLogic, DetectionNodes
from ..common.messages import Messages
from .layouts import Layouts


class Views:
    """Buttons and boxes that change what the views show of one result."""

    def __init__(self, ui: Any, logic: BrainAnomalySceneLogic, messages: Messages) -> None:
        self._ui, self._logic, self._messages, self._layouts = ui, logic, messages, Layouts()
        self._node: VolumeNode | None = None
        ui.showSlicesButton.connect("clicked()", self.onShowSlices)
        ui.threeUpButton.connect("toggled(bool)", self.onThreeUp)
        ui.mapComboBox.connect("currentIndexChanged(int)", self.onMapChosen)
        ui.opacitySlider.connect("valueChanged(double)", self.onOpacityChanged)
        ui.overlayCheckBox.connect("toggled(bool)", self.onOverlayToggled)
        ui.legendCheckBox.connect("toggled(bool)", self.onLegendToggled)
        ui.beforeAfterButton.connect("toggled(bool)", self.onBeforeAfter)
        ui.show3DButton.connect("toggled(bool)", self.onShow3D)

    def show(self, node: VolumeNode | None) -> None:
        """Act on the result of ``node`` from now on."""
        self._node = node
        nodes = self._nodes()
        widgets = ("showSlicesButton", "threeUpButton", "overlayCheckBox", "legendCheckBox", "show3DButton")
        for name in widgets:
            getattr(self._ui, name).enabled = nodes is not None
        healthy = nodes is not None and nodes.pseudo_healthy is not None
        button = self._ui.beforeAfterButton
        button.enabled = healthy
        button.toolTip = _before_after_text() if healthy else _("This result has no pseudo-healthy scan.")
        self._fill_maps(nodes)
        self._read_states(nodes)

    def showResult(self, node: VolumeNode) -> None:
        """Show a fresh result in the slice views; for the reader who asked for it."""
        self.show(node)
        self._ui.overlayCheckBox.checked = True
        self.onShowSlices()

    def showPlot(self, node: VolumeNode) -> Any:
        """Show the slice profile of a result in a plot view; returns the plot widget or None."""
        chart = self._logic.resultNodes(node).profile_chart
        return None if chart is None else self._layouts.showPlot(chart)

    def onShowSlices(self) -> None:
        """The scan with its map over it, in all slice views."""
        if self._node is not None:
            with self._messages.plain():
                self._logic.showInSliceViews(self._node, float(self._ui.opacitySlider.value))
                slicer.app.layoutManager().resetSliceViews()
            self.onMapChosen(self._ui.mapComboBox.currentIndex)

    def onThreeUp(self, wanted: bool) -> None:
        """Three linked views side by side, or the layout from before."""
        nodes = self._nodes()
        with self._messages.plain():
            if not wanted:
                self._layouts.back()
            elif nodes is not None and self._node is not None:
                self._layouts.showThreeUp(self._node, nodes.pseudo_healthy, nodes.anomaly_map)
                self.onMapChosen(self._ui.mapComboBox.currentIndex)

    def onMapChosen(self, index: int) -> None:
        """Another map of this result wherever one of them lies over something."""
        maps = self._maps()
        if not 0 <= index < len(maps):
            return
        for composite in _composites():
            if composite.GetForegroundVolumeID() in [node.GetID() for node in maps]:
                composite.SetForegroundVolumeID(maps[index].GetID())
        self._set_opacity()

    def onOpacityChanged(self, value: float) -> None:
        """Another opacity of the map."""
        self._set_opacity()

    def onOverlayToggled(self, shown: bool) -> None:
        """The map over the scan, or the scan alone."""
        self._set_opacity()

    def onLegendToggled(self, shown: bool) -> None:
        """The color legend, or none."""
        for node in self._maps():
            if (legend := legend_of(node)) is not None:
                legend.SetVisibility(shown)

    def onBeforeAfter(self, healthy: bool) -> None:
        """The pseudo-healthy scan in the place of the scan, or back."""
        nodes = self._nodes()
        self._ui.beforeAfterButton.text = _("Show scan") if healthy else _("Show pseudo-healthy")
        if nodes is None or self._node is None or nodes.pseudo_healthy is None:
            return
        before, after = self._node.GetID(), nodes.pseudo_healthy.GetID()
        shown, instead = (before, after) if healthy else (after, before)
        for composite in _composites():
            if composite.GetBackgroundVolumeID() == shown:
                composite.SetBackgroundVolumeID(instead)

    def onShow3D(self, shown: bool) -> None:
        """The findings as surfaces in the 3D views."""
        nodes = self._nodes()
        if nodes is None or nodes.segmentation is None:
            return
        with self._messages.plain():
            if shown:
                nodes.segmentation.CreateClosedSurfaceRepresentation()
                slicer.app.layoutManager().resetThreeDViews()
            else:
                nodes.segmentation.RemoveClosedSurfaceRepresentation()

    def _set_opacity(self) -> None:
        """Opacity of this result's maps wherever one lies over something."""
        shown = [node.GetID() for node in self._maps()]
        opacity = float(self._ui.opacitySlider.value) if self._ui.overlayCheckBox.checked else 0.0
        for composite in _composites():
            if composite.GetForegroundVolumeID() in shown:
                composite.SetForegroundOpacity(opacity)

    def _nodes(self) -> DetectionNodes | None:
        return None if self._node is None else self._logic.resultNodes(self._node)

    def _maps(self) -> list[VolumeNode]:
        nodes = self._nodes()
        return [] if nodes is None else nodes.maps()

    def _fill_maps(self, nodes: DetectionNodes | None) -> None:
        """Offer the result's map and those it is made of; the one that is shown is chosen."""
        box, maps = self._ui.mapComboBox, [] if nodes is None else nodes.maps()
        shown = [node for node in maps if any(view.GetForegroundVolumeID() == node.GetID() for view in _composites())]
        wasBlocked = box.blockSignals(True)
        box.clear()
        for node in maps:
            box.addItem(node.GetName())
        box.currentIndex = maps.index(shown[0]) if shown else 0
        box.blockSignals(wasBlocked)
        box.enabled = len(maps) > 1

    def _read_states(self, nodes: DetectionNodes | None) -> None:
        """Set the buttons by what the scene shows."""
        legend = None if nodes is None or nodes.anomaly_map is None else legend_of(nodes.anomaly_map)
        healthy = None if nodes is None else nodes.pseudo_healthy
        states = {
            "legendCheckBox": legend is None or bool(legend.GetVisibility()),
            "show3DButton": nodes is not None and _has_surface(nodes.segmentation),
            "beforeAfterButton": healthy is not None and any(_shows(view, healthy) for view in _composites()),
        }
        for name, state in states.items():
            widget = getattr(self._ui, name)
            wasBlocked = widget.blockSignals(True)
            widget.checked = state
            widget.blockSignals(wasBlocked)


def _before_after_text() -> str:
    return str(_("Change between the scan and how it would look without anomalies."))


def _composites() -> list[Node]:
    return nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode")


def _shows(composite: Node, volume: VolumeNode) -> bool:
    return bool(composite.GetBackgroundVolumeID() == volume.GetID())


def _has_surface(segmentation: Node | None) -> bool:
    if segmentation is None:
        return False
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(segmentation.GetSegmentation().ContainsRepresentation(name))
