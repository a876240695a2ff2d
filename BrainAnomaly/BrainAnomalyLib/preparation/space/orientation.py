"""Bringing a scan's axes into RAS order without touching a value."""

from __future__ import annotations

import numpy as np

from ...io.geometry import Array, Grid, nearest_anatomical_axes


def to_ras(array: Array, grid: Grid) -> tuple[Array, Grid]:
    """The same voxels with axes permuted and flipped to run closest to right, anterior, superior."""
    axes = nearest_anatomical_axes(grid.affine)
    order = [axes.index(world) for world in range(3)]
    affine = grid.affine[:, [*order, 3]].copy()
    array = array.transpose(order)
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
            array = np.flip(array, axis)
    array = np.ascontiguousarray(array)
    return array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine)
