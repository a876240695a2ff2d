"""Synthetic scans for tests: noise on any grid, and a FLAIR-like brain built from the template."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np

from BrainAnomalyLib.io.geometry import Affine, FloatArray, Grid, Shape
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.template import load_template

# A folder name that breaks careless path handling.
AWKWARD = Path("Ünï çødé") / "Lékař 脳"


def oblique(degrees: float) -> Affine:
    """A rotation (4x4) about two axes."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    return turn


def grid_of(
    shape: Shape,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    codes: str = "RAS",
    degrees: float = 0.0,
    center: tuple[float, float, float] = (3.0, -14.0, 8.0),
) -> Grid:
    """A grid with its axes along the anatomical directions ``codes``, then turned by ``degrees``."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (letter, size) in enumerate(zip(codes, spacing, strict=True)):
        world = next(index for index, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[world, axis] = size if letter in "RAS" else -size
    affine = oblique(degrees) @ affine
    affine[:3, 3] = np.asarray(center) - affine[:3, :3] @ ((np.asarray(shape) - 1.0) / 2.0)
    return Grid(shape, affine)


def all_orientations() -> list[str]:
    """The 48 axis codes."""
    return [
        "".join(pair[side] for pair, side in zip(order, sides, strict=True))
        for order in permutations(("LR", "PA", "IS"))
        for sides in product((0, 1), repeat=3)
    ]


def noise(shape: Shape, seed: int = 0) -> FloatArray:
    """Positive values that differ in every voxel, so that any mix-up shows."""
    return np.random.default_rng(seed).uniform(1.0, 1000.0, shape).astype(np.float32)


def save_nifti(path: Path, array: np.ndarray, affine: Affine | None = None) -> Path:
    """Write by nibabel, the reference the engine is compared with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def flair_brain(onto: Grid, lesion: bool = True) -> FloatArray:
    """A brain-extracted FLAIR-like volume on ``onto`` (in template position), optionally with a bright ball."""
    template = load_template("template_1mm")
    white, gray, fluid = template.white_matter, template.gray_matter, template.cerebrospinal_fluid
    image = 100.0 * white + 120.0 * gray + 50.0 * fluid
    image += np.random.default_rng(1).normal(0.0, 2.0, image.shape)
    if lesion:
        image[lesion_ball(template.grid) & template.brain_mask] = 220.0
    inside = resample(template.brain_mask.astype(np.float32), template.grid, onto) > 0.5
    moved = resample(image.astype(np.float32), template.grid, onto)
    return np.where(inside, np.maximum(moved, 1.0), 0.0).astype(np.float32)


LESION_CENTER = (28.0, -12.0, 28.0)


def lesion_ball(grid: Grid, radius: float = 8.0) -> np.ndarray:
    """Voxels within ``radius`` mm of LESION_CENTER (template RAS mm): right periventricular white matter."""
    middle = grid.to_index(np.array([LESION_CENTER]))[0]
    offsets = np.ogrid[tuple(slice(0, size) for size in grid.shape)]
    squares = [((axis - at) * size) ** 2 for axis, at, size in zip(offsets, middle, grid.spacing, strict=True)]
    return np.asarray(sum(squares) < radius**2)
