"""Lesions painted over healthy scans: shapes of multiple sclerosis and stroke, ragged blobs up to a third of a side.

Shapes are voxels at 2 mm with their share; ``painted_lesions`` puts some into a slab and says where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, index_of
from BrainAnomalyLib.io.geometry import Array, FloatArray, apply_affine, from_image, inverse
from BrainAnomalyLib.preparation.space.grids import grid_named

from .anatomies import GRID, Random, smooth_noise

_SPACING_MM = 2.0
_NONE, _MANY, _BLOBS = 0.15, 0.4, 0.3
_MOST_LESIONS, _MOST_BLOBS = 40, 3
# Radii of blobs in mm: from 3 voxels of a 1 mm scan to a third of a hemisphere (150 mL).
_RADII_MM = (1.5, 33.0)
_AT_HOME = 0.6


@dataclass(frozen=True, eq=False)
class Shapes:
    """Lesion shapes: centers (n, 3) and voxels relative to them, both in voxels of the 2 mm template grid."""

    centers: FloatArray
    offsets: tuple[FloatArray, ...]
    # Share of a 2 mm voxel that one voxel of the shape fills.
    share: float


def multiple_sclerosis_shapes(folder: Path) -> Shapes:
    """Single lesions of ``ms_lesion_shapes.npz`` (Senra Filho et al. 2019)."""
    stored = np.load(folder / "ms_lesion_shapes.npz")
    to_grid = inverse(grid_named(GRID).affine) @ stored["affine_ras"]
    parts = np.split(stored["voxels"], stored["offsets"][1:-1])
    return _shapes([apply_affine(to_grid, part) for part in parts], 1.0 / 8.0)


def stroke_shapes(folder: Path) -> Shapes:
    """Manual stroke masks in MNI space at 1 mm, one a file."""
    found = []
    for file in sorted(folder.glob("*.nii.gz")):
        array, grid = from_image(SimpleITK.ReadImage(str(file)))
        if (array > 0).any():
            found.append(apply_affine(inverse(grid_named(GRID).affine) @ grid.affine, np.argwhere(array > 0)))
    return _shapes(found, 1.0 / 8.0)


@dataclass(frozen=True, eq=False)
class LesionBank:
    """What lesions are made from."""

    multiple_sclerosis: Shapes
    stroke: Shapes


def painted_lesions(
    image: FloatArray,
    soft: FloatArray,
    values: FloatArray,
    start: int,
    mass: tuple[float, float, float, float],
    bank: LesionBank,
    random: Random,
) -> tuple[FloatArray, FloatArray]:
    """The slab (i, j, k), which begins at axial slice ``start``, with lesions, and their share (i, j, k; 0 to 1)."""
    share = _some_share(soft, start, mass, bank, random) * (1.0 - soft[OUTSIDE])
    return (_filled(image, share, values, random), share) if share.any() else (image, share)


def _some_share(
    soft: FloatArray, start: int, mass: tuple[float, float, float, float], bank: LesionBank, random: Random
) -> FloatArray:
    shape = soft.shape[1:]
    share = np.zeros(shape, dtype=np.float32)
    if mass[3] > 0.0 and random.random() < 0.8:
        center = np.asarray(mass[:3]) - (0.0, 0.0, start)
        share = np.maximum(share, blob(shape, center, mass[3] * random.uniform(0.7, 1.1), random))
    draw = random.random()
    if draw < _NONE:
        return share
    if draw < _NONE + _MANY:
        count = int(np.ceil(_MOST_LESIONS * random.random() ** 2))
        return np.maximum(share, _placed(bank.multiple_sclerosis, count, soft, start, random))
    if draw < _NONE + _MANY + _BLOBS:
        for _ in range(int(random.integers(1, _MOST_BLOBS + 1))):
            radius = np.exp(random.uniform(*np.log(_RADII_MM))) / _SPACING_MM
            share = np.maximum(share, blob(shape, _place(soft, random), radius, random))
        return share
    return np.maximum(share, _placed(bank.stroke, 1, soft, start, random))


def blob(shape: tuple[int, ...], center: Array, radius: float, random: Random) -> FloatArray:
    """A ragged ellipsoid, soft at its border (i, j, k; 0 to 1); center and radius in voxels."""
    offset = np.indices(shape, dtype=np.float32) - np.asarray(center, dtype=np.float32)[:, None, None, None]
    stretch = np.exp(random.normal(0.0, 0.3, 3)).astype(np.float32)
    distance = np.sqrt(((offset * stretch[:, None, None, None]) ** 2).sum(axis=0)) / radius
    distance += random.uniform(0.0, 0.35) * smooth_noise(shape, max(0.8, radius * random.uniform(0.3, 0.8)), random)
    sharpness = radius * random.uniform(1.5, 6.0)
    return np.asarray(1.0 / (1.0 + np.exp(np.clip((distance - 1.0) * sharpness, -30.0, 30.0))), dtype=np.float32)


def _placed(shapes: Shapes, count: int, soft: FloatArray, start: int, random: Random) -> FloatArray:
    """Some shapes near the slab, most where they were in the patient, the others anywhere in the brain."""
    size = soft.shape[1:]
    filled = np.zeros(size, dtype=np.float32)
    near = np.flatnonzero(np.abs(shapes.centers[:, 2] - start - size[2] / 2) < size[2])
    for _ in range(count):
        at_home = len(near) > 0 and random.random() < _AT_HOME
        chosen = int(random.choice(near)) if at_home else int(random.integers(len(shapes.centers)))
        center = shapes.centers[chosen] - (0.0, 0.0, start) if at_home else _place(soft, random)
        scale, side = random.uniform(0.5, 1.25), np.array([random.choice([-1.0, 1.0]), 1.0, 1.0])
        center = center + random.normal(0.0, 1.5, 3)
        voxels = np.rint(center + scale * side * shapes.offsets[chosen]).astype(np.int64)
        voxels = voxels[((voxels >= 0) & (voxels < size)).all(axis=1)]
        np.add.at(filled, tuple(voxels.T), np.float32(shapes.share / scale**3))
    return np.minimum(filled, 1.0)


def _place(soft: FloatArray, random: Random) -> Array:
    """A random voxel of the slab's brain, half of them near the ventricles."""
    brain = soft[OUTSIDE] < 0.5
    beside = brain & (soft[index_of("white matter")] > 0.3)
    wanted = beside if beside.any() and random.random() < 0.5 else brain
    found = np.flatnonzero(wanted)
    place = found[random.integers(len(found))] if len(found) else 0
    return np.asarray(np.unravel_index(place, wanted.shape), dtype=np.float64)


def _filled(image: FloatArray, share: FloatArray, values: FloatArray, random: Random) -> FloatArray:
    """The image with content where the lesions are; sometimes the core differs from the rim."""
    content = _content(image, share, values, random)
    if random.random() < 0.2:
        core = np.clip((share - 0.5) * 4.0, 0.0, 1.0) if share.max() > 0.8 else share
        content = content + core * (_content(image, share, values, random) - content)
    strength = 1.0 if random.random() < 0.7 else random.uniform(0.4, 1.0)
    return np.asarray(image + strength * share * (content - image), dtype=np.float32)


def _content(image: FloatArray, share: FloatArray, values: FloatArray, random: Random) -> FloatArray:
    low, high = float(values[1:].min()), float(values[1:].max())
    draw, sign = random.random(), random.choice([-1.0, 1.0])
    if draw < 0.3:
        return np.asarray(image + sign * random.uniform(0.1, 0.8) * (high - low), dtype=np.float32)
    if draw < 0.6:
        level = float(values[index_of("ventricle")]) + random.normal(0.0, 0.1) * (high - low)
    elif draw < 0.75:
        level = float(values[random.integers(1, len(values))])
    else:
        level = random.uniform(low - 0.3 * (high - low), high + 0.5 * (high - low))
    texture = smooth_noise(image.shape, random.uniform(0.5, 3.0), random) * random.uniform(0.0, 0.12) * (high - low)
    return np.asarray(level + texture, dtype=np.float32)


def _shapes(voxels: list[Array], share: float) -> Shapes:
    centers = np.stack([part.mean(axis=0) for part in voxels]).astype(np.float32)
    offsets = tuple((part - center).astype(np.float32) for part, center in zip(voxels, centers, strict=True))
    return Shapes(centers, offsets, share)
