"""Several contrasts and two dates in the scene: one result, other scans laid on the first, all of it saved."""

import numpy as np
import pytest
from scene_cases import (
    GONE,
    PRIOR_FROM_NOW,
    SHAPE,
    T1W_FROM_FLAIR,
    T2W_FROM_FLAIR,
    add_transform,
    add_volume,
    column,
    detection_of,
    examination_of,
    followed_up,
    node_ids,
    oblique_affine,
)
from test_scene_saving import load, save

from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.nodes.color_table import DIFFERENCE, difference_colors, legend_of, map_color_node
from BrainAnomalyLib.slicer.scene.nodes.links import PRIOR_VOLUMES
from BrainAnomalyLib.slicer.scene.nodes.placement import PRIOR
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import world_grid

SEEN = ["FLAIR +, T1w -", "FLAIR +"]


@pytest.fixture
def others(scene):
    """T2w, T1w and an earlier FLAIR on grids of their own."""
    names = ("T2", "T1", "before")
    return [add_volume(scene, name, SHAPE, oblique_affine("RAS", 5.0 * place)) for place, name in enumerate(names)]


@pytest.fixture
def result(volume, others, logic):
    *further, prior = others
    return logic.apply(followed_up(examination_of(volume)), volume, further, prior)


def moved_by(node, grid_before):
    """The matrix from the world a node was in to the one it is in now."""
    return world_grid(node).affine @ np.linalg.inv(grid_before.affine)


def test_the_table_says_on_which_contrast_a_finding_is_seen_at_every_threshold(volume, logic):
    nodes = logic.apply(examination_of(volume), volume)
    assert column(nodes.findings_table, "contrasts") == SEEN
    logic.setThreshold(volume, 3.6)
    assert column(nodes.findings_table, "contrasts") == SEEN[:1]
    assert [row.contrasts for row in logic.detection(volume).findings.table] == SEEN[:1]


def test_evidence_is_shown_on_both_sides_of_zero_and_its_sum_as_heat(volume, logic):
    nodes = logic.apply(examination_of(volume), volume)
    assert set(nodes.components) == {"FLAIR", "T2w", "T1w", "joint"}
    display = nodes.components["T1w"].GetScalarVolumeDisplayNode()
    assert display.GetColorNode() is map_color_node(volume.GetScene(), DIFFERENCE)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-9.0, 9.0)
    logic.setThreshold(volume, 3.6)
    assert not display.GetApplyThreshold()
    assert nodes.components["joint"].GetScalarVolumeDisplayNode().GetApplyThreshold()
    assert legend_of(nodes.components["T1w"]) is not None


def test_differences_are_clear_about_zero_blue_below_and_red_above():
    colors = difference_colors(301)
    clear = np.abs(np.linspace(-1.0, 1.0, 301)) <= 1.0 / 3.0
    np.testing.assert_array_equal(colors[:, 3] == 0.0, clear)
    assert (colors[:100, 2] > colors[:100, 0]).all()
    assert (colors[-100:, 0] > colors[-100:, 2]).all()


def test_further_scans_and_the_earlier_date_are_laid_on_the_first_one(volume, others, logic):
    before = [world_grid(node) for node in others]
    logic.apply(followed_up(examination_of(volume)), volume, others[:2], others[2])
    for node, grid, from_first in zip(others, before, (T2W_FROM_FLAIR, T1W_FROM_FLAIR, PRIOR_FROM_NOW), strict=True):
        np.testing.assert_allclose(moved_by(node, grid), np.linalg.inv(from_first), atol=1e-9)
    assert set(logic.otherScans(volume)) == {"T2w", "T1w", PRIOR}


def test_what_moved_the_scans_before_counts_and_comes_back_when_the_result_goes(scene, volume, others, logic):
    first, own = add_transform(scene, T1W_FROM_FLAIR), add_transform(scene, np.diag([-1.0, -1.0, 1.0, 1.0]))
    volume.SetAndObserveTransformNodeID(first.GetID())
    others[0].SetAndObserveTransformNodeID(own.GetID())
    grid, count = world_grid(others[0]), len(node_ids(scene))
    logic.apply(examination_of(volume), volume, others[:2])
    np.testing.assert_allclose(moved_by(others[0], grid), np.linalg.inv(T2W_FROM_FLAIR), atol=1e-9)
    logic.removeResults(volume)
    assert others[0].GetTransformNodeID() == own.GetID()
    assert others[1].GetTransformNodeID() is None
    assert len(node_ids(scene)) == count
    assert logic.otherScans(volume) == {}


def test_results_of_the_other_scans_go_with_them(volume, others, logic):
    own = logic.apply(detection_of(others[0]), others[0])
    logic.apply(examination_of(volume), volume, others[:2])
    np.testing.assert_allclose(world_grid(own.anomaly_map).affine, world_grid(others[0]).affine)
    assert own.segmentation.GetTransformNodeID() == others[0].GetTransformNodeID()


def test_a_second_run_lays_from_where_the_scans_are_and_leaves_out_who_is_not_in_it(
    scene, volume, others, logic, result
):
    grid, count = world_grid(others[0]), len(node_ids(scene))
    assert logic.apply(followed_up(examination_of(volume)), volume, others[:2], others[2]) == result
    assert len(node_ids(scene)) == count
    np.testing.assert_allclose(moved_by(others[0], grid), np.linalg.inv(T2W_FROM_FLAIR), atol=1e-9)
    nodes = logic.apply(detection_of(volume), volume)
    assert nodes.prior == {}
    assert set(nodes.components).isdisjoint({"FLAIR", "T2w", "T1w"})
    assert [node.GetTransformNodeID() for node in others] == [None] * 3
    assert column(nodes.findings_table, "change") == ["", ""]


def test_a_scan_that_left_the_scene_is_not_laid(scene, volume, others, logic):
    scene.RemoveNode(others[1])
    logic.apply(examination_of(volume), volume, others[:2])
    assert set(logic.otherScans(volume)) == {"T2w"}


def test_the_table_says_what_changed_and_by_how_much_at_every_threshold(volume, logic, result):
    expected = followed_up(examination_of(volume)).findings.table
    assert {row.change for row in expected} == {"new", "shrinking", "gone"}
    for name in ("change", "prior_ml", "change_ml"):
        assert column(result.findings_table, name) == [getattr(row, name) for row in expected]
    percents = [np.nan if row.change_percent is None else row.change_percent for row in expected]
    np.testing.assert_array_equal(column(result.findings_table, "change_percent"), percents)
    assert column(result.findings_table, "contrasts")[0] == SEEN[0]
    logic.setThreshold(volume, 4.5)
    assert set(column(result.findings_table, "change")) == {"new", "gone"}


def test_a_finding_that_is_gone_is_rejected_and_commented_as_any(volume, logic, result):
    numbers = {row.change: row.id for row in logic.findings(volume).table}
    logic.setComment(volume, numbers["gone"], "resolved")
    assert logic.setKept(volume, numbers["new"], False) == {numbers["new"]}
    assert logic.comments(volume) == {numbers["gone"]: "resolved"}
    assert logic.findings(volume).labels[GONE].max() == numbers["gone"]


def test_subtraction_and_change_are_shown_in_colors_and_offered_as_a_map(volume, logic, result):
    assert set(result.prior) == set(PRIOR_VOLUMES)
    assert result.maps()[-1] is result.prior["difference"]
    for name in ("difference", "growth"):
        display = result.prior[name].GetScalarVolumeDisplayNode()
        assert display.GetColorNode() is map_color_node(volume.GetScene(), DIFFERENCE)
        assert display.GetWindowLevelMin() == -display.GetWindowLevelMax()


def test_without_a_part_of_the_earlier_date_nothing_is_followed(scene, volume, logic, result):
    scene.RemoveNode(result.prior["growth"])
    assert {row.change for row in logic.findings(volume).table} == {""}
    assert logic.detection(volume).prior is None


@pytest.mark.parametrize("codes", ["RAS", "LAS"])
def test_all_of_it_comes_back_with_a_saved_scene(scene, others, logic, tmp_path, codes):
    volume = add_volume(scene, affine=oblique_affine(codes))
    logic.apply(followed_up(examination_of(volume)), volume, others[:2], others[2])
    numbers = {row.change: row.id for row in logic.findings(volume).table}
    logic.setComment(volume, numbers["gone"], "resolved, Ünï")
    logic.setKept(volume, numbers["shrinking"], False)
    rows = logic.detection(volume).findings.table
    places = [world_grid(node).affine for node in others]
    save(scene, tmp_path)
    loaded = load(tmp_path)
    node, again = loaded.GetFirstNodeByName("scan"), BrainAnomalySceneLogic()
    assert [(row.contrasts, row.change, row.review, row.comment) for row in again.detection(node).findings.table] == [
        (row.contrasts, row.change, row.review, row.comment) for row in rows
    ]
    found = again.otherScans(node)
    assert {name: other.GetName() for name, other in found.items()} == {"T2w": "T2", "T1w": "T1", PRIOR: "before"}
    for name, place in zip(("T2w", "T1w", PRIOR), places, strict=True):
        np.testing.assert_allclose(world_grid(found[name]).affine, place, atol=1e-4)
    again.setThreshold(node, 4.5)
    assert set(column(again.resultNodes(node).findings_table, "change")) == {"new", "gone"}
    again.removeResults(node)
    assert all(other.GetTransformNodeID() is None for other in found.values())


def test_a_difference_is_drawn_in_its_colors(scene, logic):
    from slice_rendering import SliceViews

    views = SliceViews(scene, size=(200, 200))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -30.0
    volume = add_volume(
        scene, "gray", (30, 34, 30), affine, 100.0 + np.arange(30.0)[:, None, None] * np.full((30, 34, 30), 1e-3)
    )
    detection = followed_up(detection_of(volume))
    detection.prior.difference[:] = 0.05
    detection.prior.difference[:8], detection.prior.difference[22:] = -0.4, 0.4
    nodes = logic.apply(detection, volume)
    for node in nodes.maps():
        legend_of(node).SetVisibility(False)
    nodes.segmentation.GetDisplayNode().SetVisibility(False)
    views.show(volume, nodes.prior["difference"], 1.0)
    picture = views.picture("Axial", (0.0, 0.0, 0.0), 100.0).astype(int)

    def pixel(right):
        return picture[views.pixel_of("Axial", (right, 0.0, 0.0))]

    below, middle, above = pixel(-24.0), pixel(0.0), pixel(22.0)
    assert below[2] > below[0] + 60
    assert above[0] > above[2] + 60
    assert np.ptp(middle) <= 2
