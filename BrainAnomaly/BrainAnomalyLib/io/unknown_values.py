"""Voxels without a value: NaN and infinity, as other software leaves them outside the brain or in failed voxels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import ScanError
from .geometry import FloatArray, MaskArray

# Of the voxels that show something; more is no scan with a few failed voxels.
_MOST_FILLED = 0.01
_MOST_EMPTY = 2


def with_values(values: FloatArray, name: str) -> tuple[FloatArray, list[str]]:
    """The scan (i, j, k) with a value everywhere, and what to tell the user.

    What reaches the border is background: it gets the background's value, or one below all others. What lies inside
    gets the nearest voxel's value, up to 1 % of the voxels that show something. Raises ScanError for more.
    """
    unknown = ~np.isfinite(values)
    if not unknown.any():
        return values, []
    if unknown.all():
        raise ScanError(f"'{name}' holds nothing but NaN or infinite values.", "Export the scan again.")
    level = _background(values, unknown)
    outside = _reaching_the_border(unknown | (values == level))
    inside, shown = unknown & ~outside, np.count_nonzero(~outside)
    count = np.count_nonzero(inside)
    if count > _MOST_FILLED * shown:
        raise ScanError(
            f"'{name}' has NaN or infinite values at {count} voxels inside the head, {count / shown:.1%} of it.",
            "Export the scan again, or fill them.",
        )
    filled = np.where(unknown & outside, np.float32(level), values)
    if not count:
        return filled, []
    said = f"{count} voxel{'s' if count > 1 else ''} inside the head had no value (NaN or infinite)"
    return _filled(filled, inside), [f"{said} and took that of the nearest voxel."]


def with_slices(values: FloatArray) -> tuple[FloatArray, list[str]]:
    """The scan (i, j, k) with empty slices between others filled in a straight line, and what to tell the user.

    Up to two neighboring slices are filled; more are no failed slices but a gap.
    """
    notes: list[str] = []
    for axis in range(3):
        planes = np.moveaxis(values, axis, 0)
        flat = planes.reshape(len(planes), -1)
        empty = flat.min(axis=1) == flat.max(axis=1)
        shown = np.flatnonzero(~empty)
        for start, stop in _gaps(shown):
            if stop - start - 1 <= _MOST_EMPTY:
                values = values.copy() if not notes else values
                _bridge(np.moveaxis(values, axis, 0), start, stop)
                notes.append(_said(start, stop, axis))
    return values, notes


def _gaps(shown: NDArray[np.intp]) -> list[tuple[int, int]]:
    """The slices that show something before and after each run of empty ones."""
    return [(int(one), int(other)) for one, other in pairwise(shown) if other > one + 1]


def _bridge(planes: FloatArray, start: int, stop: int) -> None:
    for index in range(start + 1, stop):
        share = np.float32((index - start) / (stop - start))
        planes[index] = planes[start] * (1 - share) + planes[stop] * share


def _said(start: int, stop: int, axis: int) -> str:
    several = stop - start > 2
    which = f"{start + 1} and {stop - 1}" if several else f"{start + 1}"
    slices = f"Slices {which}" if several else f"Slice {which}"
    filled = "are empty; they were" if several else "is empty; it was"
    return f"{slices} along the scan's {['first', 'second', 'third'][axis]} axis {filled} interpolated."


def _background(values: FloatArray, unknown: MaskArray) -> float:
    """The value that fills the known part of the border if one does, else 0, or less where values reach below 0."""
    faces = [np.take(array, index, axis=axis).ravel() for array in (values,) for axis in range(3) for index in (0, -1)]
    border = np.concatenate(faces)
    known, counts = np.unique(border[np.isfinite(border)], return_counts=True)
    if known.size and counts.max() > 0.5 * counts.sum():
        return float(known[np.argmax(counts)])
    low, high = float(values[~unknown].min()), float(values[~unknown].max())
    return 0.0 if low > 0.0 else low - 0.01 * (high - low)


def _reaching_the_border(mask: MaskArray) -> MaskArray:
    from scipy import ndimage

    parts = ndimage.label(np.pad(mask, 1, constant_values=True))[0]
    return np.asarray(parts == parts[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _filled(values: FloatArray, holes: MaskArray) -> FloatArray:
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    return np.where(holes, values[tuple(nearest)], values)
