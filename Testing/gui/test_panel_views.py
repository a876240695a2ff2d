"""The views section: layouts, overlay, expected healthy scan; buttons say what the views show, whatever came before."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from panel_cases import composites, real_detection, slice_centers, with_large_result, with_result

NUMBER = 1
COMPARE, ON_TOOLBAR = 58401, 6


@pytest.fixture
def panel(host):
    return host.open("BrainAnomaly")


@pytest.fixture
def node(panel):
    return with_result(panel)


class TestViews:
    def test_nothing_is_changed_before_it_is_asked_for(self, panel, node):
        assert all(composite.GetForegroundVolumeID() is None for composite in composites())
        assert slicer.app.layoutManager().layout == 3

    def test_show_in_slice_views_puts_the_map_over_the_scan(self, host, panel, node):
        host.click(panel.ui.showSlicesButton)
        host.click_cell(panel.ui.findingsTable, 0, NUMBER)
        pixels = host.slice_view("Red").draw().astype(int)
        assert (np.ptp(pixels, axis=2) > 60).any()
        panel.ui.opacitySlider.value = 0.3
        anomaly = panel.logic.resultNodes(node).anomaly_map
        shown = [one for one in composites() if one.GetForegroundVolumeID() == anomaly.GetID()]
        assert len(shown) == 3
        assert all(one.GetForegroundOpacity() == pytest.approx(0.3) for one in shown)
        assert panel.panel.parameters.overlayOpacity == pytest.approx(0.3)
        host.click(panel.ui.overlayCheckBox)
        assert all(one.GetForegroundOpacity() == 0.0 for one in shown)

    def test_each_map_that_a_combined_one_is_made_of_can_be_shown(self, host, panel, node):
        assert not panel.ui.mapComboBox.enabled
        made = real_detection()
        parts = {"tissue": made.anomaly * 0.5, "a part of tomorrow": made.anomaly * 0.9}
        panel.logic.sceneLogic.apply(replace(made, components=parts), node)
        panel.panel.results.refresh(node)
        nodes = panel.logic.resultNodes(node)
        maps = [nodes.anomaly_map, nodes.components["a part of tomorrow"], nodes.components["tissue"]]
        box = panel.ui.mapComboBox
        assert box.enabled
        assert [box.itemText(index) for index in range(box.count)] == ["Anomaly map", "a part of tomorrow", "tissue"]
        host.click(panel.ui.showSlicesButton)
        for index, wanted in ((2, maps[2]), (1, maps[1])):
            box.currentIndex = index
            assert {one.GetForegroundVolumeID() for one in composites()} == {wanted.GetID()}
        panel.ui.opacitySlider.value = 0.4
        assert {one.GetForegroundOpacity() for one in composites()} == {0.4}
        panel.panel.results.refresh(node)
        assert box.currentIndex == 1
        host.click(panel.ui.showSlicesButton)
        assert {one.GetForegroundVolumeID() for one in composites()} == {maps[1].GetID()}
        limit = panel.ui.thresholdSpinBox.value * 1.5
        panel.logic.setThreshold(node, limit)
        lowest = maps[1].GetScalarVolumeDisplayNode().GetLowerThreshold()
        assert lowest == pytest.approx(limit, rel=1e-5)

    def test_before_and_after_change_places(self, host, panel, node):
        host.click(panel.ui.showSlicesButton)
        healthy = panel.logic.resultNodes(node).pseudo_healthy
        host.click(panel.ui.beforeAfterButton)
        assert {one.GetBackgroundVolumeID() for one in composites()} == {healthy.GetID()}
        host.click(panel.ui.beforeAfterButton)
        assert {one.GetBackgroundVolumeID() for one in composites()} == {node.GetID()}

    def test_three_views_side_by_side_are_linked_and_go_away_again(self, host, panel, node):
        host.click(panel.ui.threeUpButton)
        manager = slicer.app.layoutManager()
        nodes = panel.logic.resultNodes(node)
        layers = []
        for name in ("BrainAnomalyScan", "BrainAnomalyHealthy", "BrainAnomalyMap"):
            composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
            layers.append((composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()))
            assert composite.GetLinkedControl()
            assert manager.sliceWidget(name).mrmlSliceNode().GetOrientation() == "Axial"
        anomaly, healthy = nodes.anomaly_map.GetID(), nodes.pseudo_healthy.GetID()
        assert layers == [(node.GetID(), None), (healthy, None), (node.GetID(), anomaly)]
        host.click(panel.ui.threeUpButton)
        assert manager.layout == 3

    def test_legend_and_surface(self, host, panel, node):
        from BrainAnomalyLib.slicer.scene.nodes.color_table import legend_of

        nodes = panel.logic.resultNodes(node)
        assert legend_of(nodes.anomaly_map).GetVisibility()
        host.click(panel.ui.legendCheckBox)
        assert not legend_of(nodes.anomaly_map).GetVisibility()
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        host.click(panel.ui.show3DButton)
        assert nodes.segmentation.GetSegmentation().ContainsRepresentation(name)
        host.click(panel.ui.show3DButton)
        assert not nodes.segmentation.GetSegmentation().ContainsRepresentation(name)

    def test_a_method_without_reconstruction_has_no_before_and_after(self, panel):
        with_large_result(panel, np.pad(np.full((9, 9, 9), 2.0, dtype=np.float32), 12))
        assert not panel.ui.beforeAfterButton.enabled
        assert panel.ui.threeUpButton.enabled


def layout() -> int:
    return slicer.app.layoutManager().layout


def shown() -> list:
    names = slicer.app.layoutManager().sliceViewNames()
    return [one for one in composites() if one.GetLayoutName() in names]


def assert_buttons_agree_with_views(panel) -> None:
    """Every button of the section says what can be seen."""
    node, ui = panel.panel.results.node, panel.ui
    if node is None:
        buttons = (ui.threeUpButton, ui.beforeAfterButton, ui.overlayCheckBox, ui.show3DButton)
        assert not any(button.checked for button in buttons)
        return
    nodes = panel.logic.resultNodes(node)
    maps = {one.GetID() for one in nodes.maps()}
    scan_view = next((one for one in shown() if one.GetLayoutName() == "BrainAnomalyScan"), None)
    compares = layout() == COMPARE and scan_view.GetBackgroundVolumeID() == node.GetID()
    healthy = [one for one in shown() if one.GetBackgroundVolumeID() == nodes.pseudo_healthy.GetID()]
    replaced = layout() != COMPARE and bool(healthy)
    over = [one for one in shown() if one.GetForegroundVolumeID() in maps and one.GetForegroundOpacity() > 0.0]
    assert ui.threeUpButton.checked == compares
    assert ui.beforeAfterButton.checked == replaced
    assert ui.beforeAfterButton.text == ("Show scan" if replaced else "Show expected healthy")
    assert ui.beforeAfterButton.enabled == (layout() != COMPARE)
    assert ui.overlayCheckBox.checked == bool(over)


def actions(host, panel, other):
    """What a reader can do to the views, by a word."""
    ui, first = panel.ui, panel.panel.results.node

    def click(button):
        return lambda: host.click(button) if button.enabled else None

    return {
        "slices": click(ui.showSlicesButton),
        "compare": click(ui.threeUpButton),
        "healthy": click(ui.beforeAfterButton),
        "overlay": click(ui.overlayCheckBox),
        "3D": click(ui.show3DButton),
        "plot": click(ui.profilePlotButton),
        "toolbar": lambda: slicer.app.layoutManager().setLayout(ON_TOOLBAR),
        "scan alone": lambda: slicer.util.setSliceViewerLayers(background=first, foreground=None),
        "other result": lambda: host.choose(ui.resultComboBox, other.GetName()),
        "first result": lambda: host.choose(ui.resultComboBox, first.GetName()),
        "run ends": lambda: panel.panel.onRunEnded(other, "done", "", ""),
        "close": lambda: slicer.mrmlScene.Clear(0),
    }


class TestSequences:
    """Several results in one scene; after every action the buttons are compared with the views."""

    @pytest.fixture
    def two(self, panel):
        other = with_result(panel, "second")
        return with_result(panel, "first"), other

    def play(self, host, panel, two, *words):
        known = actions(host, panel, two[1])
        for word in words:
            known[word]()
            host.process_events()
            assert_buttons_agree_with_views(panel)

    def test_compare_goes_back_to_the_layout_it_came_from(self, host, panel, two):
        self.play(host, panel, two, "toolbar", "compare")
        assert layout() == COMPARE
        self.play(host, panel, two, "compare")
        assert layout() == ON_TOOLBAR

    def test_a_plot_ends_the_comparison_and_the_next_one_ends_in_the_plot(self, host, panel, two):
        self.play(host, panel, two, "compare", "plot")
        with_plot = layout()
        assert with_plot not in (COMPARE, 3)
        self.play(host, panel, two, "compare", "compare")
        assert layout() == with_plot

    def test_a_layout_of_the_toolbar_stays(self, host, panel, two):
        self.play(host, panel, two, "compare", "toolbar")
        assert layout() == ON_TOOLBAR
        assert not panel.ui.threeUpButton.checked
        self.play(host, panel, two, "slices")
        assert layout() == ON_TOOLBAR

    def test_a_closed_scene_ends_the_comparison(self, host, panel, two):
        self.play(host, panel, two, "compare", "close")
        assert layout() == 3
        assert not panel.ui.threeUpButton.checked

    def test_show_in_slice_views_and_a_new_result_end_the_expected_healthy_scan(self, host, panel, two):
        self.play(host, panel, two, "slices", "healthy")
        assert panel.ui.beforeAfterButton.checked
        self.play(host, panel, two, "slices")
        assert not panel.ui.beforeAfterButton.checked
        self.play(host, panel, two, "healthy", "other result", "first result", "run ends")
        assert not panel.ui.beforeAfterButton.checked

    def test_a_run_that_ends_during_a_comparison_is_compared(self, host, panel, two):
        self.play(host, panel, two, "compare", "run ends")
        assert layout() == COMPARE
        assert shown()[0].GetBackgroundVolumeID() == two[1].GetID()

    @pytest.mark.parametrize("seed", range(3))
    def test_any_sequence(self, host, panel, two, seed):
        words = [word for word in actions(host, panel, two[1]) if word not in ("close", "3D")]
        self.play(host, panel, two, *np.random.default_rng(seed).choice(words, 25), "3D", "close")


def test_side_by_side_shows_the_whole_scan_once_the_layout_has_settled(host, panel, node):
    host.click(panel.ui.threeUpButton)
    host.wait(lambda: not panel.panel.views._layouts._waits, 5.0, "the last look at the sizes")
    bounds = [0.0] * 6
    node.GetSliceBounds(bounds, None)
    for name in slicer.app.layoutManager().sliceViewNames():
        view = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        width, height, _depth = view.GetFieldOfView()
        assert tuple(view.GetDimensions())[:2] == (400, 400)
        room = width / (bounds[1] - bounds[0]), height / (bounds[3] - bounds[2])
        assert min(room) == pytest.approx(1.0, rel=0.02)


def test_a_point_of_the_plot_leads_to_its_slice_once_however_often_the_plot_was_asked_for(host, panel, node):
    for _press in range(4):
        host.click(panel.ui.profilePlotButton)
        gc.collect()
    jumps, profile = [], panel.panel.profile
    jump = profile.jumpToLevel
    profile.jumpToLevel = lambda level: (jumps.append(level), jump(level))
    chosen, selections = vtk.vtkIdTypeArray(), vtk.vtkCollection()
    chosen.InsertNextValue(40)
    selections.AddItem(chosen)
    slicer.app.layoutManager().plotWidget(0).plotView().qt_object().picked.emit(vtk.vtkStringArray(), selections)
    assert len(jumps) == 1


def test_arrow_keys_jump_and_headers_sort(host, panel):
    anomaly = np.zeros((40, 40, 40), dtype=np.float32)
    for number, size in enumerate((9, 5, 7)):
        anomaly[4 : 4 + size, 4 : 4 + size, 4 + 12 * number : 4 + 12 * number + size] = 2.0 + number
    with_large_result(panel, anomaly)
    table = panel.ui.findingsTable
    host.click_cell(table, 0, NUMBER)
    first = slice_centers()
    host.press(table, "Down")
    assert table.currentRow() == 1
    assert not np.allclose(first, slice_centers())
    header = table.horizontalHeader()
    # By size: 9, 7 and 5 voxels wide, with peaks of 2, 4 and 3.
    for column, expected in ((3, "2 3 1"), (3, "1 3 2"), (2, "1 2 3"), (2, "3 2 1"), (1, "1 2 3")):
        header.qt_object().sectionClicked.emit(column)
        assert [table.item(row, NUMBER).text() for row in range(3)] == expected.split()
    panel.ui.thresholdSpinBox.value = 2.5
    assert [table.item(row, NUMBER).text() for row in range(2)] == ["1", "2"]
