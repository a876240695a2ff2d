"""Whether an image is already brain-extracted, and the brain mask that it shows then."""

from __future__ import annotations

import numpy as np

from ...io.geometry import Array, FloatArray, Grid, MaskArray, isotropic_grid
from ...io.resampling import resample
from ...io.volumes import Scan
from ..space.orientation import to_ras
from .size import size_of_a_brain

_LARGEST_BRAIN_SECTION_CM2 = 215.0
_SMALLEST_BACKGROUND = 0.3
_LARGEST_PART = 0.9
# Scalp and face lie outside the brain: at least 17 % of heads of full size, at most 11 % of 83 stripped brains
# (Testing/benchmarks/stripped.py); taking a stripped brain for a head would cost its border.
MOST_OUTSIDE = 0.14
# A dark gap and a bright shell about the image, in mm: the network expects a head, and finds the brain in one.
_SHELL_MM, _SHELL_BRIGHTNESS, _ROOM_VOXELS = (6.0, 14.0), 0.8, 10
_SPACING_MM = 2.0


def stripped_brain(scan: Scan) -> MaskArray | None:
    """The brain mask of an image that is already brain-extracted, or None if it shows more than a brain.

    Extracted images have one exact background value; what is left is one piece with a brain's volume (300-2300 mL)
    and a brain's largest axial section (< 215 cm2; adult heads exceed 230 cm2 at the same level). A child's head can
    have all that: ``is_head`` tells it from a brain.
    """
    from scipy import ndimage

    background = background_value(scan.array)
    foreground = scan.array != background
    if 1.0 - foreground.mean() < _SMALLEST_BACKGROUND or _touches_every_side(foreground):
        return None
    largest = _largest_component(foreground)
    if largest.sum() < _LARGEST_PART * foreground.sum():
        return None
    mask = ndimage.binary_fill_holes(largest)
    slim = _largest_axial_section_cm2(mask, scan.grid) < _LARGEST_BRAIN_SECTION_CM2
    return mask if slim and size_of_a_brain(mask, scan.grid) else None


def is_head(scan: Scan, mask: MaskArray) -> bool:
    """Whether an image of one value outside ``mask`` (i, j, k) shows a head: the brain found in it is much smaller."""
    return share_outside_brain(scan, mask) > MOST_OUTSIDE


def share_outside_brain(scan: Scan, mask: MaskArray) -> float:
    """Share of ``mask`` (i, j, k) that the embedded network takes for no brain once a skull-like shell is about it."""
    from scipy import ndimage

    from .network import clean_mask, segment_brain_2mm

    inside, grid = to_ras(mask.astype(np.float32), scan.grid)
    dark, bright = float(scan.array[mask].min()), float(np.percentile(scan.array[mask], 90.0))
    array = to_ras(np.where(mask, scan.array, dark), scan.grid)[0]
    coarse = isotropic_grid(grid, _SPACING_MM)
    seen = np.pad(resample(inside, grid, coarse), _ROOM_VOXELS) > 0.5
    image = np.pad(resample(array, grid, coarse), _ROOM_VOXELS, constant_values=dark)
    away = _SPACING_MM * ndimage.distance_transform_edt(~seen)
    shell = (away > _SHELL_MM[0]) & (away < _SHELL_MM[1])
    image = np.where(seen, image, np.where(shell, dark + _SHELL_BRIGHTNESS * (bright - dark), dark))
    brain = clean_mask(segment_brain_2mm(image.astype(np.float32)))
    return float(np.mean(~brain[seen]))


def background_value(array: FloatArray) -> float:
    """The most frequent value on the faces of the volume."""
    faces = [np.take(array, index, axis=axis).ravel() for axis in range(3) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[np.argmax(counts)])


def _touches_every_side(foreground: MaskArray) -> bool:
    return all(np.take(foreground, index, axis=axis).mean() > 0.02 for axis in range(3) for index in (0, -1))


def _largest_component(mask: MaskArray) -> MaskArray:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _largest_axial_section_cm2(mask: Array, grid: Grid) -> float:
    oriented, ras = to_ras(mask, grid)
    return float(oriented.sum(axis=(0, 1)).max()) * ras.spacing[0] * ras.spacing[1] / 100.0
