"""Fitting template volumes to the size a network sees, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Part of an axial slice's voxels that must be brain for a 2D network to look at it.
SMALLEST_BRAIN_FRACTION = 0.02


def center_fit(volume: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """A contiguous copy of ``size`` voxels about the middle of the leading axes: cropped, or padded with zeros."""
    fitted = np.zeros((*size, *volume.shape[len(size) :]), dtype=volume.dtype)
    inside, outside = _overlap(volume.shape, size)
    fitted[inside] = volume[outside]
    return fitted


def undo_fit(fitted: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of ``center_fit``: zeros where the fitted volume does not reach."""
    whole = np.zeros((*shape, *fitted.shape[len(shape) :]), dtype=fitted.dtype)
    inside, outside = _overlap(shape, fitted.shape[: len(shape)])
    whole[outside] = fitted[inside]
    return whole


def slices_with_brain(mask: NDArray[np.bool_], least: float = SMALLEST_BRAIN_FRACTION) -> list[int]:
    """Indices of the axial slices (last axis) in which at least ``least`` of all voxels are brain."""
    return [int(index) for index in np.flatnonzero(mask.mean(axis=(0, 1)) >= least)]


def _overlap(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the common part lies in the fitted volume and in the whole one."""
    inside, outside = [], []
    for length, wanted in zip(shape, size, strict=False):
        common = min(length, wanted)
        inside.append(slice((wanted - common) // 2, (wanted - common) // 2 + common))
        outside.append(slice((length - common) // 2, (length - common) // 2 + common))
    return tuple(inside), tuple(outside)
