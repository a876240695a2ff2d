"""Rigid or affine registration of two scans of one head to each other: other contrasts, other dates, other grids.

Mattes mutual information of the masked brains (Mattes et al. 2003, doi:10.1109/TMI.2003.809072), from coarse to fine.
Both directions are registered and their mean is taken, so that the result does not depend on which scan is called the
first, and neither is the one that is interpolated (Reuter et al. 2010, doi:10.1016/j.neuroimage.2010.07.020).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ...devices import processor_count
from ...io.geometry import (
    LPS_FROM_RAS,
    Affine,
    FloatArray,
    Grid,
    MaskArray,
    apply_affine,
    from_transform,
    inverse,
    isotropic_grid,
    to_image,
    to_transform,
)
from ...io.resampling import resample

_LEVELS_MM = (4.0, 2.0)
_ITERATIONS, _BINS = 80, 32
# Lengths in units of a brain's radius, so that turns, shifts and stretches move the brain by like amounts per unit.
_LENGTH_UNIT_MM = 60.0
_UNITS_FROM_MM: Affine = np.diag([1.0 / _LENGTH_UNIT_MM] * 3 + [1.0])
_LAST_STEP_MM = 0.005
# The background and the air about the brain are a class of their own, as in the registration with the template.
_DARKEST_TISSUE, _REACH_MM = 0.3, 6.0


class BrainImage(NamedTuple):
    """A scan (i, j, k; any unit) with its brain mask on ``grid``."""

    image: FloatArray
    mask: MaskArray
    grid: Grid


class _Level(NamedTuple):
    values: FloatArray
    grid: Grid


def register_pair(first: BrainImage, second: BrainImage, starts: Sequence[Affine]) -> Affine:
    """The rigid 4x4 map from the first scan's RAS mm to the second's: the mean of both directions.

    ``starts`` are guesses of it; the one that climbs highest at the coarsest level goes on.
    """
    with ThreadPoolExecutor(min(2, processor_count())) as threads:
        there = threads.submit(_climbed, first, second, list(starts))
        back = threads.submit(_climbed, second, first, [inverse(start) for start in starts])
        return between(there.result(), inverse(back.result()))


def between(first: Affine, second: Affine) -> Affine:
    """The map halfway between two alike ones, by the matrix logarithm."""
    return np.asarray(first @ halfway(inverse(first) @ second))


def halfway(world_map: Affine) -> Affine:
    """The map that does half of what ``world_map`` (4x4, near the identity or a turn of less than 180 degrees) does."""
    from scipy.linalg import sqrtm

    return np.asarray(np.real(sqrtm(world_map)), dtype=np.float64)


def nearest_rigid(world_map: Affine, center: Sequence[float]) -> Affine:
    """The turn and shift nearest to an affine map, which moves ``center`` (RAS mm) as that does."""
    left, _, right = np.linalg.svd(world_map[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    middle = np.asarray(center, dtype=np.float64)
    rigid[:3, 3] = apply_affine(world_map, middle[None])[0] - rigid[:3, :3] @ middle
    return rigid


def _climbed(fixed: BrainImage, moving: BrainImage, starts: list[Affine]) -> Affine:
    center = fixed.grid.to_world(np.argwhere(fixed.mask)).mean(axis=0)
    found = starts
    for spacing in _LEVELS_MM:
        pair = _coded(fixed, spacing), _coded(moving, spacing)
        scored = [_optimized(*pair, start, center, spacing) for start in found]
        found = [max(scored, key=lambda entry: entry[1])[0]]
    return found[0]


def _coded(brain: BrainImage, spacing_mm: float) -> _Level:
    """Tissue between its 1st and 99th percentile over [_DARKEST_TISSUE, 1], background 0, on an isotropic grid."""
    from scipy import ndimage

    box = ndimage.find_objects(brain.mask.astype(np.uint8))[0]
    room = np.ceil(12.0 / np.asarray(brain.grid.spacing)).astype(int)
    cut = tuple(
        slice(max(0, side.start - int(more)), min(size, side.stop + int(more)))
        for side, more, size in zip(box, room, brain.mask.shape, strict=True)
    )
    image, mask, grid = brain.image[cut], brain.mask[cut], brain.grid.part(cut)
    low, high = np.percentile(image[mask], (1.0, 99.0))
    tissue = np.clip((image - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    coded = np.where(mask, _DARKEST_TISSUE + (1.0 - _DARKEST_TISSUE) * tissue, 0.0).astype(np.float32)
    onto = isotropic_grid(grid, spacing_mm)
    return _Level(np.asarray(resample(coded, grid, onto)), onto)


def _optimized(
    fixed: _Level, moving: _Level, start: Affine, center: FloatArray, spacing_mm: float
) -> tuple[Affine, float]:
    """The map that climbs from ``start`` to the next maximum of mutual information, and that."""
    import SimpleITK
    from scipy import ndimage

    correction = SimpleITK.VersorRigid3DTransform()
    correction.SetCenter((LPS_FROM_RAS[:3, :3] @ center / _LENGTH_UNIT_MM).tolist())
    near = ndimage.distance_transform_edt(fixed.values < _DARKEST_TISSUE / 2.0, sampling=spacing_mm) <= _REACH_MM
    units = Grid(fixed.grid.shape, _UNITS_FROM_MM @ fixed.grid.affine)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_BINS)
    step = spacing_mm / 2.0 / _LENGTH_UNIT_MM
    last = _LAST_STEP_MM / _LENGTH_UNIT_MM
    method.SetOptimizerAsRegularStepGradientDescent(step, last, _ITERATIONS, 0.6, 1e-8)
    method.SetOptimizerScales([1.0] * correction.GetNumberOfParameters())
    method.SetMetricFixedMask(to_image(near, units))
    begun = _UNITS_FROM_MM @ start @ inverse(_UNITS_FROM_MM)
    method.SetMovingInitialTransform(to_transform(begun))
    method.SetInitialTransform(correction, inPlace=True)
    moved = Grid(moving.grid.shape, _UNITS_FROM_MM @ moving.grid.affine)
    method.Execute(to_image(fixed.values, units), to_image(moving.values, moved))
    found = inverse(_UNITS_FROM_MM) @ begun @ from_transform(correction) @ _UNITS_FROM_MM
    return found, -float(method.GetMetricValue())
