"""Components, the findings table, the slice profile: against numbers worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.findings.slice_profile import absolute_normality, normality_scores, slice_profile
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.io.geometry import Grid
from made_detection import made_detection
from synthetic import grid_of

GRID = Grid((20, 20, 20), np.array([[2.0, 0, 0, -20], [0, 1, 0, 5], [0, 0, 3, -7], [0, 0, 0, 1]]))


def mask_of(*voxels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((20, 20, 20), dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


@pytest.mark.parametrize("step", [(1, 0, 0), (1, 1, 0), (0, 1, -1), (1, 1, 1), (-1, 1, -1)])
def test_faces_edges_and_corners_connect(step: tuple[int, int, int]) -> None:
    mask = mask_of((5, 5, 5), tuple(5 + part for part in step))
    assert connected_components(mask, 1.0, 0.0).max() == 1


def test_a_gap_of_one_voxel_separates() -> None:
    assert connected_components(mask_of((5, 5, 5), (7, 5, 5)), 1.0, 0.0).max() == 2


def test_components_equal_a_direct_labelling() -> None:
    mask = np.random.default_rng(0).random((20, 20, 20)) > 0.85
    labels = connected_components(mask, 1.0, 0.0)
    expected, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    assert labels.max() == count
    assert len(set(zip(labels[mask].tolist(), expected[mask].tolist(), strict=True))) == count
    sizes = np.bincount(labels.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("density", [0.0, 0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("order", ["C", "F"])
def test_few_and_many_voxels_in_any_memory_order_are_numbered_alike(density: float, order: str) -> None:
    for shape in ((23, 17, 19), (5, 1, 40), (1, 1, 1)):
        mask = np.asarray(np.random.default_rng(3).random(shape) < density, order=order)
        labels = connected_components(mask, 1.0, 2.0)
        found, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(found.ravel(), minlength=count + 1)[1:]
        expected = np.zeros_like(found)
        for number, index in enumerate(np.argsort(-sizes, kind="stable"), 1):
            expected[found == index + 1] = number if sizes[index] > 2 else 0
        np.testing.assert_array_equal(labels, expected)


def test_a_component_of_exactly_the_minimum_size_goes() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[0:20, 0, 0] = True
    mask[0:21, 5, 5] = True
    labels = connected_components(mask, 1.0, 20.0)
    assert labels.max() == 1
    assert np.array_equal(labels > 0, mask & (np.indices(mask.shape)[1] == 5))


def test_the_minimum_is_a_volume_not_a_count() -> None:
    mask = mask_of((5, 5, 5), (5, 5, 6), (5, 5, 7))
    assert connected_components(mask, 7.0, 20.0).max() == 1
    assert connected_components(mask, 6.0, 20.0).max() == 0


def test_no_component_in_an_empty_mask() -> None:
    assert not connected_components(mask_of(), 1.0, 0.0).any()


def test_table_by_hand() -> None:
    anomaly = np.zeros((20, 20, 20), dtype=np.float32)
    anomaly[10:12, 4:6, 3:5] = 4.0
    anomaly[11, 5, 4] = 8.0
    anomaly[2, 2, 2] = 9.0
    onto = np.eye(4)
    onto[:3, 3] = (30.0, 0.0, 1.0)
    findings = find(anomaly, GRID, onto, threshold=3.0, minimum_mm3=20.0)
    (only,) = findings.table
    assert only.id == 1
    assert only.volume_ml == pytest.approx(8 * 6.0 / 1000.0)
    assert only.peak == 8.0
    assert only.mean == pytest.approx((7 * 4.0 + 8.0) / 8)
    assert only.centroid_ras == pytest.approx((10.5 * 2 - 20, 4.5 + 5, 3.5 * 3 - 7))
    assert only.centroid_template == pytest.approx((31.0, 9.5, 4.5))
    assert only.side == "right"
    assert findings.total_ml == pytest.approx(only.volume_ml)
    assert np.array_equal(findings.labels > 0, (anomaly > 3.0) & (anomaly != 9.0))


@pytest.mark.parametrize(
    ("x", "side"), [(-30.0, "left"), (-3.5, "left"), (-3.0, "midline"), (0.0, "midline"), (12.0, "right")]
)
def test_side_by_the_templates_midline(x: float, side: str) -> None:
    anomaly = np.where(mask_of((10, 10, 10)), 5.0, 0.0).astype(np.float32)
    onto = np.eye(4)
    onto[0, 3] = x
    assert find(anomaly, GRID, onto, 1.0, 0.0).table[0].side == side


def test_values_equal_to_the_threshold_are_not_above_it() -> None:
    anomaly = np.full((20, 20, 20), 2.0, dtype=np.float32)
    assert find(anomaly, GRID, np.eye(4), 2.0, 0.0).table == ()


def test_largest_first_and_labels_match_the_rows() -> None:
    findings = made_detection().findings
    assert [row.id for row in findings.table] == [1, 2]
    assert [row.volume_ml for row in findings.table] == pytest.approx([27 * 12e-3, 8 * 12e-3])
    for row in findings.table:
        assert (findings.labels == row.id).sum() * 12e-3 == pytest.approx(row.volume_ml)


def test_a_higher_threshold_never_finds_more() -> None:
    anomaly = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 30, 30)), 1.5).astype(np.float32)
    grid = grid_of((30, 30, 30))
    found = [find(anomaly, grid, np.eye(4), threshold, 20.0) for threshold in (0.0, 0.1, 0.2, 0.3)]
    totals = [result.total_ml for result in found]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > totals[-1]
    for lower, higher in pairwise(found):
        assert not ((higher.labels > 0) & (lower.labels == 0)).any()


def test_another_threshold_changes_only_the_findings() -> None:
    detection = made_detection()
    stricter = detection.with_threshold(6.0, 0.0)
    assert [row.peak for row in stricter.findings.table] == [9.0]
    assert stricter.threshold_source == "chosen by the user"
    assert stricter.anomaly is detection.anomaly
    assert len(detection.findings.table) == 2


def test_normality_scores_by_hand() -> None:
    assert normality_scores(np.array([2.0, 4.0, 10.0])) == pytest.approx([1.0, 0.75, 0.0])


def test_equal_slices_are_all_normal() -> None:
    assert normality_scores(np.full(5, 3.0)).tolist() == [1.0] * 5


def test_slice_profile_by_hand() -> None:
    anomaly = np.zeros((4, 5, 3), dtype=np.float32)
    anomaly[0, 0, 1], anomaly[1, 1, 1], anomaly[2, 2, 2] = 2.0, -4.0, 3.0
    brain = np.zeros(anomaly.shape, dtype=bool)
    brain[:2, :, 1:] = True
    profile = slice_profile(anomaly, brain, np.array([-1.0, 0.0, 1.0]))
    assert profile.mean_anomaly.tolist() == pytest.approx([0.0, 0.6, 0.3])
    assert profile.normality.tolist() == pytest.approx([1.0, 0.0, 0.5])
    assert profile.brain_fraction.tolist() == pytest.approx([0.0, 0.5, 0.5])
    assert set(profile.to_json()) == {
        "position_mm",
        "normality",
        "mean_anomaly",
        "absolute_normality",
        "brain_fraction",
    }
    assert profile.to_json()["absolute_normality"] == [None] * 3


def test_absolute_normality_is_a_rank_among_healthy_scans() -> None:
    healthy = np.array([[0.1, 0.1], [0.2, 0.1], [0.3, 0.1], [0.4, 0.1]], dtype=np.float32)
    assert absolute_normality(np.array([0.25, 9.0]), healthy).tolist() == pytest.approx([0.6, 0.2])


def test_findings_look_brighter_or_darker_than_expected():
    anomaly, residual = (np.zeros((20, 20, 20), dtype=np.float32) for _ in range(2))
    anomaly[2:6, 2:6, 2:6], anomaly[10:14, 10:14, 10:13], anomaly[16:19, 2:5, 2:5] = 5.0, 5.0, 5.0
    residual[2:6, 2:6, 2:6], residual[2, 2:6, 2:6], residual[10:14, 10:14, 10:13] = 3.0, -1.0, -2.0
    grid = grid_of((20, 20, 20), (2.0, 2.0, 2.0))
    assert [one.looks for one in find(anomaly, grid, np.eye(4), 1.0, 0.0, residual).table] == ["brighter", "darker", ""]
    assert [one.looks for one in find(anomaly, grid, np.eye(4), 1.0, 0.0).table] == ["", "", ""]
