"""Linear registration of a skull-stripped brain of any MR contrast to the ICBM152 template.

The orientation is searched over the whole rotation group at 8 mm, so that neither a strong tilt nor a wrong header
decides the result. The best starts are then refined from coarse to fine with SimpleITK: Mattes mutual information
(Mattes et al. 2003, doi:10.1109/TMI.2003.809072) of the masked brain and the template, the background being a class
of its own. Every voxel is used, on one thread: the same scan always gives the same map.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ...devices import processor_count
from ...errors import PreparationError
from ...io.geometry import (
    LPS_FROM_RAS,
    Affine,
    Array,
    FloatArray,
    Grid,
    MaskArray,
    apply_affine,
    from_transform,
    isotropic_grid,
    to_image,
    to_transform,
)
from ...io.resampling import resample
from .template import load_template

if TYPE_CHECKING:
    import SimpleITK

RegistrationModel = Literal["rigid", "similarity", "affine"]

SUSPECT_ROTATION_DEGREES = 60.0
SMALLEST_BRAIN_ML = 200.0
PLAUSIBLE_VOLUME_RATIO = (0.45, 2.0)
PLAUSIBLE_STRETCH = (0.6, 1.5)

_FINEST_MM = 3.0
_SEARCH_MM = 8.0
_SEARCH_BINS = 12
_DARKEST_TISSUE = 0.3
_HISTOGRAM_BINS = 24
# Starts that reach less than this part of the best mutual information are not refined further.
_PROMISING = 0.8
# An orientation far from the header's must reach this much more mutual information: 1 / _SUSPECT_WEIGHT.
_SUSPECT_WEIGHT = 0.87
_USUAL_SCALE = 0.95
_CUT_SHIFTS_MM = (20.0, 40.0)
_LAST_STEP_MM = 0.01
# The optimizer sees lengths in units of about a brain's radius. Rotation, scale and shift then move the brain by
# like amounts per unit, which its one step length needs.
_LENGTH_UNIT_MM = 60.0
_UNITS_FROM_MM: Affine = np.diag([1.0 / _LENGTH_UNIT_MM] * 3 + [1.0])
_REMEDY = "Check the brain mask, or register the scan by hand and prepare it again."


@dataclass(frozen=True, eq=False)
class Registration:
    """How a scan lies in template space.

    ``scan_from_template`` (4x4) maps template RAS mm to scan RAS mm, as ``resample`` expects it.
    ``rotation_degrees`` is the angle between the orientation the scan header claims and the template.
    ``header_suspect``: that angle is so large that the header is probably wrong; left and right cannot be trusted.
    """

    scan_from_template: Affine
    model: RegistrationModel
    rotation_degrees: float
    header_suspect: bool


class _Volume(NamedTuple):
    """A brain with its tissue in [_DARKEST_TISSUE, 1] and its background 0, on an isotropic grid."""

    values: FloatArray
    grid: Grid


class _Level(NamedTuple):
    """One step of the refinement: voxel size, how many starts enter, and the transform's freedom."""

    spacing_mm: float
    starts: int
    model: RegistrationModel
    iterations: int


class _Placement(NamedTuple):
    """Assumed center of the whole brain (scan RAS mm) and its size relative to the template."""

    center: Array
    scale: float


class _Candidate(NamedTuple):
    """A map from template to scan and its mutual information weighted by ``_expected`` (larger is better)."""

    scan_from_template: Affine
    score: float


def register(image: FloatArray, grid: Grid, brain_mask: MaskArray, model: RegistrationModel = "affine") -> Registration:
    """The linear map that brings the ICBM152 template onto a scan.

    ``image`` (i, j, k) is the scan in any contrast and unit, ``brain_mask`` its brain on the same ``grid``. Raises
    PreparationError when the mask holds too little brain or no plausible map is found.
    """
    _require_brain(brain_mask, grid)
    scan = _coded_brain(*_thinned(image, brain_mask, grid))
    candidates = _search(scan, model)
    for level in _schedule(model):
        candidates = _refined(candidates[: level.starts], scan, level)
    return _checked(candidates[0].scan_from_template, model)


def rotation_degrees(world_map: Affine) -> float:
    """Angle of the rotation nearest to the linear part of a 4x4 map with positive determinant."""
    left, _, right = np.linalg.svd(world_map[:3, :3])
    return float(np.degrees(Rotation.from_matrix(left @ right).magnitude()))


def _require_brain(brain_mask: MaskArray, grid: Grid) -> None:
    volume_ml = grid.volume_ml(brain_mask)
    if volume_ml < SMALLEST_BRAIN_ML:
        raise PreparationError(
            f"The brain mask holds only {volume_ml:.0f} mL, too little to find the brain's position.",
            "Check the mask, or choose a scan that covers most of the brain.",
        )


def _checked(scan_from_template: Affine, model: RegistrationModel) -> Registration:
    ratio = float(np.linalg.det(scan_from_template[:3, :3]))
    stretch = np.linalg.svd(scan_from_template[:3, :3], compute_uv=False)
    if not PLAUSIBLE_VOLUME_RATIO[0] <= ratio <= PLAUSIBLE_VOLUME_RATIO[1]:
        raise PreparationError(f"The brain came out {ratio:.2f} times as large as the template's.", _REMEDY)
    if not PLAUSIBLE_STRETCH[0] <= stretch.min() <= stretch.max() <= PLAUSIBLE_STRETCH[1]:
        raise PreparationError("The brain came out stretched beyond what brains differ by.", _REMEDY)
    angle = rotation_degrees(scan_from_template)
    return Registration(scan_from_template, model, angle, angle > SUSPECT_ROTATION_DEGREES)


# --- The volumes that are compared ---------------------------------------------------------------------------------


def _thinned(image: Array, brain_mask: MaskArray, grid: Grid) -> tuple[FloatArray, FloatArray, Grid]:
    """Scan and mask cut to the brain with a margin and averaged over blocks of at most 2 mm."""
    margin = np.ceil(30.0 / np.asarray(grid.spacing)).astype(int)
    box = ndimage.find_objects(brain_mask.astype(np.uint8))[0]
    steps = np.maximum(1, np.floor(2.05 / np.asarray(grid.spacing))).astype(int)
    start = np.maximum(0, [side.start for side in box] - margin)
    stop = np.minimum(grid.shape, [side.stop for side in box] + margin)
    counts = (stop - start) // steps
    stop = start + counts * steps
    cut = tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * steps
    affine[:3, 3] = apply_affine(grid.affine, (start + (steps - 1) / 2.0)[None])[0]
    thin = Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)
    return _block_means(image[cut], steps), _block_means(brain_mask[cut], steps), thin


def _block_means(array: Array, steps: Array) -> FloatArray:
    for axis, step in enumerate(steps):
        if step > 1:
            shape = [*array.shape[:axis], array.shape[axis] // step, step, *array.shape[axis + 1 :]]
            array = array.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return np.nan_to_num(np.asarray(array, dtype=np.float32), posinf=0.0, neginf=0.0)


def _coded_brain(image: FloatArray, coverage: FloatArray, grid: Grid) -> _Volume:
    """Tissue between its 1st and 99th percentile spread over [_DARKEST_TISSUE, 1], background 0."""
    inside = image[coverage > 0.5]
    low, high = np.percentile(inside, (1.0, 99.0))
    tissue = np.clip((image - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    coded = (_DARKEST_TISSUE + (1.0 - _DARKEST_TISSUE) * tissue) * coverage
    return _Volume(coded.astype(np.float32), grid)


def _at_spacing(volume: _Volume, spacing_mm: float) -> _Volume:
    onto = isotropic_grid(volume.grid, spacing_mm)
    return _Volume(np.asarray(resample(volume.values, volume.grid, onto)), onto)


@lru_cache(maxsize=8)
def _template_at(spacing_mm: float) -> tuple[_Volume, MaskArray]:
    """The coded template and the voxels to compare: the brain and 8 mm around it."""
    template = load_template()
    full = _coded_brain(template.brain, template.brain_mask.astype(np.float32), template.grid)
    coarse = _at_spacing(full, spacing_mm)
    near = ndimage.distance_transform_edt(coarse.values < _DARKEST_TISSUE / 2.0, sampling=spacing_mm) <= 8.0
    return coarse, np.asarray(near)


@lru_cache(maxsize=1)
def _template_extent() -> tuple[Array, float]:
    """Center of the template brain (RAS mm) and its volume in cubic millimetres."""
    template = load_template()
    voxels = np.argwhere(template.brain_mask)
    return template.grid.to_world(voxels).mean(axis=0), len(voxels) * template.grid.voxel_volume_mm3


# --- Coarse search over all orientations ---------------------------------------------------------------------------


def _search(scan: _Volume, model: RegistrationModel) -> list[_Candidate]:
    """All orientations scored at 8 mm with centers and volumes matched: the best distinct ones, best first."""
    coarse = _at_spacing(scan, _SEARCH_MM)
    template, near = _template_at(_SEARCH_MM)
    points, values = template.grid.to_world(np.argwhere(near)), _bins(template.values[near])
    starts = [_start(rotation, placement) for placement in _placements(coarse, model) for rotation in _orientations()]
    scores = [_expected(start) * _mutual_information(values, points, coarse, start) for start in starts]
    candidates = [_Candidate(start, score) for start, score in zip(starts, scores, strict=True)]
    return _distinct(sorted(candidates, key=lambda candidate: -candidate.score))


def _expected(scan_from_template: Affine) -> float:
    """Weight of an orientation before the images are seen: most headers are right."""
    suspect = rotation_degrees(scan_from_template) > SUSPECT_ROTATION_DEGREES
    return _SUSPECT_WEIGHT if suspect else 1.0


@lru_cache(maxsize=1)
def _orientations() -> tuple[Array, ...]:
    """Rotations that leave no orientation further than about 25 degrees away: 24 turns of the axes times tilts."""
    cube = Rotation.create_group("O")
    steps = np.radians((-30.0, 0.0, 30.0))
    vectors = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T
    return tuple((tilt * turn).as_matrix() for turn in cube for tilt in Rotation.from_rotvec(vectors))


def _placements(scan: _Volume, model: RegistrationModel) -> list[_Placement]:
    """Where the whole brain's center may lie: at that of the mask, and beyond each face that cuts the brain."""
    brain = scan.values > _DARKEST_TISSUE / 2.0
    center = scan.grid.to_world(np.argwhere(brain)).mean(axis=0)
    outward = _cut_directions(brain, scan.grid)
    ratio = np.count_nonzero(brain) * scan.grid.voxel_volume_mm3 / _template_extent()[1]
    scale = _USUAL_SCALE if outward else float(np.clip(np.cbrt(ratio), 0.8, 1.25))
    shifts = [np.zeros(3)] + [distance * direction for direction in outward for distance in _CUT_SHIFTS_MM]
    return [_Placement(center + shift, 1.0 if model == "rigid" else scale) for shift in shifts]


def _cut_directions(brain: MaskArray, grid: Grid) -> list[Array]:
    """Outward unit vectors (RAS) of the faces of the field of view that cut through the brain."""
    directions = []
    for axis in range(3):
        areas = np.count_nonzero(np.moveaxis(brain, axis, 0).reshape(brain.shape[axis], -1), axis=1)
        for area, sign in ((areas[0], -1.0), (areas[-1], 1.0)):
            if area > 0.2 * areas.max():
                directions.append(sign * grid.direction[:, axis])
    return directions


def _start(rotation: Array, placement: _Placement) -> Affine:
    start = np.eye(4)
    start[:3, :3] = placement.scale * rotation
    start[:3, 3] = placement.center - start[:3, :3] @ _template_extent()[0]
    return start


def _bins(values: FloatArray) -> Array:
    """Histogram bins of values from 0 to 1."""
    return np.clip((values * _SEARCH_BINS).astype(np.int64), 0, _SEARCH_BINS - 1)


def _mutual_information(fixed: Array, points: Array, scan: _Volume, start: Affine) -> float:
    """Mutual information (nats) of the template's bins and the scan where ``start`` puts them, in the field of view."""
    where = scan.grid.to_index(apply_affine(start, points)).T
    moving = ndimage.map_coordinates(scan.values, where, order=1, mode="constant", cval=-1.0)
    seen = moving >= 0.0
    if np.count_nonzero(seen) < 0.3 * len(seen):
        return 0.0
    pairs = fixed[seen] * _SEARCH_BINS + _bins(moving[seen])
    joint = np.bincount(pairs, minlength=_SEARCH_BINS**2).reshape(_SEARCH_BINS, _SEARCH_BINS) / len(pairs)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())


def _distinct(ordered: list[_Candidate], count: int = 12, apart_degrees: float = 20.0) -> list[_Candidate]:
    kept: list[_Candidate] = []
    for candidate in ordered:
        if all(_turn_between(candidate, other) > apart_degrees for other in kept):
            kept.append(candidate)
        if len(kept) == count:
            break
    return kept


def _turn_between(first: _Candidate, second: _Candidate) -> float:
    return rotation_degrees(first.scan_from_template @ np.linalg.inv(second.scan_from_template))


# --- Refinement ----------------------------------------------------------------------------------------------------


def _schedule(model: RegistrationModel) -> tuple[_Level, ...]:
    stiff: RegistrationModel = "rigid" if model == "rigid" else "similarity"
    return (
        _Level(_SEARCH_MM, 12, stiff, 60),
        _Level(4.0, 3, stiff, 60),
        _Level(4.0, 1, model, 100),
        _Level(_FINEST_MM, 1, model, 100),
    )


def _refined(candidates: list[_Candidate], scan: _Volume, level: _Level) -> list[_Candidate]:
    moving = _at_spacing(scan, level.spacing_mm)
    _template_at(level.spacing_mm)
    # Each start on one thread of its own, so that the same scan always gives the same map.
    with ThreadPoolExecutor(processor_count()) as threads:
        found = list(threads.map(lambda candidate: _optimized(candidate, moving, level), candidates))
    best = max(candidate.score for candidate in found)
    promising = [candidate for candidate in found if candidate.score > _PROMISING * best]
    return _distinct(sorted(promising, key=lambda candidate: -candidate.score), apart_degrees=10.0)


def _optimized(candidate: _Candidate, scan: _Volume, level: _Level) -> _Candidate:
    """The map that climbs from ``candidate`` to the next maximum of mutual information."""

    template, near = _template_at(level.spacing_mm)
    fixed_grid = _moved(template.grid, _UNITS_FROM_MM)
    start = _UNITS_FROM_MM @ candidate.scan_from_template @ np.linalg.inv(_UNITS_FROM_MM)
    correction = _correction(level.model)
    method = _method(level)
    method.SetMetricFixedMask(to_image(near, fixed_grid))
    method.SetMovingInitialTransform(to_transform(start))
    method.SetInitialTransform(correction, inPlace=True)
    method.Execute(to_image(template.values, fixed_grid), to_image(scan.values, _moved(scan.grid, _UNITS_FROM_MM)))
    found = np.linalg.inv(_UNITS_FROM_MM) @ start @ from_transform(correction) @ _UNITS_FROM_MM
    return _Candidate(found, -_expected(found) * float(method.GetMetricValue()))


def _method(level: _Level) -> SimpleITK.ImageRegistrationMethod:
    import SimpleITK

    step, last_step = level.spacing_mm / 2.0 / _LENGTH_UNIT_MM, _LAST_STEP_MM / _LENGTH_UNIT_MM
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    method.SetOptimizerAsRegularStepGradientDescent(step, last_step, level.iterations, 0.6, 1e-8)
    method.SetOptimizerScales([1.0] * _correction(level.model).GetNumberOfParameters())
    return method


def _moved(grid: Grid, world_map: Affine) -> Grid:
    return Grid(grid.shape, world_map @ grid.affine)


def _correction(model: RegistrationModel) -> SimpleITK.Transform:
    """The identity as a transform of the wanted freedom, about the template brain's center (length units)."""
    import SimpleITK

    kinds = {
        "rigid": SimpleITK.VersorRigid3DTransform,
        "similarity": SimpleITK.Similarity3DTransform,
        "affine": lambda: SimpleITK.AffineTransform(3),
    }
    transform = kinds[model]()
    center = LPS_FROM_RAS[:3, :3] @ _template_extent()[0] / _LENGTH_UNIT_MM
    transform.SetCenter(center.tolist())
    return transform
