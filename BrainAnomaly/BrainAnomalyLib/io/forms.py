"""The two places that a NIfTI header states for its voxels, qform and sform, where one alone does not say it all.

Most files state one place, or the same one twice, and need nothing of this. Where both differ, or the axes are not at
right angles, results are written with what the scan's own file states, and the reader is told what was followed.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import ScanError
from .geometry import Affine, Array, Forms, Grid, right_angled
from .nifti import byte_order, read_header

# As near to right angles as resampling and rounding leave them; what is beyond the second is no scan of a brain.
_RIGHT_ANGLE_COSINE = float(np.sin(np.radians(1.0)))
MOST_SLANTED_COSINE = float(np.sin(np.radians(15.0)))
_SAME_MM = 0.5
_CHECK_SIDES = "Check which side is which before you rely on left and right."


def with_forms(path: Path, grid: Grid) -> tuple[Grid, list[str]]:
    """``grid`` as SimpleITK read it from a NIfTI file, with its forms where they differ, and what to tell the user."""
    forms = _stated(path)
    if forms.sform is None or _same(forms.sform, forms.qform if forms.qform is not None else grid.affine, grid):
        return grid, []
    if forms.qform is None:
        note = "The voxel sizes in the header disagree with its sform, which was followed."
        return Grid(grid.shape, forms.sform), [note]
    followed, other = ("qform", "sform") if _same(forms.qform, grid.affine, grid) else ("sform", "qform")
    stated = Grid(grid.shape, grid.affine, forms)
    if np.linalg.det(forms.qform[:3, :3]) * np.linalg.det(forms.sform[:3, :3]) < 0.0:
        return stated, [
            f"The file's two orientation entries disagree on left and right; its {followed} was followed, not its "
            f"{other}. {_CHECK_SIDES}"
        ]
    return stated, [f"The file states two different positions; its {followed} was followed, not its {other}."]


def read_slanted(path: Path) -> tuple[Array, Grid, list[str]]:
    """A NIfTI file whose axes are not at right angles, which SimpleITK does not read. Raises ScanError if far from it.

    Up to 1 degree the grid is the nearest rectangular one; beyond that it is the slanted one itself.
    """
    import nibabel

    image = nibabel.nifti1.Nifti1Image.from_filename(path)
    qform, qform_code = image.header.get_qform(coded=True)
    sform, sform_code = image.header.get_sform(coded=True)
    forms = Forms(qform, int(qform_code), sform, int(sform_code))
    affine = np.asarray(forms.sform if forms.sform is not None else image.affine, dtype=np.float64)
    slant = slant_cosine(affine)
    if slant > MOST_SLANTED_COSINE:
        raise too_slanted(path.name)
    array = np.asanyarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise ScanError(
            f"'{path.name}' has {array.ndim} dimensions; one 3D gray volume is needed.", "Split the series."
        )
    shape = (array.shape[0], array.shape[1], array.shape[2])
    degrees = float(np.degrees(np.arcsin(slant)))
    said = f"The scan's axes are {degrees:.2g} degrees off right angles"
    if slant <= _RIGHT_ANGLE_COSINE:
        note = f"{said}; the nearest rectangular grid was taken. Results are on the scan's own grid."
        return array, Grid(shape, rectangular(affine, shape), forms), [note]
    note = f"{said}; it was resampled for the analysis. Results are on the scan's own slanted grid."
    return array, Grid(shape, affine, forms), [note]


def _stated(path: Path) -> Forms:
    """Both forms of a file by its header (nifti1.h, methods 2 and 3); None for one that is missing or useless."""
    header = read_header(path)
    order = byte_order(header)
    qform_code, sform_code = struct.unpack_from(order + "2h", header, 252)
    sform = np.eye(4)
    sform[:3] = np.reshape(struct.unpack_from(order + "12f", header, 280), (3, 4))
    useful = sform_code > 0 and np.isfinite(sform).all() and slant_cosine(sform) <= _RIGHT_ANGLE_COSINE
    qform = _qform(header, order) if qform_code > 0 else None
    return Forms(qform, qform_code, sform if useful else None, sform_code)


def _qform(header: bytes, order: str) -> Affine | None:
    handed, *spacing = struct.unpack_from(order + "4f", header, 76)
    b, c, d, *origin = struct.unpack_from(order + "6f", header, 256)
    if not np.isfinite([*spacing, b, c, d, *origin]).all() or min(spacing) <= 0.0:
        return None
    qform = np.eye(4)
    turn = Rotation.from_quat([b, c, d, np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))]).as_matrix()
    qform[:3, :3] = turn * spacing * np.array([1.0, 1.0, -1.0 if handed < 0.0 else 1.0])
    qform[:3, 3] = origin
    return qform


def write_with_forms(path: Path, array: Array, forms: Forms) -> None:
    """Write a NIfTI file that states what ``forms`` say. Raises OSError."""
    import nibabel

    values = array.astype(np.uint8) if array.dtype == np.bool_ else array
    image = nibabel.nifti1.Nifti1Image(values, None)
    image.set_qform(forms.qform, forms.qform_code)
    image.set_sform(forms.sform, forms.sform_code)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def slant_cosine(affine: Affine) -> float:
    """Largest cosine between two axes of a grid; 0 at right angles, 1 where that cannot be told."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return 1.0
    direction = affine[:3, :3] / lengths
    return float(np.abs(direction.T @ direction - np.eye(3)).max())


def too_slanted(name: str) -> ScanError:
    """What is said of axes further from right angles than any scanner's."""
    return ScanError(
        f"'{name}' has a sheared orientation matrix, which no scanner produces.",
        "Resample it to a rectangular grid, or export the original scan again.",
    )


def rectangular(affine: Affine, shape: tuple[int, int, int]) -> Affine:
    """The nearest affine with axes at right angles, of the same voxel sizes and the same middle."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = (np.asarray(shape) - 1.0) / 2.0
    found = np.eye(4)
    found[:3, :3] = right_angled(affine[:3, :3] / spacing) * spacing
    found[:3, 3] = affine[:3, :3] @ middle + affine[:3, 3] - found[:3, :3] @ middle
    return found


def _same(first: Affine, second: Affine, grid: Grid) -> bool:
    """Whether all corners of the grid lie at the same points."""
    i, j, k = ((0, size - 1) for size in grid.shape)
    corners = np.array([(a, b, c, 1.0) for a in i for b in j for c in k]).T
    return bool(np.abs((first - second) @ corners).max() < _SAME_MM)
