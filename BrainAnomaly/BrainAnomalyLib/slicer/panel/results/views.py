"""The views section: overlay, legend, expected healthy scan, 3D and layouts; buttons say what the views show."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...scene.logic import BrainAnomalySceneLogic, DetectionNodes
from ...scene.nodes.color_table import legend_of
from ...scene.nodes.links import Node, VolumeNode, nodes_of_class
from ...scene.nodes.placement import PRIOR
from ..common.connections import Connections
from ..common.messages import Messages
from .layouts import DATES, HEALTHY, Layouts, composites_shown


class Views(VTKObservationMixin):
    """Buttons and boxes that change what the views show of one result, and follow what others change there."""

    def __init__(self, ui: Any, logic: BrainAnomalySceneLogic, messages: Messages, connections: Connections) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._logic, self._messages = ui, logic, messages
        self._layouts = Layouts(connections)
        self._node: VolumeNode | None = None
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        connections.of(self._soon).connect("timeout()", self.onLayoutReady)
        connections.of(ui.showSlicesButton).connect("clicked()", self.onShowSlices)
        connections.of(ui.threeUpButton).connect("toggled(bool)", self.onThreeUp)
        connections.of(ui.mapComboBox).connect("currentIndexChanged(int)", self.onMapChosen)
        connections.of(ui.opacitySlider).connect("valueChanged(double)", self.onOpacityChanged)
        connections.of(ui.overlayCheckBox).connect("toggled(bool)", self.onOverlayToggled)
        connections.of(ui.legendCheckBox).connect("toggled(bool)", self.onLegendToggled)
        connections.of(ui.beforeAfterButton).connect("toggled(bool)", self.onBeforeAfter)
        connections.of(ui.show3DButton).connect("toggled(bool)", self.onShow3D)
        connections.of(ui.showPriorButton).connect("toggled(bool)", self.onShowPrior)

    def show(self, node: VolumeNode | None) -> None:
        """Act on the result of ``node`` from now on."""
        self._node = node
        nodes = self._nodes()
        for name in ("showSlicesButton", "threeUpButton", "overlayCheckBox", "legendCheckBox", "show3DButton"):
            getattr(self._ui, name).enabled = nodes is not None
        self._fill_maps(nodes)
        self._observe()
        self._read_states()

    def showResult(self, node: VolumeNode) -> None:
        """Show a fresh result in the views, side by side if that is how they are; for the reader who asked for it."""
        self.show(node)
        with self._messages.plain():
            if self._layouts.comparison is DATES and self._earlier() is not None:
                self._compare_dates()
            elif self._layouts.comparison is not None:
                self._compare()
            else:
                self._show_slices()

    def showPlot(self, node: VolumeNode) -> Any:
        """Show the slice profile of a result in a plot view; returns the plot widget or None."""
        chart = self._logic.resultNodes(node).profile_chart
        return None if chart is None else self._layouts.showPlot(chart)

    def sceneClosed(self) -> None:
        """The scene goes: views that exist for its results alone go too."""
        self._layouts.back()

    def close(self) -> None:
        """Leave the scene alone from now on."""
        self.removeObservers()
        self._soon.stop()
        self._layouts.close()

    def onShowSlices(self) -> None:
        """The scan with its map over it, in all slice views of the ordinary layout."""
        if self._node is not None:
            with self._messages.action():
                self._layouts.back()
                self._show_slices()

    def onThreeUp(self, wanted: bool) -> None:
        """Three linked views side by side, or the layout from before."""
        with self._messages.action():
            if not wanted:
                self._layouts.back()
            elif self._node is not None:
                self._compare()
        self._read_states()

    def onShowPrior(self, wanted: bool) -> None:
        """Both dates and the subtraction side by side, or the layout from before."""
        with self._messages.action():
            if not wanted:
                self._layouts.back()
            elif self._node is not None:
                self._compare_dates()
        self._read_states()

    def onMapChosen(self, index: int) -> None:
        """Another map of this result wherever one of them lies over something."""
        self._put_map(index)
        self._set_opacity(self._ui.overlayCheckBox.checked)

    def onOpacityChanged(self, value: float) -> None:
        """Another opacity of the map; one that was taken away comes back."""
        self._set_opacity(True)

    def onOverlayToggled(self, shown: bool) -> None:
        """The map over the scan, or the scan alone; views of the scan without a map get it."""
        nodes = self._nodes()
        if nodes is None or self._node is None:
            return
        chosen = self._chosen_map()
        below = [one.GetID() for one in (self._node, nodes.pseudo_healthy) if one is not None]
        for composite in composites_shown():
            if shown and chosen is not None and self._layouts.comparison is None and _background(composite) in below:
                composite.SetForegroundVolumeID(chosen.GetID())
        self._set_opacity(shown)
        self._read_states()

    def onLegendToggled(self, shown: bool) -> None:
        """The color legend, or none."""
        for node in self._maps():
            if (legend := legend_of(node)) is not None:
                legend.SetVisibility(shown)

    def onBeforeAfter(self, healthy: bool) -> None:
        """The expected healthy scan in the place of the scan, or back."""
        nodes = self._nodes()
        if nodes is not None and self._node is not None and nodes.pseudo_healthy is not None:
            before, after = self._node.GetID(), nodes.pseudo_healthy.GetID()
            shown, instead = (before, after) if healthy else (after, before)
            for composite in composites_shown():
                if _background(composite) == shown:
                    composite.SetBackgroundVolumeID(instead)
        self._read_states()

    def onShow3D(self, shown: bool) -> None:
        """The findings as surfaces in the 3D views."""
        nodes = self._nodes()
        if nodes is None or nodes.segmentation is None:
            return
        with self._messages.action():
            if shown:
                nodes.segmentation.CreateClosedSurfaceRepresentation()
                slicer.app.layoutManager().resetThreeDViews()
            else:
                nodes.segmentation.RemoveClosedSurfaceRepresentation()

    def onLayoutChanged(self, caller: Any = None, event: Any = None) -> None:
        """Another layout was chosen, here or on the application's toolbar; its views may not be there yet."""
        self._read_states()
        self._soon.start(0)

    def onLayoutReady(self) -> None:
        """The views of another layout are there."""
        self._observe()
        self._read_states()

    def onViewChanged(self, caller: Any = None, event: Any = None) -> None:
        """A view shows other volumes, or the same in another way."""
        self._read_states()

    def _show_slices(self) -> None:
        if self._node is not None:
            self._logic.showInSliceViews(self._node, float(self._ui.opacitySlider.value))
            slicer.app.layoutManager().resetSliceViews()
            self._put_map(self._ui.mapComboBox.currentIndex)
            self._set_opacity(True)
        self._read_states()

    def _compare(self) -> None:
        nodes = self._nodes()
        if nodes is not None and self._node is not None:
            beside = nodes.pseudo_healthy or nodes.anomaly_map
            layers = ((self._node, None), (beside, None), (self._node, nodes.anomaly_map))
            self._layouts.compare(HEALTHY, layers)
            self._put_map(self._ui.mapComboBox.currentIndex)
            self._set_opacity(True)
            self.onLayoutReady()

    def _compare_dates(self) -> None:
        """The scan, that of the earlier date laid on it, and the subtraction over the scan."""
        nodes, earlier = self._nodes(), self._earlier()
        if nodes is not None and self._node is not None and earlier is not None:
            subtraction = nodes.prior["difference"]
            self._layouts.compare(DATES, ((self._node, None), (earlier, None), (self._node, subtraction)))
            _choose(self._ui.mapComboBox, self._maps().index(subtraction))
            self._set_opacity(True)
            self.onLayoutReady()

    def _earlier(self) -> VolumeNode | None:
        """The scan of the earlier date, or its image in the result; None where there is no subtraction either."""
        nodes = self._nodes()
        if self._node is None or nodes is None or "difference" not in nodes.prior:
            return None
        return self._logic.otherScans(self._node).get(PRIOR) or nodes.prior.get("scan")

    def _observe(self) -> None:
        """Follow the layout and every view; new views come with layouts."""
        self.removeObservers()
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        self.addObserver(layout, "ModifiedEvent", self.onLayoutChanged)
        for composite in nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceCompositeNode"):
            self.addObserver(composite, "ModifiedEvent", self.onViewChanged)

    def _put_map(self, index: int) -> None:
        maps = self._maps()
        shown = [node.GetID() for node in maps]
        for composite in composites_shown() if 0 <= index < len(maps) else ():
            if composite.GetForegroundVolumeID() in shown:
                composite.SetForegroundVolumeID(shown[index])

    def _set_opacity(self, visible: bool) -> None:
        """Opacity of this result's maps wherever one lies over something."""
        opacity = float(self._ui.opacitySlider.value) if visible else 0.0
        for composite in self._with_map():
            composite.SetForegroundOpacity(opacity)

    def _with_map(self) -> list[Node]:
        shown = [node.GetID() for node in self._maps()]
        return [composite for composite in composites_shown() if composite.GetForegroundVolumeID() in shown]

    def _nodes(self) -> DetectionNodes | None:
        return None if self._node is None else self._logic.resultNodes(self._node)

    def _maps(self) -> list[VolumeNode]:
        nodes = self._nodes()
        return [] if nodes is None else nodes.maps()

    def _chosen_map(self) -> VolumeNode | None:
        maps, index = self._maps(), self._ui.mapComboBox.currentIndex
        return maps[index] if 0 <= index < len(maps) else None

    def _fill_maps(self, nodes: DetectionNodes | None) -> None:
        """Offer the result's map and those it is made of; the one that is shown is chosen."""
        box, maps = self._ui.mapComboBox, [] if nodes is None else nodes.maps()
        views = composites_shown()
        shown = [node for node in maps if any(view.GetForegroundVolumeID() == node.GetID() for view in views)]
        wasBlocked = box.blockSignals(True)
        box.clear()
        for name in [] if nodes is None else map_names(nodes):
            box.addItem(name)
        box.currentIndex = maps.index(shown[0]) if shown else 0
        box.blockSignals(wasBlocked)
        box.enabled = len(maps) > 1

    def _read_states(self) -> None:
        """Set the buttons by what the scene shows."""
        nodes, three_up = self._nodes(), self._layouts.comparison is not None
        legend = None if nodes is None or nodes.anomaly_map is None else legend_of(nodes.anomaly_map)
        healthy = None if nodes is None or three_up else nodes.pseudo_healthy
        replaced = healthy is not None and any(_background(one) == healthy.GetID() for one in composites_shown())
        _set_checked(self._ui.legendCheckBox, legend is None or bool(legend.GetVisibility()))
        _set_checked(self._ui.show3DButton, nodes is not None and _has_surface(nodes.segmentation))
        _set_checked(self._ui.overlayCheckBox, any(one.GetForegroundOpacity() > 0.0 for one in self._with_map()))
        shown = self._node
        _set_checked(self._ui.threeUpButton, shown is not None and self._layouts.shows(HEALTHY, shown))
        _set_checked(self._ui.showPriorButton, shown is not None and self._layouts.shows(DATES, shown))
        self._ui.showPriorButton.visible = self._earlier() is not None
        button = self._ui.beforeAfterButton
        _set_checked(button, replaced)
        button.text = _("Show scan") if replaced else _("Show expected healthy")
        button.enabled = healthy is not None
        button.toolTip = _before_after_text(healthy is not None, three_up)


def map_names(nodes: DetectionNodes) -> list[str]:
    """What to call the maps of a result, in the order of ``DetectionNodes.maps``."""
    whole = [] if nodes.anomaly_map is None else [str(_("Anomaly map"))]
    difference = [str(_("Subtraction"))] if "difference" in nodes.prior else []
    return [*whole, *(name.replace("_", " ") for name in nodes.components), *difference]


def _before_after_text(possible: bool, three_up: bool) -> str:
    if possible:
        return str(_("Change between the scan and how it would be expected to look if it were healthy."))
    return str(_("Both are shown side by side.") if three_up else _("This result has no expected healthy scan."))


def _choose(box: Any, index: int) -> None:
    wasBlocked = box.blockSignals(True)
    box.currentIndex = index
    box.blockSignals(wasBlocked)


def _set_checked(widget: Any, state: bool) -> None:
    wasBlocked = widget.blockSignals(True)
    widget.checked = state
    widget.blockSignals(wasBlocked)


def _background(composite: Node) -> str | None:
    identifier: str | None = composite.GetBackgroundVolumeID()
    return identifier


def _has_surface(segmentation: Node | None) -> bool:
    if segmentation is None:
        return False
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(segmentation.GetSegmentation().ContainsRepresentation(name))
