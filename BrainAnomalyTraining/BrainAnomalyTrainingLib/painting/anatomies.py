"""Healthy anatomies from label maps: brought to the template, bent, turned, mirrored, aged, pushed aside by a mass.

Each becomes soft structures at 2 mm: the share of every structure in every voxel, from labels at 1 mm. Volumes are the
part of the template's grids that a brain can reach, ``FIELD``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import avg_pool3d

from BrainAnomalyLib.detectors.anatomy.structure_network import FIELD, GRID
from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, STRUCTURES, from_freesurfer, index_of
from BrainAnomalyLib.io.geometry import Array, apply_affine, from_image, inverse
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import align
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.grids import grid_named

from .fields import Random, blurred, enlarged, sampled, smooth_noise, voxels_of

FINE_GRID = "template_1mm"
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
class Anatomy:
    """Soft structures (structure, i, j, k; 0 to 1) in ``FIELD`` and a mass (i, j, k, radius; voxels) or zeros.

    The mass is where tissue was pushed aside; nothing is painted there yet.
    """

    soft: Tensor
    mass: tuple[float, float, float, float]


def field_shape() -> tuple[int, int, int]:
    """Voxels of ``FIELD`` along i, j, k."""
    i, j, k = (part.stop - part.start for part in FIELD)
    return i, j, k


def read_label_map(file: Path) -> Array:
    """A label map in FreeSurfer's numbers as places in STRUCTURES (uint8) on the 1 mm template grid.

    It is aligned with the template by a T1w-like scan painted from it.
    """
    stored, grid = from_image(SimpleITK.ReadImage(str(file)))
    structures = from_freesurfer(np.rint(stored))
    solid = (structures != OUTSIDE) & (structures != index_of("outer fluid"))
    near = ndimage.binary_dilation(solid, iterations=_CLOSED_VOXELS)
    brain = ndimage.binary_erosion(near, iterations=_CLOSED_VOXELS - 1)
    painted = ndimage.gaussian_filter(np.asarray(_T1W_VALUES, dtype=np.float32)[structures], 0.7)
    scan = Scan(painted.astype(np.float32), grid, "T1w", file.name)
    registration = align(scan, Recipe(grid=GRID), brain).registration
    fine = grid_named(FINE_GRID)
    matrix = inverse(grid.affine) @ registration.scan_from_template @ fine.affine
    return np.asarray(ndimage.affine_transform(structures, matrix[:3, :3], matrix[:3, 3], fine.shape, order=0))


def made_anatomy(labels: Tensor, random: Random) -> Anatomy:
    """One healthy anatomy of a label map (1 mm template grid, i, j, k); all randomness comes from ``random``."""
    displacement = bend(random)
    displacement += _widening(labels, displacement, "ventricle", 4.0, _MOST_WIDER_VENTRICLE_MM, random)
    displacement += _widening(labels, displacement, "outer fluid", 2.0, _MOST_WIDER_SULCI_MM, random)
    push, mass = _mass(labels, displacement, random)
    return Anatomy(_soft(labels, displacement + push, pose(random)), mass)


def bend(random: Random) -> Tensor:
    """Smooth displacement in mm (3, i, j, k) in ``FIELD``."""
    size = random.uniform(0.0, _MOST_BEND_MM) / 2.0
    return torch.stack([size * smooth_noise(field_shape(), _BEND_MM / _SPACING_MM, random) for _ in range(3)])


def pose(random: Random) -> Tensor:
    """A small turn, stretch and shift in mm (3, 4) about the origin, left and right swapped in half of them."""
    turn = Rotation.from_euler("xyz", random.numbers.uniform(-_MOST_DEGREES, _MOST_DEGREES, 3), degrees=True)
    stretch = random.numbers.uniform(1.0 - _MOST_SCALE, 1.0 + _MOST_SCALE, 3)
    matrix = np.zeros((3, 4), dtype=np.float32)
    matrix[:, :3] = turn.as_matrix() * (np.array([random.sign(), 1.0, 1.0]) * stretch)
    matrix[:, 3] = random.numbers.uniform(-_MOST_SHIFT_MM, _MOST_SHIFT_MM, 3)
    return torch.from_numpy(matrix).to(random.device)


def places_mm(displacement: Tensor, fine: bool) -> Tensor:
    """Template RAS mm (3, i, j, k) of the field's voxels, at 1 mm if ``fine``, moved by ``displacement`` (2 mm)."""
    grid, scale = grid_named(FINE_GRID if fine else GRID), 2 if fine else 1
    start = [scale * part.start for part in FIELD]
    origin = apply_affine(grid.affine, np.asarray([start], dtype=np.float64))[0]
    moved = enlarged(displacement, 2) if fine else displacement
    steps = voxels_of(moved.shape[1:], moved.device) * (_SPACING_MM / scale)
    return steps + moved + _column(origin, moved.device)


def at_places(volume: Tensor, places: Tensor, grid_name: str, mode: str) -> Tensor:
    """Values of a volume on a whole template grid at places in RAS mm (3, i, j, k)."""
    grid = grid_named(grid_name)
    corner = _column(grid.affine[:3, 3], volume.device)
    return sampled(volume, (places - corner) / float(grid.spacing[0]), mode)


def posed(places: Tensor, matrix: Tensor) -> Tensor:
    """Places in mm (3, i, j, k) after a pose (3, 4)."""
    return torch.einsum("ab,bijk->aijk", matrix[:, :3], places) + matrix[:, 3].view(3, 1, 1, 1)


def _widening(labels: Tensor, displacement: Tensor, name: str, sigma: float, most_mm: float, random: Random) -> Tensor:
    """Displacement toward a structure, so that it is seen wider than it is; sometimes none."""
    size = most_mm * random.numbers.random() ** 1.5 * float(random.numbers.choice([0.0, 1.0, 1.0]))
    if size == 0.0:
        return torch.zeros_like(displacement)
    density = blurred((_at_2mm(labels, displacement) == index_of(name)).float(), sigma)
    slope = torch.stack(torch.gradient(density))
    length = slope.norm(dim=0)
    ranked = length.flatten().sort().values
    steepest = ranked[int(0.995 * (len(ranked) - 1))].clamp(min=1e-6)
    widened: Tensor = size * slope / torch.maximum(length, 0.3 * steepest)
    return widened


def _mass(labels: Tensor, displacement: Tensor, random: Random) -> tuple[Tensor, tuple[float, float, float, float]]:
    """Tissue pushed away from a random place of the brain: displacement, and place and radius in voxels."""
    none = torch.zeros_like(displacement), (0.0, 0.0, 0.0, 0.0)
    if not random.chance(_MASS_CHANCE):
        return none
    inside = torch.nonzero(_at_2mm(labels, displacement) == index_of("white matter"))
    if not len(inside):
        return none
    i, j, k = (float(value) for value in inside[int(random.numbers.integers(len(inside)))].tolist())
    radius = random.uniform(*_MASS_RADIUS_MM) / _SPACING_MM
    offset = voxels_of(displacement.shape[1:], displacement.device) - _column((i, j, k), displacement.device)
    pull = random.uniform(0.1, _MOST_PUSH) * torch.exp(-0.5 * (offset.norm(dim=0) / (1.2 * radius)) ** 2)
    return -offset * pull * _SPACING_MM, (i, j, k, radius)


def _at_2mm(labels: Tensor, displacement: Tensor) -> Tensor:
    return at_places(labels, places_mm(displacement, fine=False), FINE_GRID, "nearest")


def _soft(labels: Tensor, displacement: Tensor, matrix: Tensor) -> Tensor:
    """Shares of the structures at 2 mm from labels at 1 mm."""
    found = at_places(labels, posed(places_mm(displacement, fine=True), matrix), FINE_GRID, "nearest")
    return torch.cat([avg_pool3d((found == k)[None, None].float(), 2)[0] for k in range(len(STRUCTURES))])


def _column(values: object, device: torch.device) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device).view(3, 1, 1, 1)
