"""Resampling gives what SimpleITK's own filters give, whichever way it is computed."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.io.geometry import Grid, from_image, isotropic_grid, to_image, to_transform
from BrainAnomalyLib.io.resampling import resample
from synthetic import grid_of, noise

TURN = np.array([[0.9, -0.1, 0.05, 2.037], [0.12, 1.1, 0.0, -3.0], [0.0, 0.08, 0.97, 1.0], [0, 0, 0, 1.0]])
SHIFTED = np.array([[1.1, 0, 0, 2.3], [0, 0.9, 0, -4.1], [0, 0, 1.0, 0.7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "IAL"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.7, 3.1, 1.3)])
@pytest.mark.parametrize("world_map", [np.eye(4), SHIFTED, TURN], ids=["identity", "parallel", "turned"])
@pytest.mark.parametrize("background", [0.0, -7.0])
def test_linear_is_simpleitk(codes, spacing, world_map, background) -> None:
    grid, array = grid_of((19, 24, 21), (1.2, 1.0, 0.9), codes), noise((19, 24, 21))
    onto = isotropic_grid(grid_of((22, 26, 24), (1.0, 1.1, 0.8), "RAS"), 1.0)
    affine = onto.affine.copy()
    affine[:3, :3] = affine[:3, :3] @ np.diag(spacing)
    onto = Grid((17, 15, 16), affine)
    expected = by_simpleitk(array, grid, onto, world_map, background)
    found = resample(array, grid, onto, world_map, background=background)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.allclose(found, expected, atol=1e-3)
    assert (found == background).any() == (expected == background).any()


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
def test_other_types_keep_their_type(dtype, interpolation) -> None:
    grid = grid_of((12, 13, 14), (1.0, 1.2, 0.8), "LAS", degrees=9.0)
    array = (100 * noise(grid.shape)).clip(0).astype(dtype)
    found = resample(array, grid, grid, interpolation=interpolation)
    assert found.dtype == dtype
    assert np.allclose(found, array, atol=1.0)


def test_a_slab_of_one_slice() -> None:
    grid = grid_of((20, 18, 1), (1.0, 1.0, 6.0), "LPS")
    array, onto = noise(grid.shape), isotropic_grid(grid, 2.0)
    assert np.allclose(resample(array, grid, onto), by_simpleitk(array, grid, onto, np.eye(4), 0.0), atol=1e-3)


def by_simpleitk(array, grid, onto, world_map, background):
    image = to_image(array, grid)
    steps = np.abs(np.linalg.inv(grid.affine[:3, :3]) @ world_map[:3, :3] @ onto.affine[:3, :3]).max(axis=1)
    for axis, step in enumerate(steps):
        if step > 1.2 and grid.shape[axis] >= 4:
            sigma = np.sqrt(step**2 - 1.0) / 2.3548200450309493 * grid.spacing[axis]
            image = SimpleITK.RecursiveGaussian(image, float(sigma), direction=axis)
    header = to_image(np.zeros(onto.shape, dtype=np.uint8), onto)
    args = (to_transform(world_map), SimpleITK.sitkLinear, background, SimpleITK.sitkFloat32)
    return from_image(SimpleITK.Resample(image, header, *args))[0]
