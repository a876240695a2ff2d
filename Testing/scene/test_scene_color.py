"""The heat map: colors ordered by lightness, an absolute scale, nothing shown up to the threshold, a legend."""

import numpy as np
import pytest
from scene_cases import add_volume, anomaly_map, detection_of

from BrainAnomalyLib.slicer.scene.nodes.color_table import display_maximum, heat_colors, legend_of
from BrainAnomalyLib.slicer.scene.nodes.links import nodes_of_class


def test_heat_colors_run_from_black_over_red_and_yellow_to_white():
    colors = heat_colors()
    assert colors.shape == (256, 3)
    np.testing.assert_allclose(colors[[0, -1]], [[0, 0, 0], [1, 1, 1]])
    assert np.all(colors[:, 0] >= colors[:, 1])
    assert np.all(colors[:, 1] >= colors[:, 2])


def test_heat_colors_get_evenly_lighter():
    from skimage.color import rgb2lab

    lightness = rgb2lab(heat_colors()[None])[0, :, 0]
    np.testing.assert_allclose(np.diff(lightness), 100.0 / 255.0, atol=0.08)


def test_color_node_holds_the_heat_colors(scene, volume, logic):
    display = logic.apply(detection_of(volume), volume).anomaly_map.GetScalarVolumeDisplayNode()
    node = display.GetColorNode()
    color = [0.0] * 4
    for index, expected in enumerate(heat_colors()):
        node.GetColor(index, color)
        np.testing.assert_allclose(color, [*expected, 1.0], atol=1.0 / 255.0)


def test_scale_is_absolute_not_that_of_the_scan(volume, logic):
    weak = logic.apply(detection_of(volume), volume).anomaly_map.GetScalarVolumeDisplayNode()
    first = weak.GetWindowLevelMin(), weak.GetWindowLevelMax()
    logic.apply(detection_of(volume, anomaly=anomaly_map() * 10), volume)
    assert (weak.GetWindowLevelMin(), weak.GetWindowLevelMax()) == first == (0.0, 9.0)


def test_threshold_of_the_user_does_not_change_the_colors(volume, logic):
    nodes = logic.apply(detection_of(volume, threshold=1.0), volume)
    logic.setThreshold(volume, 4.5)
    display = nodes.anomaly_map.GetScalarVolumeDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 9.0)


def test_map_is_shown_strictly_above_the_threshold(volume, logic):
    display = logic.apply(detection_of(volume), volume).anomaly_map.GetScalarVolumeDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(3.0)
    assert np.float32(display.GetLowerThreshold()) > np.float32(3.0)
    assert display.GetUpperThreshold() > 9.0 - 1e-6
    logic.setThreshold(volume, 5.5)
    assert display.GetLowerThreshold() == pytest.approx(5.5)


def test_fractions_end_at_one_and_others_at_three_times_the_threshold():
    assert display_maximum("equalized intensity", 0.98) == 1.0
    assert display_maximum("standard deviations", 2.5) == 7.5
    assert display_maximum("standard deviations", 0.0) > 0.0


def test_legend_says_what_the_colors_mean(volume, logic):
    nodes = logic.apply(detection_of(volume), volume)
    legend = legend_of(nodes.anomaly_map)
    assert legend.GetPrimaryDisplayNode() is nodes.anomaly_map.GetScalarVolumeDisplayNode()
    assert legend.GetTitleText() == "Anomaly (standard\ndeviations)"


def test_scene_has_one_heat_table_for_all_inputs(scene, volume, logic):
    other = add_volume(scene, "other")
    for node in (volume, other):
        logic.apply(detection_of(node), node)
    assert len(nodes_of_class(scene, "vtkMRMLColorTableNode")) == 1


def test_heat_table_goes_with_the_last_result(scene, volume, logic):
    other = add_volume(scene, "other")
    for node in (volume, other):
        logic.apply(detection_of(node), node)
    logic.removeResults(volume)
    assert len(nodes_of_class(scene, "vtkMRMLColorTableNode")) == 1
    logic.removeResults(other)
    assert not nodes_of_class(scene, "vtkMRMLColorTableNode")


def test_pseudo_healthy_is_shown_in_the_window_of_the_input(volume, logic):
    display = volume.GetScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(60.0, 140.0)
    nodes = logic.apply(detection_of(volume), volume)
    for node, window in ((nodes.pseudo_healthy, (60.0, 140.0)), (nodes.residual, (-40.0, 40.0))):
        shown = node.GetScalarVolumeDisplayNode()
        assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == pytest.approx(window)
