"""Reading a folder that holds one DICOM MR series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DependencyError, ScanError
from .geometry import Array, Grid, from_image


def read_series(folder: Path) -> tuple[Array, Grid, str]:
    """Array (i, j, k), grid (RAS mm) and series description of the DICOM series in ``folder``.

    A folder with several image series is refused by name, so that nobody reads the wrong one. Raises ScanError.
    """
    import SimpleITK

    headers = _headers(folder)
    files = _one_series(folder, headers)
    _check_kind([headers[path] for path in files], folder)
    _check_uniform([headers[path] for path in files], folder)
    ordered = _ordered(files, headers, folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in ordered])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ScanError(f"The DICOM series in '{folder}' cannot be read.", _AGAIN) from error
    array, grid = from_image(image)
    return array, grid, str(headers[files[0]].get("SeriesDescription", "") or folder.name)


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
    if any(int(header.get("NumberOfFrames", 1) or 1) > 1 for header in headers):
        raise ScanError(f"The DICOM series in '{folder}' is multi-frame.", "Convert it to NIfTI and give that file.")


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


def _ordered(files: list[Path], headers: dict[Path, Any], folder: Path) -> list[Path]:
    """Files by position along the slice normal; a gap, a repeated position or a slanted stack is refused."""
    if len(files) == 1:
        return files
    row, column = np.asarray(headers[files[0]].ImageOrientationPatient, dtype=float).reshape(2, 3)
    corners = _corners([headers[path] for path in files], folder)
    if np.ptp(corners @ np.stack([row, column]).T, axis=0).max() > _LARGEST_SLANT_MM:
        raise ScanError(f"The DICOM series in '{folder}' is a slanted stack of slices.", "Give a rectangular volume.")
    heights = corners @ np.cross(row, column)
    steps = np.diff(np.sort(heights))
    if steps.min() < _SAME:
        raise ScanError(f"The DICOM series in '{folder}' has several images at one position.", "Give one volume of it.")
    if steps.max() > 1.1 * float(np.median(steps)) + _SAME:
        raise ScanError(f"The DICOM series in '{folder}' has missing slices.", _AGAIN)
    return [files[index] for index in np.argsort(heights)]


def _corners(headers: list[Any], folder: Path) -> NDArray[np.float64]:
    """Position (n, 3) of the first voxel of each slice in LPS mm."""
    try:
        corners = np.asarray([header.ImagePositionPatient for header in headers], dtype=float).reshape(-1, 3)
    except (AttributeError, ValueError, TypeError):
        corners = np.empty((0, 3))
    if len(corners) != len(headers) or not np.isfinite(corners).all():
        raise ScanError(f"The DICOM series in '{folder}' lacks slice positions.", _AGAIN)
    return corners
