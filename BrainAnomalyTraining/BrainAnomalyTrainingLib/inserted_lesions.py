"""Lesions of real shape written into healthy prepared scans, with known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from BrainAnomalyLib.geometry import FloatArray, MaskArray, resample
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.volumes import read_scan


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
    source = read_scan(shape)
    soft: FloatArray = resample((source.array > 0).astype(np.float32), source.grid, prepared.template.grid)
    lesion: MaskArray = (soft > 0.5) & prepared.brain_mask
    gain = 1.0 + contrast * ndimage.gaussian_filter(lesion.astype(np.float32), 0.7)
    changed = replace(prepared, image=(prepared.image * gain).astype(np.float32))
    return LesionCase(changed, lesion, prepared.template.grid.volume_ml(lesion))
