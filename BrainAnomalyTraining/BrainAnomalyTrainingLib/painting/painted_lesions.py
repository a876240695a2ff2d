"""Lesions painted over healthy scans: shapes of multiple sclerosis and stroke, ragged blobs up to a third of a side.

Shapes are voxels at 2 mm with their share; ``painted_lesions`` puts some into a scan and says where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from torch import Tensor

from BrainAnomalyLib.detectors.anatomy.structure_network import FIELD, GRID
from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, index_of
from BrainAnomalyLib.io.geometry import Array, FloatArray, apply_affine, from_image, inverse
from BrainAnomalyLib.preparation.space.grids import grid_named

from .contrasts import Values
from .fields import Random, blurred, smooth_noise, voxels_of

_SPACING_MM = 2.0
_NONE, _MANY, _BLOBS = 0.12, 0.4, 0.3
_MOST_LESIONS, _MOST_BLOBS = 100, 6
# Lesions of multiple sclerosis and stroke mostly spare the fluid beside them.
_SPARED = 0.7
# Radii of blobs in mm: from 3 voxels of a 1 mm scan to a third of a hemisphere (150 mL).
_RADII_MM = (1.5, 33.0)
_AT_HOME = 0.6


@dataclass(frozen=True, eq=False)
class Shapes:
    """Lesion shapes: centers (n, 3) and voxels relative to them, both in voxels of ``FIELD``."""

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
    image: Tensor,
    soft: Tensor,
    values: Values,
    mass: tuple[float, float, float, float],
    bank: LesionBank,
    random: Random,
) -> tuple[Tensor, Tensor]:
    """The scan (i, j, k) with lesions, and their share (i, j, k; 0 to 1)."""
    share = _some_share(soft, mass, bank, random) * (1.0 - soft[OUTSIDE])
    return _filled(image, share, values, random), share


def _some_share(soft: Tensor, mass: tuple[float, float, float, float], bank: LesionBank, random: Random) -> Tensor:
    share = torch.zeros_like(soft[OUTSIDE])
    if mass[3] > 0.0 and random.chance(0.8):
        share = torch.maximum(share, blob(share.shape, mass[:3], mass[3] * random.uniform(0.7, 1.1), random))
    draw = random.uniform(0.0, 1.0)
    if draw < _NONE:
        return share
    if draw < _NONE + _BLOBS:
        for place in _places(soft, int(random.numbers.integers(1, _MOST_BLOBS + 1)), random):
            radius = float(np.exp(random.uniform(*np.log(_RADII_MM)))) / _SPACING_MM
            share = torch.maximum(share, blob(share.shape, tuple(place), radius, random))
        return share
    many = draw < _NONE + _BLOBS + _MANY
    count = int(np.ceil(_MOST_LESIONS * random.uniform(0.0, 1.0) ** 2)) if many else 1
    placed = _placed(bank.multiple_sclerosis if many else bank.stroke, count, soft, random)
    if random.chance(_SPARED):
        placed = placed * (1.0 - soft[index_of("ventricle")] - soft[index_of("outer fluid")]).clamp(min=0.0)
    return torch.maximum(share, placed)


def blob(shape: Sequence[int], center: Sequence[float], radius: float, random: Random) -> Tensor:
    """A ragged ellipsoid, soft at its border (i, j, k; 0 to 1); center and radius in voxels."""
    stretch = np.exp(random.numbers.normal(0.0, 0.3, 3)).astype(np.float32)
    middle = torch.as_tensor(np.asarray(center, dtype=np.float32), device=random.device)
    offset = voxels_of(shape, random.device) - middle.view(3, 1, 1, 1)
    distance = (offset * torch.from_numpy(stretch).to(random.device).view(3, 1, 1, 1)).norm(dim=0) / radius
    rough = smooth_noise(shape, max(0.8, radius * random.uniform(0.3, 0.8)), random)
    return torch.sigmoid((1.0 - distance - random.uniform(0.0, 0.35) * rough) * radius * random.uniform(1.5, 6.0))


def _placed(shapes: Shapes, count: int, soft: Tensor, random: Random) -> Tensor:
    """Some shapes, most where they were in the patient, the others anywhere in the brain."""
    numbers, size = random.numbers, np.asarray(soft.shape[1:])
    elsewhere = _places(soft, count, random)
    voxels, shares = [], []
    for place in elsewhere:
        chosen = int(numbers.integers(len(shapes.centers)))
        center = shapes.centers[chosen] if random.chance(_AT_HOME) else place
        scale, side = random.uniform(0.5, 1.25), np.array([random.sign(), 1.0, 1.0])
        found = np.rint(center + numbers.normal(0.0, 1.5, 3) + scale * side * shapes.offsets[chosen]).astype(np.int64)
        found = found[((found >= 0) & (found < size)).all(axis=1)]
        voxels.append(found @ np.array([size[1] * size[2], size[2], 1]))
        shares.append(np.full(len(found), shapes.share / scale**3, dtype=np.float32))
    filled = torch.zeros(int(size.prod()), device=soft.device)
    where = torch.from_numpy(np.concatenate(voxels)).to(soft.device)
    filled.index_add_(0, where, torch.from_numpy(np.concatenate(shares)).to(soft.device))
    return filled.clamp(max=1.0).view(*soft.shape[1:])


def _places(soft: Tensor, count: int, random: Random) -> Array:
    """Random voxels (count, 3) of the brain, half of them in white matter."""
    brain = soft[OUTSIDE] < 0.5
    white = brain & (soft[index_of("white matter")] > 0.3)
    found = [torch.nonzero(part.flatten()).flatten() for part in (brain, white)]
    places = []
    for _ in range(count):
        among = found[int(random.chance(0.5))]
        among = among if len(among) else found[0]
        places.append(among[int(random.numbers.integers(max(len(among), 1)))] if len(among) else 0)
    flat = torch.as_tensor(places).cpu().numpy()
    return np.stack(np.unravel_index(flat, tuple(brain.shape)), axis=1).astype(np.float64)


def _filled(image: Tensor, share: Tensor, values: Values, random: Random) -> Tensor:
    """The image with content where the lesions are; sometimes the core differs from the rim."""
    content = _content(image, values, random)
    if random.chance(0.2):
        core = (blurred(share, 1.0) - 0.5).clamp(min=0.0) * 2.0
        content = content + core * (_content(image, values, random) - content)
    strength = 1.0 if random.chance(0.7) else random.uniform(0.4, 1.0)
    return image + strength * share * (content - image)


def _content(image: Tensor, values: Values, random: Random) -> Tensor:
    """What fills lesions: shifted tissue, fluid, another structure's value or any, with a texture of its own."""
    draw, spread = random.uniform(0.0, 1.0), values.spread
    sign = values.disease if values.disease and random.chance(0.8) else random.sign()
    if draw < 0.45:
        return image + sign * random.uniform(0.1, 0.8) * spread
    if draw < 0.65:
        level = values.fluid + float(random.numbers.normal(0.0, 0.1)) * spread
    elif draw < 0.8:
        level = float(values.levels[int(random.numbers.integers(1, len(values.levels)))])
    else:
        level = random.uniform(values.lowest - 0.3 * spread, values.lowest + 1.5 * spread)
    texture = smooth_noise(image.shape, random.uniform(0.5, 3.0), random)
    return level + texture * (random.uniform(0.0, 0.12) * spread)


def _shapes(voxels: list[Array], share: float) -> Shapes:
    corner = np.asarray([part.start for part in FIELD], dtype=np.float32)
    voxels = [part - corner for part in voxels]
    centers = np.stack([part.mean(axis=0) for part in voxels]).astype(np.float32)
    offsets = tuple((part - center).astype(np.float32) for part, center in zip(voxels, centers, strict=True))
    return Shapes(centers, offsets, share)
