"""Healthy brains in made-up contrasts: tissue labels of real anatomies, filled with values as FLAIR, T2w or T1w have.

There is no healthy FLAIR or T2w cohort to learn from, and a curve through T1w intensities cannot make one: where fluid
meets white matter it passes the gray value, and paints a rim about the ventricles. Labels know what they are. After
Billot et al. 2023 (SynthSeg), whose shared label maps are used; the values are typical ones, no scan was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from BrainAnomalyLib.io.geometry import Affine, FloatArray, MaskArray, apply_affine, from_image, inverse
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import align
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template

from ..brain_mask.training import closed
from .held_scan import HeldScan

# FreeSurfer's numbers of what shares a value; lesions of white matter (25, 57) count as white.
TISSUES: dict[str, tuple[int, ...]] = {
    "white": (2, 41, 7, 46, 25, 57, 85),
    "brainstem": (16, 28, 60),
    "cortex": (3, 42),
    "cerebellar cortex": (8, 47),
    "thalamus": (10, 49),
    "striatum": (11, 12, 26, 50, 51, 58),
    "pallidum": (13, 52),
    "limbic": (17, 18, 53, 54),
    "choroid plexus": (136, 137, 163, 164),
    "fluid": (4, 5, 14, 15, 43, 44, 72),
    "outer fluid": (24,),
    "vessel": (30, 62),
}
Ranges = dict[str, tuple[float, float]]
# Values relative to white matter; those of gray tissues are relative to the cortex. Fluid about the brain holds
# vessels and membranes that fluid in the ventricles has not.
_FLAIR: Ranges = {"cortex": (1.05, 1.35), "fluid": (0.1, 0.5), "outer fluid": (0.2, 0.7)}
_T2W: Ranges = {"cortex": (1.15, 1.5), "fluid": (1.6, 2.8), "outer fluid": (1.4, 2.5)}
_T1W: Ranges = {"cortex": (0.6, 0.85), "fluid": (0.15, 0.5), "outer fluid": (0.25, 0.55)}
_CONTRASTS, _CHANCES = (_FLAIR, _T2W, _T1W), (0.55, 0.3, 0.15)
# How far between white matter (0) and cortex (1) the others lie.
_BETWEEN: Ranges = {
    "brainstem": (-0.1, 0.35),
    "cerebellar cortex": (0.5, 1.1),
    "thalamus": (0.2, 0.8),
    "striatum": (0.6, 1.1),
    "pallidum": (-0.4, 0.5),
    "limbic": (0.9, 1.3),
    "choroid plexus": (0.3, 1.5),
    "vessel": (-1.0, 1.0),
}
_MOST_DEGREES, _MOST_SCALE, _MOST_BEND_MM, _BEND_MM = 4.0, 0.07, 5.0, 24.0
# Brain masks of the preparation include the fluid of the sulci, those of others less of it.
_CLOSED_MM, _SPACING_MM = (2.0, 6.0), 2.0
_TEXTURE, _DRIFT = (0.0, 0.04), (0.0, 0.06)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Labels of the brain (i, j, k; 0 elsewhere), from template RAS mm to their voxels."""

    labels: np.ndarray
    voxel_from_template: Affine


def made_scans(files: Iterable[Path], each: int, seed: int) -> Iterator[HeldScan]:
    """``each`` scans of every label map, all different."""
    random = np.random.default_rng(seed)
    for file in files:
        anatomy = read_anatomy(file)
        for _ in range(each):
            yield made_scan(anatomy, random)


def read_anatomy(file: Path) -> Anatomy:
    """A label map aligned with the template by a T1w scan made from it."""
    stored, grid = from_image(SimpleITK.ReadImage(str(file)))
    labels = stored.astype(np.int16)
    known = np.isin(labels, [label for group in TISSUES.values() for label in group])
    labels[~known] = 0
    painted = _painted(labels, _values(_T1W, np.random.default_rng(0)))
    scan = Scan(ndimage.gaussian_filter(painted, 0.7).astype(np.float32) * known, grid, "T1w", file.stem)
    aligned = align(scan, Recipe(grid="template_2mm"), closed(_solid(labels), _CLOSED_MM[1]))
    return Anatomy(labels, inverse(grid.affine) @ aligned.registration.scan_from_template)


def made_scan(anatomy: Anatomy, random: np.random.Generator) -> HeldScan:
    """The anatomy bent, turned and perhaps mirrored, in a contrast of its own."""
    contrast = _CONTRASTS[int(random.choice(len(_CONTRASTS), p=_CHANCES))]
    sharpness = random.uniform(0.5, 1.1)
    painted = ndimage.gaussian_filter(_painted(anatomy.labels, _values(contrast, random)), sharpness)
    places = _places(anatomy, random)
    image = ndimage.map_coordinates(painted, places, order=1)
    inside = ndimage.map_coordinates(_solid(anatomy.labels).astype(np.float32), places, order=1) > 0.5
    mask = closed(inside, random.uniform(*_CLOSED_MM) / _SPACING_MM)
    image = image * np.exp(random.uniform(*_DRIFT) * _smooth(image.shape, 12.0, random))
    image = image * (1.0 + random.uniform(*_TEXTURE) * _smooth(image.shape, 1.0, random))
    return HeldScan(np.where(mask, np.maximum(image, 0.0), 0.0).astype(np.float32), mask)


def _solid(labels: np.ndarray) -> MaskArray:
    """Everything but the fluid about the brain."""
    return np.asarray((labels > 0) & ~np.isin(labels, TISSUES["outer fluid"]), dtype=np.bool_)


def _values(contrast: Ranges, random: np.random.Generator) -> dict[str, float]:
    values = {"white": 1.0, **{name: random.uniform(*bounds) for name, bounds in contrast.items()}}
    gray = values["cortex"] - 1.0
    return values | {name: max(0.05, 1.0 + gray * random.uniform(*bounds)) for name, bounds in _BETWEEN.items()}


def _painted(labels: np.ndarray, values: dict[str, float]) -> FloatArray:
    table = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    for name, group in TISSUES.items():
        table[[label for label in group if label < len(table)]] = values[name]
    return np.asarray(table[labels], dtype=np.float32)


def _places(anatomy: Anatomy, random: np.random.Generator) -> np.ndarray:
    """Voxels of the anatomy (3, i, j, k) that the template's voxels are taken from."""
    grid = load_template("template_2mm").grid
    voxels = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    points = apply_affine(_moved(random), apply_affine(grid.affine, voxels))
    bend = [_smooth(grid.shape, _BEND_MM / _SPACING_MM, random).ravel() for _ in range(3)]
    points = points + random.uniform(0.0, _MOST_BEND_MM) * np.stack(bend, axis=-1) / 2.0
    return np.moveaxis(apply_affine(anatomy.voxel_from_template, points), -1, 0).reshape(3, *grid.shape)


def _moved(random: np.random.Generator) -> Affine:
    """A small turn and stretch about the origin, left and right swapped in half of them."""
    turn = Rotation.from_euler("xyz", random.uniform(-_MOST_DEGREES, _MOST_DEGREES, 3), degrees=True).as_matrix()
    side = np.array([random.choice([-1.0, 1.0]), 1.0, 1.0])
    moved = np.eye(4)
    moved[:3, :3] = turn * (side * random.uniform(1.0 - _MOST_SCALE, 1.0 + _MOST_SCALE, 3))
    return moved


def _smooth(shape: tuple[int, ...], sigma: float, random: np.random.Generator) -> FloatArray:
    """Smooth noise of deviation 1."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-9), dtype=np.float32)
