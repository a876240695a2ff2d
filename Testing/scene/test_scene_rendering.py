"""What a slice view draws: heat colors and outline where the finding is, plain gray anatomy elsewhere."""

import numpy as np
import pytest
from scene_cases import add_volume, detection_of
from slice_rendering import SliceViews

from BrainAnomalyLib.slicer.scene.nodes.color_table import legend_of

LESION, FAR = (24.0, -12.0, 10.0), (-24.0, 20.0, 10.0)
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


@pytest.fixture
def shown(scene, logic):
    """A smooth volume with a round anomaly at LESION, seen by offscreen slice views."""
    views = SliceViews(scene, size=(240, 240))
    shape, affine = (80, 90, 60), np.diag([-1.5, 1.5, 2.0, 1.0])
    affine[:3, 3] = (60.0, -66.0, -50.0)
    ras = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(ras - LESION, axis=-1)
    node = add_volume(scene, affine=affine, array=100.0 + 40.0 * np.cos(ras[..., 1] / 20.0))
    detection = detection_of(node, anomaly=np.clip(5.2 - 2.2 * distance / 12.0, 0.0, None).astype(np.float32))
    nodes = logic.apply(detection, node)
    legend_of(nodes.anomaly_map).SetVisibility(False)
    logic.showInSliceViews(node)
    return views, node, nodes


def patch(views, orientation, ras, center=LESION, radius=4):
    """Saturation (highest minus lowest channel) of the pixels around a RAS point."""
    picture = views.picture(orientation, center, field_of_view_mm=150.0).astype(int)
    row, column = views.pixel_of(orientation, ras)
    pixels = picture[row - radius : row + radius + 1, column - radius : column + radius + 1]
    assert pixels.size
    return pixels, pixels.max(axis=-1) - pixels.min(axis=-1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_finding_is_drawn_in_heat_colors(shown, orientation):
    pixels, saturation = patch(shown[0], orientation, LESION)
    assert saturation.min() > 60
    assert np.all(pixels[..., 0] >= pixels[..., 1])
    assert np.all(pixels[..., 1] >= pixels[..., 2])


def test_healthy_side_is_gray(shown):
    pixels, saturation = patch(shown[0], "Axial", FAR)
    assert saturation.max() == 0
    assert pixels.mean() > 10


def test_outline_is_drawn_around_the_finding(shown):
    picture = shown[0].picture("Axial", LESION, field_of_view_mm=150.0).astype(int)
    cyan = (picture[..., 2] > picture[..., 0] + 60) & (picture[..., 1] > picture[..., 0] + 60)
    rows, columns = np.nonzero(cyan)
    center = np.array(shown[0].pixel_of("Axial", LESION))
    # The map is above 3 within 12 mm; 240 pixels show 150 mm.
    radii = np.hypot(rows - center[0], columns - center[1]) * 150.0 / 240.0
    assert len(rows) > 40
    assert 9.0 < radii.min() <= radii.max() < 15.0


def test_moved_threshold_shrinks_what_is_colored(shown, logic):
    views, node, _ = shown
    edge = (LESION[0] - 9.0, LESION[1], LESION[2])
    assert patch(views, "Axial", edge, radius=1)[1].min() > 60
    logic.setThreshold(node, 4.5)
    assert patch(views, "Axial", edge, radius=1)[1].max() == 0
    assert patch(views, "Axial", LESION, radius=1)[1].min() > 60


def test_legend_is_drawn(shown):
    views, _, nodes = shown
    without = views.picture("Axial", FAR, field_of_view_mm=150.0).astype(int)
    legend_of(nodes.anomaly_map).SetVisibility(True)
    changed = np.abs(views.picture("Axial", FAR, field_of_view_mm=150.0) - without).max(axis=-1) > 30
    right = changed[:, 120:].sum()
    assert right > 100
    assert changed[:, :40].sum() < right
