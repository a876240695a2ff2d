"""Healthy anatomies from label maps: brought to the template, bent, turned, mirrored, aged, pushed aside by a mass.

Each becomes soft structures at 2 mm: the share of every structure in every voxel, from labels at 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, STRUCTURES, from_freesurfer, index_of
from BrainAnomalyLib.io.geometry import Affine, Array, FloatArray, apply_affine, from_image, inverse
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import align
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.grids import grid_named

Random = np.random.Generator
GRID = "template_2mm"
_SPACING_MM = 2.0
# A T1w-like value of each structure, by which a label map is aligned with the template.
_T1W_VALUES = (0.0, 1.0, 0.72, 0.85, 0.78, 0.95, 0.72, 0.3, 0.35, 0.95, 1.0, 0.72, 0.6)
_CLOSED_VOXELS = 6
# Registration is imperfect by a few degrees and percent, anatomies differ by some mm over 24 mm.
_MOST_DEGREES, _MOST_SCALE, _MOST_SHIFT_MM = 4.0, 0.06, 2.5
_MOST_BEND_MM, _BEND_MM = 5.0, 24.0
# Widening of ventricles and sulci in mm: the label maps are of young adults, patients are not.
_MOST_WIDER_VENTRICLE_MM, _MOST_WIDER_SULCI_MM = 4.5, 2.0
_MASS_CHANCE, _MASS_RADIUS_MM, _MOST_PUSH = 0.3, (8.0, 30.0), 0.45


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Structures (i, j, k; places in STRUCTURES) and the map from template RAS mm to their voxels."""

    name: str
    structures: Array
    voxel_from_template: Affine


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Soft structures (structure, i, j, k) on the 2 mm template grid, 0 to 255, and a mass (i, j, k, radius) or zeros.

    The mass is where tissue was pushed aside, in voxels; nothing is painted there yet.
    """

    soft: Array
    mass: tuple[float, float, float, float]


def read_label_map(file: Path) -> LabelMap:
    """A label map in FreeSurfer's numbers, aligned with the template by a T1w-like scan painted from it."""
    stored, grid = from_image(SimpleITK.ReadImage(str(file)))
    structures = from_freesurfer(np.rint(stored))
    solid = (structures != OUTSIDE) & (structures != index_of("outer fluid"))
    near = ndimage.binary_dilation(solid, iterations=_CLOSED_VOXELS)
    brain = ndimage.binary_erosion(near, iterations=_CLOSED_VOXELS - 1)
    painted = ndimage.gaussian_filter(np.asarray(_T1W_VALUES, dtype=np.float32)[structures], 0.7)
    scan = Scan(painted.astype(np.float32), grid, "T1w", file.name)
    registration = align(scan, Recipe(grid=GRID), brain).registration
    return LabelMap(file.name, structures, inverse(grid.affine) @ registration.scan_from_template)


def made_anatomy(label_map: LabelMap, random: Random) -> Anatomy:
    """One healthy anatomy of a label map; all randomness comes from ``random``."""
    displacement = _bend(random)
    displacement += _widening(label_map, displacement, "ventricle", 4.0, _MOST_WIDER_VENTRICLE_MM, random)
    displacement += _widening(label_map, displacement, "outer fluid", 2.0, _MOST_WIDER_SULCI_MM, random)
    push, mass = _mass(label_map, displacement, random)
    displacement += push
    pose = _pose(random)
    return Anatomy(_soft(label_map, displacement, pose), mass)


def _bend(random: Random) -> FloatArray:
    """Smooth displacement in mm (3, i, j, k) at 2 mm."""
    shape = grid_named(GRID).shape
    size = random.uniform(0.0, _MOST_BEND_MM) / 2.0
    return np.stack([size * smooth_noise(shape, _BEND_MM / _SPACING_MM, random) for _ in range(3)])


def _widening(
    label_map: LabelMap, displacement: FloatArray, name: str, sigma: float, most_mm: float, random: Random
) -> FloatArray:
    """Displacement toward a structure, so that it is seen wider than it is; sometimes none."""
    size = most_mm * random.random() ** 1.5 * random.choice([0.0, 1.0, 1.0])
    if size == 0.0:
        return np.zeros_like(displacement)
    there = (_structures_at_2mm(label_map, displacement) == index_of(name)).astype(np.float32)
    density = ndimage.gaussian_filter(there, sigma)
    slope = np.stack(np.gradient(density))
    steepest = max(float(np.percentile(np.linalg.norm(slope, axis=0), 99.5)), 1e-6)
    unit = slope / np.maximum(np.linalg.norm(slope, axis=0), 0.3 * steepest)
    return np.asarray(size * unit, dtype=np.float32)


def _mass(
    label_map: LabelMap, displacement: FloatArray, random: Random
) -> tuple[FloatArray, tuple[float, float, float, float]]:
    """Tissue pushed away from a random place of the brain: displacement, and place and radius in voxels."""
    if random.random() >= _MASS_CHANCE:
        return np.zeros_like(displacement), (0.0, 0.0, 0.0, 0.0)
    inside = np.argwhere(_structures_at_2mm(label_map, displacement) == index_of("white matter"))
    center = inside[random.integers(len(inside))].astype(np.float64)
    radius = random.uniform(*_MASS_RADIUS_MM) / _SPACING_MM
    offset = np.indices(displacement.shape[1:], dtype=np.float32) - center[:, None, None, None]
    distance = np.linalg.norm(offset, axis=0)
    pull = random.uniform(0.1, _MOST_PUSH) * np.exp(-0.5 * (distance / (1.2 * radius)) ** 2)
    i, j, k = (float(value) for value in center)
    return np.asarray(-offset * pull * _SPACING_MM, dtype=np.float32), (i, j, k, float(radius))


def _structures_at_2mm(label_map: LabelMap, displacement: FloatArray) -> Array:
    grid = grid_named(GRID)
    voxels = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    points = apply_affine(grid.affine, voxels) + displacement.reshape(3, -1).T
    places = apply_affine(label_map.voxel_from_template, points).T
    return np.asarray(ndimage.map_coordinates(label_map.structures, places, order=0).reshape(grid.shape))


def _soft(label_map: LabelMap, displacement: FloatArray, pose: Affine) -> Array:
    """Shares of the structures at 2 mm, 0 to 255, from labels at 1 mm."""
    fine, coarse = grid_named("template_1mm"), grid_named(GRID)
    count, block = len(STRUCTURES), int(np.prod(coarse.shape))
    bins = np.zeros(count * block, dtype=np.int64)
    blocks = np.arange(block).reshape(coarse.shape)
    full = np.stack([ndimage.zoom(axis, 2, order=1, mode="nearest", grid_mode=True) for axis in displacement])
    matrix = label_map.voxel_from_template @ pose
    for start in range(0, fine.shape[0], 16):
        part = slice(start, start + 16)
        voxels = np.moveaxis(np.mgrid[part, 0 : fine.shape[1], 0 : fine.shape[2]], 0, -1).reshape(-1, 3)
        points = apply_affine(fine.affine, voxels) + full[:, part].reshape(3, -1).T
        found = ndimage.map_coordinates(label_map.structures, apply_affine(matrix, points).T, order=0)
        where = np.repeat(np.repeat(np.repeat(blocks[start // 2 : start // 2 + 8], 2, 0), 2, 1), 2, 2)
        bins += np.bincount(found.astype(np.int64) * block + where.ravel(), minlength=count * block)
    return (bins * 255 / 8).round().astype(np.uint8).reshape(count, *coarse.shape)


def _pose(random: Random) -> Affine:
    """A small turn, stretch and shift about the origin, left and right swapped in half of them."""
    angles = random.uniform(-_MOST_DEGREES, _MOST_DEGREES, 3)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    side = np.array([random.choice([-1.0, 1.0]), 1.0, 1.0])
    pose = np.eye(4)
    pose[:3, :3] = turn * (side * random.uniform(1.0 - _MOST_SCALE, 1.0 + _MOST_SCALE, 3))
    pose[:3, 3] = random.uniform(-_MOST_SHIFT_MM, _MOST_SHIFT_MM, 3)
    return pose


def smooth_noise(shape: tuple[int, ...], sigma: float, random: Random) -> FloatArray:
    """Smooth noise of deviation 1; made coarse and interpolated where it is very smooth."""
    step = max(1, int(sigma / 2.0))
    coarse = tuple(int(np.ceil(size / step)) + 2 for size in shape)
    noise = ndimage.gaussian_filter(random.standard_normal(coarse, dtype=np.float32), sigma / step, mode="nearest")
    full = ndimage.zoom(noise, step, order=1) if step > 1 else noise
    noise = full[tuple(slice(step // 2, step // 2 + size) for size in shape)]
    return np.asarray(noise / max(float(noise.std()), 1e-9), dtype=np.float32)
