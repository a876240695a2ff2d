"""Reading a folder that holds one DICOM MR series: a file for each slice, or one enhanced multi-frame image."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DependencyError, ScanError
from .dicom_series import one_series
from .geometry import LPS_FROM_RAS, Array, Grid, from_image

if TYPE_CHECKING:
    import SimpleITK


def read_series(folder: Path, chosen: str | None = None) -> tuple[Array, Grid, str, list[str]]:
    """Array (i, j, k), grid (RAS mm), description and warnings of the DICOM series in ``folder``.

    A folder with several image series is refused with a list of them unless one is ``chosen`` by its number there or
    its UID, so that nobody reads the wrong one. An image that is there twice counts once; up to two slices missing at
    one place are interpolated and said. Raises ScanError.
    """
    headers = _headers(folder)
    files = _without_copies(one_series(folder, headers, chosen), headers)
    series = [headers[path] for path in files]
    _check_kind(series, folder)
    frames = frame_headers(series[0], folder) if len(series) == 1 and is_multi_frame(series[0]) else series
    _check_uniform(frames, folder)
    order, gap = _order(frames, folder)
    if frames is series:
        array = from_image(_read([str(files[index]) for index in order], folder))[0]
    else:
        array = _rescaled(from_image(_read(str(files[0]), folder))[0], frames)[:, :, order]
    ordered, name = [frames[index] for index in order], str(series[0].get("SeriesDescription", "") or folder.name)
    if gap is None:
        return array, _grid(ordered, len(ordered)), name, []
    return _bridged(array, gap), _grid(ordered, len(ordered) + gap.missing), name, [gap.sentence()]


def series_files(folder: Path, chosen: str | None = None) -> list[Path]:
    """The image files of the series that ``read_series`` reads. Raises ScanError as it does."""
    headers = _headers(folder)
    return _without_copies(one_series(folder, headers, chosen), headers)


def study_date(folder: Path) -> date | None:
    """When the images in a folder were acquired, None where they do not say so or the folder holds none."""
    for path in sorted(folder.iterdir()):
        header = _header(path) if path.is_file() else None
        text = "" if header is None else str(header.get("AcquisitionDate", "") or header.get("StudyDate", ""))
        if re.fullmatch(r"\d{8}", text):
            with suppress(ValueError):
                return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return None


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


def _without_copies(files: list[Path], headers: dict[Path, Any]) -> list[Path]:
    """One file for each image: copies of it have its UID."""
    images: dict[str, Path] = {}
    for path in files:
        images.setdefault(str(headers[path].get("SOPInstanceUID", "") or path), path)
    return list(images.values())


def _check_kind(headers: list[Any], folder: Path) -> None:
    if any(int(header.get("SamplesPerPixel", 1)) > 1 for header in headers):
        raise ScanError(f"The DICOM series in '{folder}' holds color images.", "Give one gray-value series.")
    if str(headers[0].get("Modality", "MR")) != "MR":
        raise ScanError(f"The DICOM series in '{folder}' is {headers[0].Modality}, not MR.", "Give a brain MR series.")
    if len(headers) > 1 and any(is_multi_frame(header) for header in headers):
        raise ScanError(f"The DICOM series in '{folder}' has several multi-frame images.", "Give one volume of it.")


def is_multi_frame(header: Any) -> bool:
    """Whether a header is that of an image with several frames."""
    return int(header.get("NumberOfFrames", 1) or 1) > 1


def frame_headers(header: Any, folder: Path) -> list[Any]:
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


def _grid(ordered: list[Any], count: int) -> Grid:
    """The RAS grid of ``count`` slices from the first to the last of ``ordered``, by their headers (LPS mm)."""
    row, column = np.asarray(ordered[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    first, last = (np.asarray(ordered[index].ImagePositionPatient, dtype=float) for index in (0, -1))
    between_rows, between_columns = (float(value) for value in ordered[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2], affine[:3, 3] = (last - first) / max(count - 1, 1), first
    return Grid((int(ordered[0].Columns), int(ordered[0].Rows), count), LPS_FROM_RAS @ affine)


class _Gap(NamedTuple):
    """``missing`` slices behind the one of index ``behind`` in order."""

    behind: int
    missing: int

    def sentence(self) -> str:
        """What the reader should know."""
        slices = "One slice is" if self.missing == 1 else f"{self.missing} slices are"
        filled = "it was" if self.missing == 1 else "they were"
        return f"{slices} missing behind slice {self.behind + 1} of the series; {filled} interpolated."


def _bridged(array: Array, gap: _Gap) -> Array:
    """Slices (i, j, k) with those of the gap in a straight line between its neighbors."""
    before, after = (array[:, :, gap.behind + step].astype(np.float32) for step in (0, 1))
    shares = np.arange(1, gap.missing + 1) / (gap.missing + 1.0)
    between = before[..., None] * (1.0 - shares) + after[..., None] * shares
    parts = (array[:, :, : gap.behind + 1], between, array[:, :, gap.behind + 1 :])
    return np.concatenate(parts, axis=2).astype(np.float32)


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
# A gap is bridged in a volume only.
_MOST_MISSING, _FEWEST_STEPS = 2, 8


def _order(headers: list[Any], folder: Path) -> tuple[list[int], _Gap | None]:
    """Indices by position along the slice normal and the one small gap, if any.

    Larger or several gaps, a repeated position or a slanted stack are refused.
    """
    if len(headers) == 1:
        return [0], None
    row, column = np.asarray(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    corners = _corners(headers, folder)
    if np.ptp(corners @ np.stack([row, column]).T, axis=0).max() > _LARGEST_SLANT_MM:
        raise ScanError(f"The DICOM series in '{folder}' is a slanted stack of slices.", "Give a rectangular volume.")
    heights = corners @ np.cross(row, column)
    steps = np.diff(np.sort(heights))
    if steps.min() < _SAME:
        raise ScanError(f"The DICOM series in '{folder}' has several images at one position.", "Give one volume of it.")
    return [int(index) for index in np.argsort(heights)], _gap(steps, folder)


def _gap(steps: NDArray[np.float64], folder: Path) -> _Gap | None:
    """The one place where up to two slices are missing, by the distances of neighbors; more are refused."""
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.1 * usual + _SAME)
    if not len(wide):
        return None
    missing = round(float(steps[wide[0]]) / usual) - 1
    whole = abs(float(steps[wide[0]]) - (missing + 1) * usual) < 0.1 * usual
    if len(wide) > 1 or len(steps) < _FEWEST_STEPS or not whole or not 1 <= missing <= _MOST_MISSING:
        raise ScanError(f"The DICOM series in '{folder}' has missing slices.", _AGAIN)
    return _Gap(int(wide[0]), missing)


def _corners(headers: list[Any], folder: Path) -> NDArray[np.float64]:
    """Position (n, 3) of the first voxel of each slice in LPS mm."""
    try:
        corners = np.asarray([header.ImagePositionPatient for header in headers], dtype=float).reshape(-1, 3)
    except (AttributeError, ValueError, TypeError):
        corners = np.empty((0, 3))
    if len(corners) != len(headers) or not np.isfinite(corners).all():
        raise ScanError(f"The DICOM series in '{folder}' lacks slice positions.", _AGAIN)
    return corners
