"""A scan in memory, and the files it comes from and goes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..errors import OutputError, ScanError
from .forms import (
    MOST_SLANTED_COSINE,
    read_slanted,
    slant_cosine,
    too_slanted,
    with_forms,
    write_with_forms,
)
from .geometry import Array, FloatArray, Grid, MaskArray, from_image, to_image
from .nifti import as_named, check_written, nifti_fault, not_finite
from .unknown_values import with_slices, with_values

if TYPE_CHECKING:
    import SimpleITK

Contrast = Literal["T1w", "T2w", "FLAIR", "PD", "unknown"]
CONTRASTS: tuple[Contrast, ...] = ("T1w", "T2w", "FLAIR", "PD")
READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
# Voxels of a brain scan are larger; a unit of metres makes them a thousand times smaller than they are.
_SMALLEST_MM = 0.02
_FREESURFER = (".mgz", ".mgh")
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True, eq=False)
class Scan:
    """One 3D brain scan: float32 values (i, j, k) on ``grid`` (RAS mm), its contrast if known, and its name.

    ``warnings``: what the reader should know of how the file was understood.
    """

    array: FloatArray
    grid: Grid
    contrast: Contrast = "unknown"
    name: str = "scan"
    warnings: tuple[str, ...] = ()


class FromFile(NamedTuple):
    """What a file or folder holds (i, j, k), where, its name, and what to tell of how it was understood."""

    array: Array
    grid: Grid
    name: str
    warnings: Sequence[str] = ()


def read_scan(path: str | Path, contrast: Contrast = "unknown", series: str | None = None) -> Scan:
    """Read NIfTI, NRRD, MetaImage, MGZ or a folder with DICOM images as a checked scan.

    ``series`` chooses one of several in a folder: its number in the list that the refusal gives, or its UID.
    Raises ScanError, in plain words, for what is missing, truncated, of another kind, or not one 3D gray image.
    """
    path = Path(path)
    with _opening(path):
        if not path.exists():
            raise ScanError(f"There is no file or folder '{path}'.", "Check the path.")
        found = _read_folder(path, series) if path.is_dir() else _read_file(path)
    return checked_scan(found.array, found.grid, contrast, found.name, found.warnings)


def checked_scan(
    array: Array, grid: Grid, contrast: Contrast = "unknown", name: str = "scan", warnings: Sequence[str] = ()
) -> Scan:
    """A Scan of any 3D numeric array, after the checks that every door needs. Raises ScanError."""
    _check_shape(array, name)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    values, filled = with_values(values, name)
    _check_values(values, name)
    _check_affine(grid, name)
    values, bridged = with_slices(values)
    return Scan(values, grid, contrast, name, (*warnings, *filled, *bridged))


def read_mask(path: str | Path, scan: Scan, may_be_empty: bool = False) -> MaskArray:
    """A mask on the grid of ``scan``; every voxel above 0 counts. Raises ScanError on another geometry, or if empty."""
    path = Path(path)
    with _opening(path):
        if not path.is_file():
            raise ScanError(f"There is no mask file '{path}'.", "Check the path.")
        found = _read_file(path)
    return checked_mask(found.array, found.grid, scan, found.name, may_be_empty)


def checked_mask(array: Array, grid: Grid, scan: Scan, name: str = "mask", may_be_empty: bool = False) -> MaskArray:
    """``array > 0`` if it lies on the grid of ``scan`` and is not empty. Raises ScanError otherwise."""
    if array.shape != scan.array.shape:
        raise ScanError(
            f"The mask '{name}' has {_size(array.shape)} voxels, the scan '{scan.name}' {_size(scan.array.shape)}.",
            "Give a mask drawn on this scan.",
        )
    if not grid.same_as(scan.grid, tolerance_mm=0.5):
        raise ScanError(
            f"The mask '{name}' lies at another position or orientation than the scan '{scan.name}'.",
            "Resample the mask onto the scan, or give one drawn on it.",
        )
    mask = np.nan_to_num(array) > 0
    if not (may_be_empty or mask.any()):
        raise ScanError(f"The mask '{name}' is empty.", "Give a mask that marks the brain, or none.")
    return np.asarray(mask, dtype=np.bool_)


def write_volume(path: str | Path, array: Array, grid: Grid) -> None:
    """Write an (i, j, k) array with its geometry; the extension chooses the format. Raises OutputError."""
    import SimpleITK

    path = Path(path)
    try:
        if grid.forms is not None and path.name.lower().endswith(_NIFTI):
            write_with_forms(path, array, grid.forms)
        else:
            image = to_image(array, grid)
            SimpleITK.WriteImage(image, str(path), useCompression=True)
            if path.name.lower().endswith(_NIFTI):
                check_written(path, image.GetNumberOfPixels() * image.GetSizeOfPixelComponent())
    except (RuntimeError, OSError) as error:
        raise OutputError(f"'{path}' could not be written.", "Check free disk space and permissions.") from error


def stem(path: Path) -> str:
    """The file name without its (double) extension."""
    for extension in sorted(READABLE, key=len, reverse=True):
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)]
    return path.stem


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Failures of the file system in plain words."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScanError(f"'{path}' cannot be opened: {reason}.", "Check the path and its permissions.") from error


def read_array(path: Path) -> tuple[Array, Grid]:
    """Any volume file's values and grid, unchecked but for one 3D gray image. Raises ScanError."""
    with _opening(path):
        found = _read_file(path)
    return found.array, found.grid


def _read_folder(path: Path, series: str | None) -> FromFile:
    from .dicom import read_series

    return FromFile(*read_series(path, series))


def _read_file(path: Path) -> FromFile:
    if not path.name.lower().endswith(READABLE):
        raise ScanError(
            f"'{path.name}' is not a file type this program reads.",
            f"Give one of {', '.join(READABLE)}, or a folder with a DICOM series.",
        )
    if path.stat().st_size == 0:
        raise ScanError(f"'{path.name}' is an empty file.", "Copy or export the scan again.")
    name = path.name.lower()
    if name.endswith(_FREESURFER):
        return FromFile(*_read_freesurfer(path), stem(path))
    if name.endswith(_NIFTI):
        with as_named(path) as file:
            return _read_nifti(file, path)
    return FromFile(*from_image(_read_with_simpleitk(path, path)), stem(path))


def _read_nifti(file: Path, path: Path) -> FromFile:
    """``file`` is ``path``, or a copy of it with a name that says how it is stored."""
    fault = nifti_fault(file)
    if fault == "NIfTI-2":
        raise ScanError(f"'{path.name}' is a NIfTI-2 file.", "Convert it to NIfTI-1.")
    if fault and fault != "not finite":
        raise _unreadable(path)
    try:
        image = _read_with_simpleitk(file, path)
    except _SlantedAxes:
        array, grid, notes = read_slanted(file)
    else:
        array, grid = from_image(image)
        grid, notes = with_forms(file, grid)
    if fault == "not finite" and array.dtype.kind == "f":
        array = np.where(not_finite(file).reshape(array.shape, order="F"), np.nan, array)
    return FromFile(array, grid, stem(path), notes)


class _SlantedAxes(Exception):
    """SimpleITK reads no file whose axes are not at right angles."""


def _read_with_simpleitk(file: Path, path: Path) -> SimpleITK.Image:
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        raise _SlantedAxes if "orthonormal" in str(error) else _unreadable(path) from error
    return _gray_3d(image, path.name)


def _unreadable(path: Path) -> ScanError:
    return ScanError(
        f"'{path.name}' cannot be read: it is damaged, cut short, or not what its extension says.",
        "Copy or export the scan again.",
    )


def _gray_3d(image: SimpleITK.Image, name: str) -> SimpleITK.Image:
    """The one 3D gray image in ``image``; a trailing axis of length 1 is dropped."""
    if "complex" in image.GetPixelIDTypeAsString():
        raise ScanError(f"'{name}' holds complex numbers.", "Give the magnitude image.")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ScanError(f"'{name}' is a color, vector or time series image.", "Give one gray-value volume.")
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise _not_3d(image.GetSize(), name)
    return image


def _not_3d(shape: tuple[int, ...], name: str) -> ScanError:
    remedy = "Give the whole volume." if len(shape) < 3 else "Split the series and give one volume of it."
    return ScanError(f"'{name}' has {_size(shape)} voxels; one 3D gray volume is needed.", remedy)


def _read_freesurfer(path: Path) -> tuple[Array, Grid]:
    try:
        import nibabel
    except ImportError as error:
        raise ScanError(
            f"Reading '{path.name}' needs the Python package nibabel.", "Install nibabel, or convert the scan to NIfTI."
        ) from error
    try:
        image = nibabel.freesurfer.mghformat.MGHImage.from_filename(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel raises many kinds for damaged files
        raise _unreadable(path) from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    _check_shape(array, path.name)
    return array, Grid((array.shape[0], array.shape[1], array.shape[2]), np.asarray(image.affine, dtype=np.float64))


def _check_shape(array: Array, name: str) -> None:
    if array.dtype.kind == "c":
        raise ScanError(f"'{name}' holds complex numbers.", "Give the magnitude image.")
    if array.ndim != 3 or array.dtype.kind not in "buif":
        raise _not_3d(array.shape, name)
    if array.size == 0:
        raise ScanError(f"'{name}' holds no voxels.", "Export the scan again.")
    if min(array.shape) < 5:
        raise ScanError(
            f"'{name}' has {_size(array.shape)} voxels: too few slices for a 3D analysis.",
            "Give the whole volume, at least five slices in every direction.",
        )


def _check_values(values: FloatArray, name: str) -> None:
    if float(values.min()) == float(values.max()):
        raise ScanError(f"'{name}' has the same value everywhere.", "Export the scan again.")


def _check_affine(grid: Grid, name: str) -> None:
    columns = grid.affine[:3, :3]
    if np.isfinite(grid.affine).all() and 0.0 < max(grid.spacing) < _SMALLEST_MM:
        raise ScanError(
            f"'{name}' has voxels of {_size(tuple(round(s, 4) for s in grid.spacing))} mm: is the unit metres?",
            "Export the scan with its voxel size in millimeters.",
        )
    if not np.isfinite(grid.affine).all() or abs(np.linalg.det(columns)) < 1e-6:
        raise ScanError(f"'{name}' has no usable voxel size or orientation.", "Export the scan again.")
    if slant_cosine(grid.affine) > MOST_SLANTED_COSINE:
        raise too_slanted(name)
    if max(np.asarray(grid.shape) * np.asarray(grid.spacing)) > 1000.0 or max(grid.spacing) > 20.0:
        raise ScanError(
            f"'{name}' has voxels of {_size(tuple(round(s, 2) for s in grid.spacing))} mm, not those of a brain scan.",
            "Correct the voxel size in the file.",
        )


def _size(shape: tuple[float, ...]) -> str:
    return " x ".join(str(value) for value in shape)
