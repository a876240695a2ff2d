"""Reading a folder that holds one DICOM MR series: a file for each slice, or one enhanced multi-frame image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DependencyError, ScanError
from .geometry import LPS_FROM_RAS, Array, Grid, from_image

if TYPE_CHECKING:
    import SimpleITK


def read_series(folder: Path) -> tuple[Array, Grid, str]:
    """Array (i, j, k), grid (RAS mm) and series description of the DICOM series in ``folder``.

    A folder with several image series is refused by name, so that nobody reads the wrong one. Raises ScanError.
    """
    headers = _headers(folder)
    files = _one_series(folder, headers)
    series = [headers[path] for path in files]
    _check_kind(series, folder)
    frames = _frames(series[0], folder) if len(series) == 1 and _is_multi_frame(series[0]) else series
    _check_uniform(frames, folder)
    order = _order(frames, folder)
    if frames is series:
        array, grid = from_image(_read([str(files[index]) for index in order], folder))
    else:
        image = _read(str(files[0]), folder)
        stored = _rescaled(from_image(image)[0], frames)
        array, grid = stored[:, :, order], _grid([frames[index] for index in order])
    return array, grid, str(series[0].get("SeriesDescription", "") or folder.name)


def series_files(folder: Path) -> list[Path]:
    """The image files of the one series in ``folder``. Raises ScanError as ``read_series`` does."""
    return _one_series(folder, _headers(folder))


def _read(files: str | list[str], folder: Path) -> SimpleITK.Image:
    import SimpleITK

    try:
        return SimpleITK.ReadImage(files)
    except RuntimeError as error:
        raise ScanError(f"The DICOM series in '{folder}' cannot be read.", _AGAIN) from error


_SCALING = "PixelValueTransformationSequence"
_AGAIN = "Export the whole series again."
_DIRECTORY = "1.2.840.10008.1.3.10"
_MAGIC_AT, _MAGIC = 128, b"DICM"
_MR_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")


def _headers(folder: Path) -> dict[Path, Any]:
    """Header of every DICOM image file directly in ``folder``."""
    found = {path: _header(path) for path in sorted(folder.iterdir()) if path.is_file()}
    headers = {path: header for path, header in found.items() if header is not None}
    if not headers:
        raise ScanError(f"The folder '{folder}' holds no readable DICOM images.", "Give the folder of one MR series.")
    return headers


def _header(path: Path) -> Any | None:
    """The header of a DICOM image, None for another kind of file. Raises ScanError for an image that is cut short."""
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError("Reading DICOM needs the Python package pydicom.", "Install pydicom.") from error
    if not _is_dicom(path):
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise _damaged(path) from error
    if "SeriesInstanceUID" in header and "Rows" in header:
        return header
    kind = header.get("SOPClassUID", header.file_meta.get("MediaStorageSOPClassUID"))
    if kind in _MR_IMAGES or ("SOPClassUID" not in header and kind != _DIRECTORY):
        raise _damaged(path)
    return None


def _is_dicom(path: Path) -> bool:
    if path.stat().st_size == 0 and path.suffix.lower() == ".dcm":
        raise _damaged(path)
    with path.open("rb") as stream:
        return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def _damaged(path: Path) -> ScanError:
    return ScanError(f"The DICOM file '{path}' is damaged or cut short.", _AGAIN)


def _one_series(folder: Path, headers: dict[Path, Any]) -> list[Path]:
    series: dict[str, list[Path]] = {}
    for path, header in headers.items():
        series.setdefault(str(header.SeriesInstanceUID), []).append(path)
    if len(series) > 1:
        names = [str(headers[files[0]].get("SeriesDescription", "unnamed")) for files in series.values()]
        raise ScanError(
            f"The folder '{folder}' holds {len(series)} series ({', '.join(names[:6])}).",
            "Put one series into a folder of its own.",
        )
    return next(iter(series.values()))


def _check_kind(headers: list[Any], folder: Path) -> None:
    if any(int(header.get("SamplesPerPixel", 1)) > 1 for header in headers):
        raise ScanError(f"The DICOM series in '{folder}' holds color images.", "Give one gray-value series.")
    if str(headers[0].get("Modality", "MR")) != "MR":
        raise ScanError(f"The DICOM series in '{folder}' is {headers[0].Modality}, not MR.", "Give a brain MR series.")
    if len(headers) > 1 and any(_is_multi_frame(header) for header in headers):
        raise ScanError(f"The DICOM series in '{folder}' has several multi-frame images.", "Give one volume of it.")


def _is_multi_frame(header: Any) -> bool:
    return int(header.get("NumberOfFrames", 1) or 1) > 1


def _frames(header: Any, folder: Path) -> list[Any]:
    """A header for each frame of an enhanced MR image, from its functional groups (DICOM PS3.3, C.7.6.16)."""
    try:
        shared = header.SharedFunctionalGroupsSequence[0]
        frames = [_frame(header, shared, own) for own in header.PerFrameFunctionalGroupsSequence]
    except (AttributeError, IndexError):
        frames = []
    if len(frames) != int(header.NumberOfFrames):
        raise ScanError(
            f"The multi-frame image in '{folder}' does not say where its slices lie.", "Convert it to NIfTI."
        )
    return frames


def _frame(header: Any, shared: Any, own: Any) -> Any:
    import pydicom

    frame = pydicom.Dataset()
    frame.Rows, frame.Columns = header.Rows, header.Columns
    frame.PixelSpacing = _group("PixelMeasuresSequence", shared, own).PixelSpacing
    frame.ImageOrientationPatient = _group("PlaneOrientationSequence", shared, own).ImageOrientationPatient
    frame.ImagePositionPatient = _group("PlanePositionSequence", shared, own).ImagePositionPatient
    if _SCALING in own or _SCALING in shared:
        scaling = _group(_SCALING, shared, own)
        frame.RescaleSlope, frame.RescaleIntercept = scaling.RescaleSlope, scaling.RescaleIntercept
    return frame


def _rescaled(array: Array, frames: list[Any]) -> Array:
    """Frames (i, j, frame) each by its own slope and intercept; as read, all have those of the first one."""
    scaling = [(float(frame.get("RescaleSlope", 1)), float(frame.get("RescaleIntercept", 0))) for frame in frames]
    slopes, intercepts = (np.asarray(values) for values in zip(*scaling, strict=True))
    if np.ptp(slopes) == 0.0 and np.ptp(intercepts) == 0.0:
        return array
    stored = (array - intercepts[0]) / slopes[0]
    return np.asarray(stored * slopes + intercepts, dtype=np.float32)


def _group(name: str, shared: Any, own: Any) -> Any:
    return getattr(own if name in own else shared, name)[0]


def _grid(ordered: list[Any]) -> Grid:
    """The RAS grid of slices in order, from their headers (LPS mm)."""
    row, column = np.asarray(ordered[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    first, last = (np.asarray(ordered[index].ImagePositionPatient, dtype=float) for index in (0, -1))
    between_rows, between_columns = (float(value) for value in ordered[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(ordered) - 1), first
    return Grid((int(ordered[0].Columns), int(ordered[0].Rows), len(ordered)), LPS_FROM_RAS @ affine)


def _check_uniform(headers: list[Any], folder: Path) -> None:
    """All slices must share size, voxel size and orientation; localizers do not."""
    for name, length in _GEOMETRY.items():
        try:
            values = np.asarray([header[name].value for header in headers], dtype=float).reshape(len(headers), length)
        except (KeyError, ValueError, TypeError) as error:
            raise ScanError(f"The DICOM series in '{folder}' lacks {name} in some slices.", _AGAIN) from error
        if not np.ptp(values, axis=0).max() <= _SAME:
            raise ScanError(
                f"The DICOM series in '{folder}' has slices of different size or orientation.",
                "Give one volume, not a localizer or a mixed series.",
            )


_GEOMETRY = {"Rows": 1, "Columns": 1, "PixelSpacing": 2, "ImageOrientationPatient": 6}
_SAME = 1e-3
_LARGEST_SLANT_MM = 0.1


def _order(headers: list[Any], folder: Path) -> list[int]:
    """Indices by position along the slice normal; a gap, a repeated position or a slanted stack is refused."""
    if len(headers) == 1:
        return [0]
    row, column = np.asarray(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    corners = _corners(headers, folder)
    if np.ptp(corners @ np.stack([row, column]).T, axis=0).max() > _LARGEST_SLANT_MM:
        raise ScanError(f"The DICOM series in '{folder}' is a slanted stack of slices.", "Give a rectangular volume.")
    heights = corners @ np.cross(row, column)
    steps = np.diff(np.sort(heights))
    if steps.min() < _SAME:
        raise ScanError(f"The DICOM series in '{folder}' has several images at one position.", "Give one volume of it.")
    if steps.max() > 1.1 * float(np.median(steps)) + _SAME:
        raise ScanError(f"The DICOM series in '{folder}' has missing slices.", _AGAIN)
    return [int(index) for index in np.argsort(heights)]


def _corners(headers: list[Any], folder: Path) -> NDArray[np.float64]:
    """Position (n, 3) of the first voxel of each slice in LPS mm."""
    try:
        corners = np.asarray([header.ImagePositionPatient for header in headers], dtype=float).reshape(-1, 3)
    except (AttributeError, ValueError, TypeError):
        corners = np.empty((0, 3))
    if len(corners) != len(headers) or not np.isfinite(corners).all():
        raise ScanError(f"The DICOM series in '{folder}' lacks slice positions.", _AGAIN)
    return corners
