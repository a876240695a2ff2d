"""Where the brain is: a mask given by the user, an image that is already stripped, or a brain extraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import PreparationError
from ...io.geometry import Array, FloatArray, Grid, MaskArray, isotropic_grid, resample
from ...io.volumes import Scan
from ..space.orientation import to_ras

BrainMaskMethod = Literal["auto", "network", "registration", "hd-bet", "deepbet", "stripped"]
_NETWORK_SPACING_MM = 2.0
_SMALLEST_BRAIN_ML = 300.0
_LARGEST_BRAIN_ML = 2300.0
_LARGEST_BRAIN_SECTION_CM2 = 215.0
_SMALLEST_BACKGROUND = 0.3
_LARGEST_PART = 0.9


@dataclass(frozen=True, eq=False)
class BrainMask:
    """A brain mask (i, j, k) on the scan's grid and how it was found (``given`` for a user's mask)."""

    mask: MaskArray
    method: str


def find_brain(scan: Scan, method: BrainMaskMethod = "auto", given: MaskArray | None = None) -> BrainMask:
    """The brain of ``scan``: ``given`` if there is one, else what ``method`` finds.

    ``auto`` recognizes an image that is already brain-extracted, otherwise uses the embedded network, and lays the
    template onto the head where the network finds nothing of a brain's size.
    Raises PreparationError when what was found is not the size of a brain.
    """
    if given is not None:
        return _checked(BrainMask(given, "given"), scan)
    stripped = stripped_brain(scan) if method in ("auto", "stripped") else None
    if stripped is not None:
        return _checked(BrainMask(stripped, "stripped"), scan)
    chosen = "network" if method == "auto" else method
    found = BrainMask(_extract(scan, chosen), chosen)
    if method == "auto" and not _size_of_a_brain(found.mask, scan.grid):
        found = BrainMask(_extract(scan, "registration"), "registration")
    return _checked(found, scan)


def stripped_brain(scan: Scan) -> MaskArray | None:
    """The brain mask of an image that is already brain-extracted, or None if it shows more than a brain.

    Extracted images have one exact background value; what is left is one piece with a brain's volume (300-2300 mL)
    and a brain's largest axial section (< 215 cm2; adult heads exceed 230 cm2 at the same level).
    """
    from scipy import ndimage

    background = _background_value(scan.array)
    foreground = scan.array != background
    if 1.0 - foreground.mean() < _SMALLEST_BACKGROUND or _touches_every_side(foreground):
        return None
    largest = _largest_component(foreground)
    if largest.sum() < _LARGEST_PART * foreground.sum():
        return None
    mask = ndimage.binary_fill_holes(largest)
    slim = _largest_axial_section_cm2(mask, scan.grid) < _LARGEST_BRAIN_SECTION_CM2
    return mask if slim and _size_of_a_brain(mask, scan.grid) else None


def _extract(scan: Scan, method: str) -> MaskArray:
    if method == "network":
        return _by_network(scan)
    if method == "registration":
        from .by_registration import brain_by_registration

        return brain_by_registration(scan)
    if method == "stripped":
        raise PreparationError(
            f"'{scan.name}' is not a brain-extracted image.", "Choose another brain mask method, or give a mask."
        )
    from .tools import brain_by_tool

    return brain_by_tool(scan, method)


def _by_network(scan: Scan) -> MaskArray:
    """The embedded network on the scan at 2 mm in RAS order; its probability is brought back linearly."""
    from .network import clean_mask, segment_brain_2mm

    array, grid = to_ras(scan.array, scan.grid)
    coarse = isotropic_grid(grid, _NETWORK_SPACING_MM)
    probability = segment_brain_2mm(np.asarray(resample(array, grid, coarse), dtype=np.float32))
    kept: FloatArray = np.where(clean_mask(probability), probability, 0.0).astype(np.float32)
    return np.asarray(resample(kept, coarse, scan.grid) > 0.5)


def _checked(brain: BrainMask, scan: Scan) -> BrainMask:
    if not _size_of_a_brain(brain.mask, scan.grid):
        volume = scan.grid.volume_ml(brain.mask)
        raise PreparationError(
            f"No brain was found in '{scan.name}': the brain mask ({brain.method}) measures {volume:.0f} mL.",
            "Check that this is a brain scan with a correct voxel size, or give a brain mask.",
        )
    return brain


def _background_value(array: FloatArray) -> float:
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


def _size_of_a_brain(mask: MaskArray, grid: Grid) -> bool:
    return _SMALLEST_BRAIN_ML < grid.volume_ml(mask) < _LARGEST_BRAIN_ML


def _largest_axial_section_cm2(mask: Array, grid: Grid) -> float:
    oriented, ras = to_ras(mask, grid)
    return float(oriented.sum(axis=(0, 1)).max()) * ras.spacing[0] * ras.spacing[1] / 100.0
