"""Keep and reject: rejected findings leave the segment, and stay rejected where they still overlap."""

import numpy as np
import pytest
import slicer
from scene_cases import SHAPE, anomaly_map, column, detection_of

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.slicer.scene.comments import COMMENTS_ATTRIBUTE
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.presets import thresholds_by_rate
from BrainAnomalyLib.slicer.scene.review import REJECTED_ATTRIBUTE
from segment_mask import segment_mask


@pytest.fixture
def nodes(volume, logic):
    return logic.apply(detection_of(volume), volume)


def segment(nodes):
    return segment_mask(nodes.segmentation, SHAPE)


def test_a_rejected_finding_leaves_the_segment_and_is_marked_in_the_table(volume, logic, nodes):
    labels = logic.findings(volume).labels
    assert logic.setKept(volume, 1, False) == {1}
    np.testing.assert_array_equal(segment(nodes), labels == 2)
    assert column(nodes.findings_table, "review") == ["rejected", "kept"]
    assert logic.setKept(volume, 1, True) == frozenset()
    np.testing.assert_array_equal(segment(nodes), labels > 0)
    assert nodes.anomaly_map.GetAttribute(REJECTED_ATTRIBUTE) is None


@pytest.mark.parametrize("threshold", [0.6, 3.0, 3.9, 5.5])
def test_the_decision_holds_at_other_thresholds_where_the_finding_is(volume, logic, nodes, threshold):
    logic.setKept(volume, 1, False)
    logic.setThreshold(volume, threshold)
    assert not segment(nodes)[7, 9, 7]
    assert segment(nodes)[21, 23, 16] == (threshold < 3.5)
    assert logic.rejected(volume) == {1}


def test_parts_of_a_rejected_finding_stay_rejected_when_it_splits(volume, logic):
    bridged = anomaly_map()
    bridged[4:24, 12, 8] = 3.2
    bridged[20:24, 12:26, 8:16] = 3.8
    logic.apply(detection_of(volume, anomaly=bridged), volume)
    assert len(logic.findings(volume).table) == 1
    logic.setKept(volume, 1, False)
    assert len(logic.setThreshold(volume, 3.6).table) == 2
    assert logic.rejected(volume) >= {1}


def test_a_stronger_region_is_not_hidden_by_merging_with_a_rejected_one(volume, logic):
    bridged = anomaly_map()
    bridged[4:24, 12:26, 8:16] = np.maximum(bridged[4:24, 12:26, 8:16], 2.0)
    nodes = logic.apply(detection_of(volume, anomaly=bridged), volume)
    weaker = next(row.id for row in logic.findings(volume).table if row.peak == 3.5)
    logic.setKept(volume, weaker, False)
    merged = logic.setThreshold(volume, 1.0)
    assert len(merged.table) == 1
    assert logic.rejected(volume) == frozenset()
    assert segment(nodes)[21, 23, 16]


def test_a_new_run_forgets(volume, logic, nodes):
    logic.setKept(volume, 2, False)
    logic.apply(detection_of(volume), volume)
    assert logic.rejected(volume) == frozenset()


def test_the_decision_is_in_the_scene_not_in_the_logic(volume, logic, nodes):
    logic.setKept(volume, 2, False)
    assert BrainAnomalySceneLogic().rejected(volume) == {2}


def test_reversed_slices_of_a_loaded_scene_are_followed(volume, logic, nodes):
    logic.setKept(volume, 2, False)
    matrix = slicer.util.arrayFromVolume(nodes.anomaly_map)
    flipped = np.ascontiguousarray(matrix[::-1])
    slicer.util.updateVolumeFromArray(nodes.anomaly_map, flipped)
    import vtk

    affine = vtk.vtkMatrix4x4()
    nodes.anomaly_map.GetIJKToRASMatrix(affine)
    flip = vtk.vtkMatrix4x4()
    flip.SetElement(2, 2, -1.0)
    flip.SetElement(2, 3, SHAPE[2] - 1.0)
    turned = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(affine, flip, turned)
    nodes.anomaly_map.SetIJKToRASMatrix(turned)
    assert logic.rejected(volume) == {2}


def test_a_damaged_memory_is_ignored(volume, logic, nodes):
    nodes.anomaly_map.SetAttribute(REJECTED_ATTRIBUTE, '{"shape": [1]')
    assert logic.rejected(volume) == frozenset()


def test_a_number_without_finding_is_refused(volume, logic, nodes):
    with pytest.raises(OptionsError, match="no finding 9"):
        logic.setKept(volume, 9, False)


def test_the_detection_comes_back_from_the_scene(volume, logic):
    detection = detection_of(volume)
    logic.apply(detection, volume)
    logic.setKept(volume, 1, False)
    back = logic.detection(volume)
    for name in ("anomaly", "pseudo_healthy", "residual", "uncertainty", "template_from_native"):
        np.testing.assert_allclose(getattr(back, name), getattr(detection, name), atol=1e-9)
    assert [(row.id, row.review) for row in back.findings.table] == [(1, "rejected"), (2, "kept")]
    np.testing.assert_array_equal(back.findings.kept().labels, np.where(detection.findings.labels == 2, 2, 0))
    np.testing.assert_allclose(back.profile.mean_anomaly, detection.profile.mean_anomaly)
    assert vars(back.quality) == vars(detection.quality)
    assert back.detector == detection.detector


def test_presets_are_those_that_the_result_states():
    stated = {"name": "x", "package": None, "thresholds_by_rate": {"0.01": 2.0, "0.001": 3.0}}
    assert thresholds_by_rate(stated) == ((0.001, 3.0), (0.01, 2.0))
    assert thresholds_by_rate({"name": "tissue", "package": None}) == ()


@pytest.mark.parametrize("name", ["histogram", "denoising"])
def test_a_result_states_the_thresholds_of_its_method_or_package(name):
    from BrainAnomalyLib.detection import description
    from BrainAnomalyLib.detectors.registry import load_detector

    detector = load_detector(name, device="cpu")
    stated = thresholds_by_rate(description(detector, detector.threshold))
    assert [rate for rate, _ in stated] == [0.001, 0.005, 0.01, 0.05, 0.1]
    assert dict(stated) == detector.threshold.by_false_positive_rate


def test_a_comment_stands_in_table_and_detection_and_is_replaced_and_taken_back(volume, logic, nodes):
    logic.setComment(volume, 2, " vessel? ")
    logic.setComment(volume, 1, "first")
    assert column(nodes.findings_table, "comment") == ["first", "vessel?"]
    assert [row.comment for row in logic.detection(volume).findings.table] == ["first", "vessel?"]
    logic.setComment(volume, 2, "no vessel")
    assert logic.comments(volume) == {1: "first", 2: "no vessel"}
    logic.setComment(volume, 1, "")
    assert BrainAnomalySceneLogic().comments(volume) == {2: "no vessel"}
    with pytest.raises(OptionsError, match="no finding 9"):
        logic.setComment(volume, 9, "nowhere")


def test_a_comment_follows_its_place_when_the_threshold_moves_and_meets_others_in_one_finding(volume, logic):
    bridged = anomaly_map()
    bridged[4:24, 12:26, 8:16] = np.maximum(bridged[4:24, 12:26, 8:16], 2.0)
    logic.apply(detection_of(volume, anomaly=bridged), volume)
    weaker = next(row.id for row in logic.findings(volume).table if row.peak == 3.5)
    logic.setComment(volume, weaker, "weak")
    logic.setComment(volume, 3 - weaker, "strong")
    logic.setThreshold(volume, 5.0)
    assert logic.comments(volume) == {1: "strong"}
    assert len(logic.setThreshold(volume, 1.0).table) == 1
    assert sorted(logic.comments(volume)[1].split("; ")) == ["strong", "weak"]
    logic.setThreshold(volume, 3.0)
    assert logic.comments(volume)[weaker] == "weak"


def test_a_new_run_forgets_comments_and_a_damaged_memory_is_none(volume, logic, nodes):
    logic.setComment(volume, 1, "old")
    logic.apply(detection_of(volume), volume)
    assert logic.comments(volume) == {}
    for damaged in ('{"slices": 26}', "[1]", "x", '{"slices": 26, "right_handed": true, "comments": [{"voxel": [1]}]}'):
        nodes.anomaly_map.SetAttribute(COMMENTS_ATTRIBUTE, damaged)
        assert logic.comments(volume) == {}


def test_the_review_goes_back_to_a_state_of_before_and_forth_again(volume, logic, nodes):
    empty = logic.reviewState(volume)
    logic.setKept(volume, 1, False)
    logic.setComment(volume, 1, "vessel")
    full = logic.reviewState(volume)
    logic.setReviewState(volume, empty)
    assert column(nodes.findings_table, "review") == ["kept", "kept"]
    assert column(nodes.findings_table, "comment") == ["", ""]
    assert segment(nodes)[7, 9, 7]
    logic.setReviewState(volume, full)
    assert column(nodes.findings_table, "review") == ["rejected", "kept"]
    assert column(nodes.findings_table, "comment") == ["vessel", ""]
    assert not segment(nodes)[7, 9, 7]
