"""Template registration and its quality verdict: known motions of the template brain, and one real head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from BrainAnomalyLib.errors import PreparationError
from BrainAnomalyLib.io.geometry import Grid, apply_affine, from_image, isotropic_grid
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.quality import registration_quality
from BrainAnomalyLib.preparation.space.registration import register, rotation_degrees
from BrainAnomalyLib.preparation.space.template import load_template

IXI = Path(__file__).resolve().parents[3] / "shared" / "data" / "ixi_t1_2mm"
CENTER = np.array([0.0, -17.0, 5.0])


def motion(rotation_vector_degrees=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0)):
    """4x4 map from the template to where the test scan's brain lies, turning about the brain's center."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_vector_degrees, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = CENTER + shift - matrix[:3, :3] @ CENTER
    return matrix


def scan_grid(spacing=(2.0, 2.0, 2.0), direction=None, extent_mm=230.0):
    """A grid around the brain's center whose axes point along the columns of ``direction``."""
    direction = np.eye(3) if direction is None else direction
    shape = tuple(int(extent_mm / size) for size in spacing)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(spacing)
    affine[:3, 3] = CENTER - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2.0)
    return Grid(shape, affine)


def moved_brain(scan_from_template, grid=None):
    """The template brain where ``scan_from_template`` takes it, as a scan with mask and grid."""
    template, grid = load_template(), grid or scan_grid()
    template_from_scan = np.linalg.inv(scan_from_template)
    brain = resample(template.brain, template.grid, grid, template_from_scan)
    mask = resample(template.brain_mask.astype(np.float32), template.grid, grid, template_from_scan) > 0.5
    return brain, grid, mask


def displacement(first, second):
    """Mean distance in mm between two maps over the template brain."""
    template = load_template()
    points = template.grid.to_world(np.argwhere(template.brain_mask)[::11])
    return np.linalg.norm(apply_affine(first, points) - apply_affine(second, points), axis=1).mean()


SMALL_MOTION = motion((8.0, -5.0, 4.0), (1.06, 0.95, 0.92), (6.0, -9.0, 12.0))
OBLIQUE = Rotation.from_euler("xyz", (20.0, -10.0, 15.0), degrees=True).as_matrix()


def test_known_affine_comes_back_from_thick_oblique_slices():
    found = register(*moved_brain(SMALL_MOTION, scan_grid((1.0, 7.0, 1.0), OBLIQUE)))
    assert displacement(found.scan_from_template, SMALL_MOTION) < 1.0
    assert not found.header_suspect


def test_inverted_contrast_comes_back():
    brain, grid, mask = moved_brain(SMALL_MOTION)
    found = register(np.where(mask, 1.0 - brain, 0.0).astype(np.float32), grid, mask)
    assert displacement(found.scan_from_template, SMALL_MOTION) < 1.0


@pytest.mark.parametrize("model", ["rigid", "similarity"])
def test_stiffer_models_keep_their_shape(model):
    scale = 1.0 if model == "rigid" else 0.93
    truth = motion((0.0, 12.0, -6.0), (scale,) * 3, (5.0, 5.0, -8.0))
    found = register(*moved_brain(truth), model=model)
    assert displacement(found.scan_from_template, truth) < 1.0
    assert np.ptp(np.linalg.svd(found.scan_from_template[:3, :3])[1]) < 1e-6


def test_thirty_degree_tilt():
    truth = motion((30.0, 0.0, 0.0))
    found = register(*moved_brain(truth))
    assert displacement(found.scan_from_template, truth) < 1.0
    assert found.rotation_degrees == pytest.approx(30.0, abs=1.0)
    assert not found.header_suspect


def test_half_turn_of_the_header_is_suspect():
    truth = motion((180.0, 0.0, 0.0))
    found = register(*moved_brain(truth))
    assert displacement(found.scan_from_template, truth) < 1.0
    assert found.header_suspect


def test_axis_stored_backwards_is_suspect():
    brain, grid, mask = moved_brain(np.eye(4))
    found = register(brain[:, ::-1], grid, mask[:, ::-1])
    assert found.header_suspect
    assert np.linalg.det(found.scan_from_template[:3, :3]) > 0


def test_field_of_view_cut_at_the_top():
    brain, grid, mask = moved_brain(SMALL_MOTION)
    cut = Grid((*grid.shape[:2], 70), grid.affine)
    found = register(brain[:, :, :70], cut, mask[:, :, :70])
    assert np.count_nonzero(mask[:, :, 70:]) > 0.3 * np.count_nonzero(mask)
    assert displacement(found.scan_from_template, SMALL_MOTION) < 2.0


def test_same_scan_gives_the_same_map():
    scan = moved_brain(SMALL_MOTION)
    found = register(*scan).scan_from_template
    assert displacement(found, SMALL_MOTION) < 1.0
    assert np.array_equal(found, register(*scan).scan_from_template)


def test_large_lesion_does_not_move_the_brain():
    brain, grid, mask = moved_brain(SMALL_MOTION)
    lesion = np.linalg.norm(grid.to_world(np.argwhere(mask)) - np.add(CENTER, (35.0, 0.0, 30.0)), axis=1) < 25.0
    brain[tuple(np.argwhere(mask)[lesion].T)] = 3.0
    assert displacement(register(brain, grid, mask).scan_from_template, SMALL_MOTION) < 1.0


@pytest.mark.parametrize("radius_mm", [0.0, 25.0])
def test_too_small_a_mask_is_refused(radius_mm):
    brain, grid, _ = moved_brain(np.eye(4))
    distance = np.linalg.norm(grid.to_world(np.argwhere(np.ones(grid.shape))) - CENTER, axis=1)
    with pytest.raises(PreparationError, match="mL") as caught:
        register(brain, grid, (distance < radius_mm).reshape(grid.shape))
    assert caught.value.remedy


def test_rotation_angle_ignores_scale_and_shift():
    assert rotation_degrees(motion((0.0, 40.0, 0.0), (1.2, 1.2, 1.2), (5.0, 6.0, 7.0))) == pytest.approx(40.0)


def prepared(world_map):
    """Template brain as a badly registered scan: image, mask and field of view on the template grid."""
    template = load_template()
    image = resample(template.brain, template.grid, template.grid, world_map)
    mask = resample(template.brain_mask.astype(np.float32), template.grid, template.grid, world_map) > 0.5
    return image, mask


@pytest.mark.parametrize(
    "wrong",
    [
        motion(shift=(0.0, 15.0, 0.0)),
        motion((15.0, 0.0, 0.0)),
        motion((30.0, 0.0, 0.0)),
        motion((0.0, 90.0, 0.0)),
        motion((0.0, 180.0, 0.0)),
    ],
)
def test_wrong_place_is_failed(wrong):
    quality = registration_quality(*prepared(wrong), load_template(), None)
    assert quality.verdict == "failed"
    assert quality.reason.endswith(".")


def test_right_place_is_good_in_any_contrast():
    template = load_template()
    image, mask = prepared(np.eye(4))
    for contrast in (image, np.where(mask, 1.0 - image, 0.0).astype(np.float32)):
        quality = registration_quality(contrast, mask, template, None)
        assert (quality.verdict, quality.reason) == ("good", "")
        assert quality.score > 0.9


def test_quality_counts_only_the_field_of_view():
    template = load_template()
    image, mask = prepared(np.eye(4))
    seen = np.zeros(mask.shape, dtype=bool)
    seen[:, :, 30:65] = True
    quality = registration_quality(image * seen, mask & seen, template, seen)
    assert quality.mask_overlap > 0.95
    assert quality.verdict == "good"


def test_flat_image_is_not_good():
    template = load_template()
    quality = registration_quality(template.brain_mask.astype(np.float32), template.brain_mask, template, None)
    assert quality.verdict != "good"
    assert quality.tissue_agreement == 0.0


@pytest.mark.skipif(not IXI.is_dir(), reason="the shared IXI heads are not on this machine")
def test_real_head_and_its_tilted_copy_agree():
    import SimpleITK

    folder = min(path for path in IXI.iterdir() if path.is_dir())
    image, grid = from_image(SimpleITK.ReadImage(str(folder / f"{folder.name}_T1.nii.gz")))
    labels, _ = from_image(SimpleITK.ReadImage(str(folder / f"{folder.name}_DLMUSE.nii.gz")))
    mask = np.asarray(ndimage.binary_fill_holes(labels > 0))
    upright = register(image.astype(np.float32), grid, mask)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_rotvec((0.0, 25.0, 0.0), degrees=True).as_matrix()
    tilt[:3, 3] = grid.center - tilt[:3, :3] @ grid.center
    onto = isotropic_grid(grid, 2.0)
    leaning_mask = resample(mask.astype(np.float32), grid, onto, tilt) > 0.5
    leaning = register(resample(image.astype(np.float32), grid, onto, tilt), onto, leaning_mask)
    assert displacement(upright.scan_from_template, tilt @ leaning.scan_from_template) < 3.0

    template = load_template()
    moved_mask = resample(mask.astype(np.float32), grid, template.grid, upright.scan_from_template) > 0.5
    moved = resample(image.astype(np.float32), grid, template.grid, upright.scan_from_template)
    assert registration_quality(moved, moved_mask, template, None).verdict == "good"
