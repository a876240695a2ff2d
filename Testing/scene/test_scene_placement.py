"""Other scans laid on the first one: what results share, what users delete, and what points at each other."""

import numpy as np
import pytest
from scene_cases import (
    PRIOR_FROM_NOW,
    SHAPE,
    T1W_FROM_FLAIR,
    T2W_FROM_FLAIR,
    add_transform,
    add_volume,
    detection_of,
    examination_of,
    followed_up,
    node_ids,
    oblique_affine,
)
from test_scene_saving import load, save

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.slicer.scene.comments import COMMENTS_ATTRIBUTE
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.nodes.links import nodes_of_class
from BrainAnomalyLib.slicer.scene.nodes.placement import PRIOR
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import world_grid

OWN = np.array([[0.0, -1.0, 0.0, 3.0], [1.0, 0.0, 0.0, -8.0], [0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def shared(scene):
    """A scan that two results use, under a transform of its own."""
    node = add_volume(scene, "shared", SHAPE, oblique_affine("RAS"))
    node.SetAndObserveTransformNodeID(add_transform(scene, OWN).GetID())
    return node


@pytest.fixture
def second(scene):
    return add_volume(scene, "second", SHAPE, oblique_affine("RAS", 9.0))


def placements(scene):
    return [node for node in nodes_of_class(scene, "vtkMRMLTransformNode") if " on " in node.GetName()]


def assert_lies(node, grid, from_first):
    """``node``, whose world grid was ``grid``, has been moved by the inverse of the way from the first scan."""
    moved = world_grid(node).affine @ np.linalg.inv(grid.affine)
    np.testing.assert_allclose(moved, np.linalg.inv(from_first), atol=1e-9)


@pytest.mark.parametrize("earlier_goes_first", [True, False])
def test_a_scan_of_two_results_is_back_where_it_was_once_both_are_gone(
    scene, volume, second, shared, logic, earlier_goes_first
):
    own, grid = shared.GetTransformNodeID(), world_grid(shared)
    logic.apply(examination_of(volume), volume, [shared])
    logic.apply(followed_up(detection_of(second)), second, (), shared)
    gone = [volume, second] if earlier_goes_first else [second, volume]
    logic.removeResults(gone[0])
    logic.removeResults(gone[1])
    assert shared.GetTransformNodeID() == own
    np.testing.assert_allclose(world_grid(shared).affine, grid.affine, atol=1e-9)
    assert placements(scene) == []


def test_the_result_that_goes_leaves_a_shared_scan_to_the_other_one(volume, second, shared, logic):
    logic.apply(examination_of(volume), volume, [shared])
    logic.apply(followed_up(detection_of(second)), second, (), shared)
    grid = world_grid(shared)
    logic.removeResults(volume)
    np.testing.assert_allclose(world_grid(shared).affine, grid.affine, atol=1e-9)
    assert logic.otherScans(second) == {PRIOR: shared}
    assert logic.otherScans(volume) == {}


def test_a_transform_goes_with_the_result_though_its_scan_was_deleted(scene, volume, second, logic):
    logic.apply(examination_of(volume), volume, [second])
    assert len(placements(scene)) == 1
    scene.RemoveNode(second)
    logic.removeResults(volume)
    assert placements(scene) == []


def test_scans_go_back_though_the_first_one_was_deleted(scene, volume, second, shared, logic):
    own, grid = shared.GetTransformNodeID(), world_grid(shared)
    logic.apply(examination_of(volume), volume, [shared])
    scene.RemoveNode(volume)
    logic.apply(detection_of(second), second)
    assert shared.GetTransformNodeID() == own
    np.testing.assert_allclose(world_grid(shared).affine, grid.affine, atol=1e-9)
    assert placements(scene) == []


def test_further_contrasts_of_the_earlier_date_go_with_it(scene, volume, logic):
    before = add_volume(scene, "before", SHAPE, oblique_affine("RAS", 3.0))
    beside = add_volume(scene, "before T2", SHAPE, oblique_affine("RAS", 12.0))
    logic.apply(examination_of(before), before, [beside])
    grids = world_grid(before), world_grid(beside)
    logic.apply(followed_up(examination_of(volume)), volume, (), before)
    for node, grid in zip((before, beside), grids, strict=True):
        assert_lies(node, grid, PRIOR_FROM_NOW)
    logic.removeResults(volume)
    for node, grid in zip((before, beside), grids, strict=True):
        np.testing.assert_allclose(world_grid(node).affine, grid.affine, atol=1e-9)


def test_two_dates_compared_either_way_round_never_hang_on_each_other(volume, second, logic):
    for _ in range(2):
        for now, before in ((volume, second), (second, volume)):
            grids = [np.linalg.inv(world_grid(node).affine) for node in (now, before)]
            way = grids[0] @ np.linalg.inv(PRIOR_FROM_NOW) @ np.linalg.inv(grids[1])
            logic.apply(followed_up(detection_of(now)), now, (), before)
            found = np.linalg.inv(world_grid(now).affine) @ world_grid(before).affine
            np.testing.assert_allclose(found, way, atol=1e-9)
            assert logic.otherScans(now) == {PRIOR: before}
            assert logic.otherScans(before) == {}


def test_a_scan_is_not_laid_on_itself(scene, volume, second, logic):
    grid = world_grid(volume)
    logic.apply(examination_of(volume), volume, [volume, second])
    assert logic.otherScans(volume) == {"T1w": second}
    assert volume.GetTransformNodeID() is None
    np.testing.assert_allclose(world_grid(volume).affine, grid.affine)
    assert len(placements(scene)) == 1


def test_a_moved_threshold_and_a_review_move_no_scan(scene, volume, second, shared, logic):
    logic.apply(followed_up(examination_of(volume)), volume, [second], shared)
    grids, count = [world_grid(node) for node in (second, shared)], len(node_ids(scene))
    logic.setThreshold(volume, 4.5)
    logic.setKept(volume, 1, False)
    logic.setComment(volume, 1, "vessel")
    for node, grid in zip((second, shared), grids, strict=True):
        np.testing.assert_allclose(world_grid(node).affine, grid.affine)
    assert len(node_ids(scene)) == count


def test_a_scan_under_a_warp_is_refused_and_nothing_has_changed(scene, volume, second, shared, logic):
    before = logic.apply(detection_of(volume), volume)
    warp = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    shared.SetAndObserveTransformNodeID(warp.GetID())
    grid, count = world_grid(second), len(node_ids(scene))
    with pytest.raises(ScanError, match="non-linear"):
        logic.apply(examination_of(volume), volume, [second, shared])
    assert logic.resultNodes(volume) == before
    assert logic.otherScans(volume) == {}
    assert len(node_ids(scene)) == count
    np.testing.assert_allclose(world_grid(second).affine, grid.affine)


def test_a_run_with_another_scan_of_a_contrast_gives_the_first_one_back(volume, second, shared, logic):
    own, grid = shared.GetTransformNodeID(), world_grid(second)
    logic.apply(examination_of(volume), volume, [shared])
    logic.apply(examination_of(volume), volume, [second])
    assert shared.GetTransformNodeID() == own
    assert logic.otherScans(volume) == {"T2w": second}
    assert_lies(second, grid, T2W_FROM_FLAIR)


def test_scans_that_change_their_contrasts_lie_right_and_go_back(volume, second, shared, logic):
    own, home = shared.GetTransformNodeID(), world_grid(shared)
    logic.apply(examination_of(volume), volume, [second, shared])
    grids = world_grid(shared), world_grid(second)
    logic.apply(examination_of(volume), volume, [shared, second])
    assert logic.otherScans(volume) == {"T2w": shared, "T1w": second}
    for node, grid, way in zip((shared, second), grids, (T2W_FROM_FLAIR, T1W_FROM_FLAIR), strict=True):
        assert_lies(node, grid, way)
    logic.removeResults(volume)
    assert (shared.GetTransformNodeID(), second.GetTransformNodeID()) == (own, None)
    np.testing.assert_allclose(world_grid(shared).affine, home.affine, atol=1e-9)


def test_a_saved_scene_gives_a_shared_scan_back_too(scene, volume, second, shared, logic, tmp_path):
    grid = world_grid(shared)
    logic.apply(examination_of(volume), volume, [shared])
    logic.apply(followed_up(detection_of(second)), second, (), shared)
    save(scene, tmp_path)
    loaded, again = load(tmp_path), BrainAnomalySceneLogic()
    for name in ("scan", "second"):
        again.removeResults(loaded.GetFirstNodeByName(name))
    np.testing.assert_allclose(world_grid(loaded.GetFirstNodeByName("shared")).affine, grid.affine, atol=1e-4)
    assert placements(loaded) == []


@pytest.mark.parametrize("voxel", ["[999, 0, 0]", "[-1, 0, 0]", "[0, 0, 1.5]", '["a", 0, 0]', "[0, 0]"])
def test_a_comment_that_lies_nowhere_is_none(volume, logic, voxel):
    nodes = logic.apply(detection_of(volume), volume)
    logic.setComment(volume, 1, "old")
    stored = nodes.anomaly_map.GetAttribute(COMMENTS_ATTRIBUTE)
    start, end = stored.index("[", stored.index("voxel")), stored.index("]") + 1
    nodes.anomaly_map.SetAttribute(COMMENTS_ATTRIBUTE, stored[:start] + voxel + stored[end:])
    assert logic.comments(volume) == {}
    logic.setComment(volume, 1, "new")
    assert logic.comments(volume) == {1: "new"}


def test_the_way_to_each_scan_is_its_own(volume, second, shared, logic):
    grids = world_grid(second), world_grid(shared)
    logic.apply(examination_of(volume), volume, [second, shared])
    for node, grid, way in zip((second, shared), grids, (T2W_FROM_FLAIR, T1W_FROM_FLAIR), strict=True):
        assert_lies(node, grid, way)
