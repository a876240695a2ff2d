"""The whole way with the real engine: template brain with a bright spot, in a turned volume node, to findings."""

import numpy as np
import pytest
import slicer
from scene_cases import add_volume, column

from BrainAnomalyLib.detection import DetectionOptions
from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import voxels
from segment_mask import segment_mask

LESION_RAS = np.array([26.0, -18.0, 26.0])


@pytest.fixture(scope="module")
def detected():
    """One run of the histogram detector on a 3 mm, LPS, slightly turned scan."""
    scene = slicer.vtkMRMLScene()
    template = load_template("template_2mm")
    grid = _scan_grid(template.grid)
    image = resample(100.0 * template.brain, template.grid, grid)
    ras = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, 3))
    lesion = (np.linalg.norm(ras - LESION_RAS, axis=1) < 15.0).reshape(grid.shape)
    node = add_volume(scene, affine=grid.affine, array=np.where(lesion, 160.0, image))
    logic, stages = BrainAnomalySceneLogic(), []
    options = DetectionOptions(threshold=0.992, brain_mask=image > 5.0)
    nodes = logic.detect(node, "histogram", options, lambda stage, fraction: stages.append(fraction))
    yield logic, node, nodes, lesion, stages
    scene.Clear(1)


def _scan_grid(template: Grid) -> Grid:
    angle = np.radians(8.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-3.0, -3.0, 3.0])
    shape = (66, 78, 64)
    affine[:3, 3] = template.center - affine[:3, :3] @ ((np.array(shape) - 1.0) / 2.0)
    return Grid(shape, affine)


def test_segment_covers_the_bright_spot(detected):
    _, _, nodes, lesion, _ = detected
    found = segment_mask(nodes.segmentation, lesion.shape)
    assert (found & lesion).sum() / lesion.sum() > 0.8


def test_largest_finding_lies_at_the_spot(detected):
    nodes = detected[2]
    centroid = [column(nodes.findings_table, f"centroid_{axis}")[0] for axis in "ras"]
    np.testing.assert_allclose(centroid, LESION_RAS, atol=3.0)
    assert column(nodes.findings_table, "side")[0] == "right"


def test_direct_score_leaves_no_pseudo_healthy_volume(detected):
    nodes = detected[2]
    assert (nodes.pseudo_healthy, nodes.residual, nodes.uncertainty) == (None, None, None)


def test_fraction_map_is_shown_up_to_one(detected):
    display = detected[2].anomaly_map.GetScalarVolumeDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0.0, 1.0))
    assert voxels(detected[2].anomaly_map).max() == pytest.approx(1.0, abs=0.01)


def test_profile_spans_the_template(detected):
    positions = column(detected[2].profile_table, "template_z")
    assert positions[0] < -50.0
    assert positions[-1] > 70.0


def test_progress_reaches_the_end(detected):
    stages = detected[4]
    assert stages == sorted(stages)
    assert stages[-1] == 1.0


def test_stricter_threshold_finds_less(detected):
    logic, node, nodes, lesion, _ = detected
    before = segment_mask(nodes.segmentation, lesion.shape).sum()
    findings = logic.setThreshold(node, 0.998)
    assert 0 < (findings.labels > 0).sum() < before
