"""Grids, orientations and resampling, against nibabel, SimpleITK and hand-made numbers."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.io import geometry
from BrainAnomalyLib.io.geometry import Grid, from_image, isotropic_grid, regular_grid, to_image
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.orientation import to_ras
from synthetic import all_orientations, grid_of, noise, oblique


@pytest.mark.parametrize("codes", all_orientations())
def test_axis_codes_and_reorientation_of_all_48(codes: str) -> None:
    grid = grid_of((5, 6, 7), (0.5, 1.0, 2.0), codes, degrees=12.0)
    array = noise(grid.shape)
    assert grid.axis_codes == codes == "".join(nibabel.aff2axcodes(grid.affine))
    turned, ras = to_ras(array, grid)
    assert ras.axis_codes == "RAS"
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, grid.affine))
    assert np.array_equal(turned, expected.get_fdata(dtype=np.float32))
    assert np.allclose(ras.affine, expected.affine)


def test_spacing_volume_and_direction_of_an_oblique_grid() -> None:
    grid = grid_of((4, 5, 6), (0.45, 0.45, 7.0), "LAS", degrees=25.0)
    assert grid.spacing == pytest.approx((0.45, 0.45, 7.0))
    assert grid.voxel_volume_mm3 == pytest.approx(0.45 * 0.45 * 7.0)
    assert np.allclose(grid.direction.T @ grid.direction, np.eye(3))
    assert np.allclose(grid.center, (3.0, -14.0, 8.0))


def test_world_and_index_are_inverse() -> None:
    grid = grid_of((4, 5, 6), (0.5, 0.5, 3.0), "PSR", degrees=33.0)
    indices = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 5.0], [1.5, 2.25, 0.5]])
    assert np.allclose(grid.to_index(grid.to_world(indices)), indices)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_simpleitk_puts_every_voxel_where_the_grid_does(codes: str) -> None:
    grid = grid_of((5, 6, 7), (0.45, 0.9, 3.0), codes, degrees=20.0)
    array = noise(grid.shape)
    image = to_image(array, grid)
    for index in ((0, 0, 0), (4, 5, 6), (1, 2, 3)):
        lps = np.asarray(image.TransformIndexToPhysicalPoint(index))
        assert np.allclose(lps * (-1, -1, 1), grid.to_world(np.array([index]))[0])
        assert image.GetPixel(*index) == pytest.approx(float(array[index]))
    back, same = from_image(image)
    assert np.array_equal(back, array)
    assert np.allclose(same.affine, grid.affine, atol=1e-9)


def test_same_as_tells_shifts_and_turns() -> None:
    grid = grid_of((40, 50, 60))
    shifted = grid.affine.copy()
    shifted[0, 3] += 0.02
    assert grid.same_as(Grid(grid.shape, grid.affine + 1e-6))
    assert not grid.same_as(Grid(grid.shape, shifted))
    assert grid.same_as(Grid(grid.shape, shifted), tolerance_mm=0.5)
    assert not grid.same_as(grid_of((40, 50, 60), degrees=2.0), tolerance_mm=0.5)
    assert not grid.same_as(grid_of((40, 50, 61)))


def test_resampling_onto_itself_changes_nothing() -> None:
    grid = grid_of((9, 10, 11), (0.45, 0.45, 7.0), "LAS", degrees=15.0)
    array = noise(grid.shape)
    assert np.allclose(resample(array, grid, grid), array, rtol=1e-5)


def test_resampling_across_orientations_is_exact() -> None:
    source, onto = grid_of((9, 10, 11), codes="RAS"), grid_of((11, 9, 10), codes="ILP")
    array = noise(source.shape)
    assert np.allclose(resample(array, source, onto), array[::-1, ::-1, ::-1].transpose(2, 0, 1), rtol=1e-5)


def test_linear_ramp_survives_an_oblique_resampling() -> None:
    source, onto = grid_of((40, 40, 40)), grid_of((12, 12, 12), degrees=30.0)
    points = source.to_world(np.argwhere(np.ones(source.shape)))
    ramp = (points @ [1.0, 2.0, -3.0]).reshape(source.shape).astype(np.float32)
    expected = (onto.to_world(np.argwhere(np.ones(onto.shape))) @ [1.0, 2.0, -3.0]).reshape(onto.shape)
    assert np.abs(resample(ramp, source, onto) - expected).max() < 1e-3


def test_world_map_takes_target_points_to_source_points() -> None:
    grid = grid_of((9, 9, 9))
    array = np.zeros(grid.shape, dtype=np.float32)
    array[6, 4, 4] = 1.0
    shift = np.eye(4)
    shift[0, 3] = 2.0
    assert np.unravel_index(np.argmax(resample(array, grid, grid, shift)), grid.shape) == (4, 4, 4)


def test_masks_stay_masks() -> None:
    grid = grid_of((9, 9, 9))
    mask = noise(grid.shape) > 500.0
    moved = resample(mask, grid, grid)
    assert moved.dtype == np.bool_
    assert np.array_equal(moved, mask)


def test_coarser_grids_keep_the_mean() -> None:
    grid = grid_of((40, 40, 40))
    array = noise(grid.shape)
    coarse = resample(array, grid, isotropic_grid(grid, 4.0))
    assert coarse[2:-2, 2:-2, 2:-2].std() < 0.25 * array.std()
    assert coarse.mean() == pytest.approx(array.mean(), rel=0.05)


def test_isotropic_grid_covers_the_same_field() -> None:
    grid = grid_of((200, 220, 24), (0.45, 0.45, 7.0), "LAS", degrees=10.0)
    coarse = isotropic_grid(grid, 2.0)
    assert coarse.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert np.allclose(coarse.center, grid.center)
    assert np.allclose(np.array(coarse.shape) * 2.0, np.array(grid.shape) * grid.spacing, atol=1.0)


def test_regular_grid_is_ras_and_centered() -> None:
    grid = regular_grid((4, 5, 6), 2.0, (1.0, 2.0, 3.0))
    assert grid.axis_codes == "RAS"
    assert np.allclose(grid.center, (1.0, 2.0, 3.0))


def test_transforms_go_to_simpleitk_and_back() -> None:
    matrix = oblique(17.0)
    matrix[:3, 3] = (4.0, -5.0, 6.0)
    transform = geometry.to_transform(matrix)
    assert np.allclose(geometry.from_transform(transform), matrix)
    lps = np.asarray(transform.TransformPoint((1.0, 2.0, 3.0)))
    assert np.allclose(lps * (-1, -1, 1), geometry.apply_affine(matrix, np.array([[-1.0, -2.0, 3.0]]))[0])


def test_transforms_with_a_center_are_understood() -> None:
    euler = SimpleITK.Euler3DTransform((5.0, 6.0, 7.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0))
    point = np.array([[10.0, -20.0, 30.0]])
    expected = np.asarray(euler.TransformPoint((-10.0, 20.0, 30.0))) * (-1, -1, 1)
    assert np.allclose(geometry.apply_affine(geometry.from_transform(euler), point)[0], expected)
