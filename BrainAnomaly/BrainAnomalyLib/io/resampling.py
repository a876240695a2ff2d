"""Values of a volume at the voxels of another grid.

Smoothing and linear interpolation between grids whose axes are parallel are one small matrix along each axis, which is
several times as fast as filtering whole volumes; the matrices hold what SimpleITK's filters do. Turned grids are
interpolated by SimpleITK.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from .geometry import LPS_FROM_RAS, Affine, Array, FloatArray, Grid, to_transform

if TYPE_CHECKING:
    pass

Interpolation = Literal["linear", "nearest", "bspline"]

_FWHM_TO_SIGMA = 1.0 / 2.3548200450309493
_PARALLEL_VOXELS = 1e-4


def resample(
    array: Array,
    grid: Grid,
    onto: Grid,
    world_map: Affine | None = None,
    interpolation: Interpolation = "linear",
    background: float = 0.0,
) -> Array:
    """Values of ``array`` (on ``grid``) at the voxels of ``onto``.

    ``world_map`` (4x4, RAS mm) takes a point of ``onto`` to the matching point of ``grid``; identity if None.
    Coarser targets are smoothed beforehand so that thin structures do not alias (not for ``nearest``).
    The result keeps the dtype of ``array``; booleans are resampled as nearest unless cast to float first.
    """
    world_map = np.eye(4) if world_map is None else world_map
    chosen: Interpolation = "nearest" if array.dtype == np.bool_ else interpolation
    index_map = np.linalg.inv(grid.affine) @ world_map @ onto.affine
    widths = np.zeros(3) if chosen == "nearest" else _smoothing(index_map, grid)
    if chosen == "linear" and array.dtype == np.float32 and (axes := _parallel_axes(index_map, onto)) is not None:
        return _along_axes(array, onto, index_map, axes, widths, background)
    smooth = _smoothed(array, widths) if widths.any() else array
    return _interpolated(smooth, grid, onto, world_map, chosen, background).astype(array.dtype, copy=False)


def smoothed(volume: FloatArray, width: float) -> FloatArray:
    """``volume`` (i, j, k) under a Gaussian of ``width`` voxels, as SciPy's filter with mirrored edges: a wide one is
    several times as fast as a matrix along each axis."""
    for axis, size in enumerate(volume.shape):
        volume = _times(_mirrored_gaussian(size, width), volume, axis)
    return volume


@lru_cache(maxsize=8)
def _mirrored_gaussian(size: int, width: float) -> FloatArray:
    """(size, size): what SciPy's Gaussian of ``width`` voxels does along an axis."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter1d(np.eye(size), width, axis=0), dtype=np.float32)


def _smoothing(index_map: Affine, grid: Grid) -> Array:
    """Gaussian width in voxels along each source axis that is finer than the target voxels seen along it, else 0."""
    steps = np.abs(index_map[:3, :3]).max(axis=1)
    coarser = (steps > 1.2) & (np.asarray(grid.shape) >= 4)
    return np.where(coarser, _FWHM_TO_SIGMA * np.sqrt(np.maximum(steps**2 - 1.0, 0.0)), 0.0)


# --- Along the axes, as matrices -------------------------------------------------------------------------------------


class _Along(NamedTuple):
    """Along one source axis: the target axis that runs with it, and voxel numbers ``start + step * target voxel``."""

    target: int
    step: float
    start: float


def _parallel_axes(index_map: Affine, onto: Grid) -> list[_Along] | None:
    """How the axes run where those of both grids are parallel, in whatever order and direction; None if turned."""
    moved = np.abs(index_map[:3, :3]) * np.asarray(onto.shape)
    targets = moved.argmax(axis=1)
    across = np.array(moved)
    across[np.arange(3), targets] = 0.0
    if len(set(targets)) < 3 or across.max() > _PARALLEL_VOXELS:
        return None
    return [_Along(int(target), index_map[axis, target], index_map[axis, 3]) for axis, target in enumerate(targets)]


def _along_axes(
    array: FloatArray, onto: Grid, index_map: Affine, axes: list[_Along], widths: Array, background: float
) -> FloatArray:
    counts = [onto.shape[along.target] for along in axes]
    values = array
    for axis in sorted(range(3), key=lambda axis: counts[axis] / array.shape[axis]):
        values = _times(_matrix(array.shape[axis], counts[axis], axes[axis], float(widths[axis])), values, axis)
    if background != 0.0:
        for axis, along in enumerate(axes):
            places = along.start + along.step * np.arange(counts[axis])
            outside = (places < -0.5) | (places >= array.shape[axis] - 0.5)
            np.moveaxis(values, axis, 0)[outside] = background
    order = np.argsort([along.target for along in axes])
    return np.ascontiguousarray(values.transpose(order))


def _matrix(size: int, count: int, along: _Along, width: float) -> FloatArray:
    """(count, size): linear interpolation, of smoothed values where ``width`` is not 0; rows of 0 outside."""
    places = along.start + along.step * np.arange(count)
    within = np.clip(places, 0.0, size - 1.0)
    low = np.minimum(np.floor(within), max(size - 2, 0)).astype(int)
    share = within - low
    inside = (places >= -0.5) & (places < size - 0.5)
    matrix = np.zeros((count, size))
    matrix[np.arange(count), low] += inside * (1.0 - share)
    matrix[np.arange(count), np.minimum(low + 1, size - 1)] += inside * share
    return np.asarray(matrix @ _gaussian(size, width) if width else matrix, dtype=np.float32)


@lru_cache(maxsize=32)
def _gaussian(size: int, width: float) -> Affine:
    """(size, size): what SimpleITK's recursive Gaussian of ``width`` voxels does along an axis."""
    import SimpleITK

    points = SimpleITK.GetImageFromArray(np.eye(size))
    smooth = SimpleITK.GetArrayFromImage(SimpleITK.RecursiveGaussian(points, width, direction=1))
    return np.asarray(smooth, dtype=np.float64)


def _smoothed(array: Array, widths: Array) -> FloatArray:
    values: FloatArray = array.astype(np.float32, copy=False)
    for axis, width in enumerate(widths):
        if width:
            values = _times(_gaussian(array.shape[axis], float(width)).astype(np.float32), values, axis)
    return values


def _times(matrix: FloatArray, values: FloatArray, axis: int) -> FloatArray:
    """``matrix`` (new, old) applied along one axis of ``values`` (i, j, k)."""
    i, j, k = values.shape
    if axis == 0:
        return (matrix @ values.reshape(i, j * k)).reshape(-1, j, k)
    return np.asarray(np.matmul(matrix, values) if axis == 1 else np.matmul(values, matrix.T))


# --- Anyhow, by SimpleITK --------------------------------------------------------------------------------------------


def _interpolated(
    array: Array, grid: Grid, onto: Grid, world_map: Affine, interpolation: Interpolation, background: float
) -> Array:
    import SimpleITK

    known = {"linear": SimpleITK.sitkLinear, "nearest": SimpleITK.sitkNearestNeighbor, "bspline": SimpleITK.sitkBSpline}
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.view(np.uint8) if array.dtype == bool else array))
    spacing, origin, direction = _stored_header(grid)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    spacing, origin, direction = _stored_header(onto)
    moved = SimpleITK.Resample(
        image,
        onto.shape[::-1],
        to_transform(world_map),
        known[interpolation],
        origin,
        spacing,
        direction,
        background,
        image.GetPixelID(),
    )
    return np.asarray(SimpleITK.GetArrayFromImage(moved))


def _stored_header(grid: Grid) -> tuple[list[float], list[float], list[float]]:
    """Spacing, origin and direction (LPS) of an image whose first axis is k: (i, j, k) in memory needs no turning."""
    affine = LPS_FROM_RAS @ grid.affine
    direction = (LPS_FROM_RAS[:3, :3] @ grid.direction)[:, ::-1]
    return list(grid.spacing[::-1]), affine[:3, 3].tolist(), direction.ravel().tolist()
