"""Lesions of real shape written into healthy prepared scans, with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from BrainAnomalyLib.io.geometry import FloatArray, MaskArray
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.preparation.prepared import PreparedScan

_SMALL_ML, _SCATTERED, _RATHER_WHITE = 4.0, 14, 0.4


@dataclass(frozen=True, eq=False)
class LesionCase:
    """A prepared scan with one inserted lesion, its mask on the template grid, and its size in mL."""

    prepared: PreparedScan
    lesion: MaskArray
    volume_ml: float


def lesion_shapes(folder: Path) -> list[Path]:
    """Lesion masks in MNI space, in a fixed order."""
    return sorted(folder.glob("*.nii.gz"))


def insert_lesion(prepared: PreparedScan, shape: Path, contrast: float) -> LesionCase:
    """Multiply a shape's voxels by ``1 + contrast`` (soft edge of 0.7 voxels); the lesion is cut to the brain.

    The shapes lie in MNI152 space, the prepared scan in ICBM152: the same space to a few mm, which is enough here.
    """
    return _brightened(prepared, _placed(prepared, shape), contrast)


def insert_scattered(
    prepared: PreparedScan, shapes: Sequence[Path], contrast: float, random: np.random.Generator
) -> LesionCase:
    """Many small lesions in white matter on both sides, as multiple sclerosis has them, brighter by ``contrast``.

    Shapes of at most 4 mL are drawn, every other one is mirrored, and all are cut to where the template expects white
    matter rather than not.
    """
    grid, lesion, count = prepared.template.grid, np.zeros_like(prepared.brain_mask), 0
    for index in random.permutation(len(shapes)):
        placed = _placed(prepared, shapes[int(index)])
        if not 0.0 < grid.volume_ml(placed) <= _SMALL_ML:
            continue
        lesion |= placed[::-1] if count % 2 else placed
        count += 1
        if count == _SCATTERED:
            break
    lesion &= prepared.brain_mask & (prepared.template.white_matter > _RATHER_WHITE)
    return _brightened(prepared, lesion, contrast)


def insert_texture(prepared: PreparedScan, shape: Path, seed: int, strength: float = 0.25) -> LesionCase:
    """Fill a shape with smooth noise about its own mean intensity: a texture that is wrong, a mean that is right.

    ``strength`` is the noise's standard deviation relative to the mean; its grains are about 2 voxels wide.
    """
    lesion = _placed(prepared, shape)
    if not lesion.any():
        return LesionCase(prepared, lesion, 0.0)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(lesion.shape), 1.0)
    mean = float(prepared.image[lesion].mean())
    filling = mean * (1.0 + strength * (noise - noise[lesion].mean()) / max(float(noise[lesion].std()), 1e-6))
    soft = _soft(lesion)
    image = prepared.image + soft * (np.maximum(filling, 0.0) - prepared.image)
    changed = replace(prepared, image=np.where(prepared.brain_mask, image, 0.0).astype(np.float32))
    return LesionCase(changed, lesion, prepared.template.grid.volume_ml(lesion))


def _brightened(prepared: PreparedScan, lesion: MaskArray, contrast: float) -> LesionCase:
    gain = 1.0 + contrast * _soft(lesion)
    changed = replace(prepared, image=(prepared.image * gain).astype(np.float32))
    return LesionCase(changed, lesion, prepared.template.grid.volume_ml(lesion))


def _placed(prepared: PreparedScan, shape: Path) -> MaskArray:
    source = read_scan(shape)
    soft: FloatArray = resample((source.array > 0).astype(np.float32), source.grid, prepared.template.grid)
    return np.asarray((soft > 0.5) & prepared.brain_mask)


def _soft(lesion: MaskArray) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(lesion.astype(np.float32), 0.7), dtype=np.float32)
