"""The DICOM images of a scan: a file for each slice or one enhanced multi-frame image, and values at their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DependencyError, ScanError
from ...io.dicom import frame_headers, is_multi_frame
from ...io.geometry import LPS_FROM_RAS, Affine, Array, Grid, inverse
from ..whole_file import whole_file

# Type 2 attributes of patient, study and equipment (DICOM PS3.3, C.7.1.1 and C.7.2.1): present, empty where unknown.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_NEEDED = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")


@dataclass(frozen=True, eq=False)
class SourceImages:
    """``images`` are pydicom data sets, one for each slice or one multi-frame; ``frames`` the header of each slice."""

    images: tuple[Any, ...]
    frames: tuple[Any, ...]

    @property
    def is_multi_frame(self) -> bool:
        """Whether one image holds all slices."""
        return len(self.images) == 1 and is_multi_frame(self.images[0])

    def sampled(self, volume: Array, grid: Grid) -> Array:
        """The volume (i, j, k on ``grid``, RAS mm) at the nearest voxel of each pixel (frame, row, column); 0 outside.

        Frames have the order of ``frames``.
        """
        return np.stack([_sampled(volume, grid, frame) for frame in self.frames])


def source_images(files: Sequence[Path]) -> SourceImages:
    """The images in ``files``, in any order. Raises ScanError in plain words where they lack what DICOM asks for."""
    pydicom = libraries()[1]
    try:
        images = [_with_required(pydicom.dcmread(path)) for path in files]
        if not images:
            raise ScanError("There are no DICOM images of the scan.", "Give the folder of its series.")
        _check_needed(images)
        if any(is_multi_frame(image) for image in images):
            return _multi_frame(images)
        normal = np.cross(*np.asarray(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
        images.sort(key=lambda image: float(normal @ np.asarray(image.ImagePositionPatient, dtype=float)))
    except (OSError, AttributeError, ValueError, pydicom.errors.InvalidDicomError) as error:
        raise ScanError("The scan's DICOM images cannot be read.", "Import the series into Slicer again.") from error
    return SourceImages(tuple(images), tuple(images))


def _check_needed(images: Sequence[Any]) -> None:
    for keyword in _NEEDED:
        if not all(image.get(keyword) for image in images):
            raise ScanError(
                f"The scan's DICOM images lack {keyword}, which objects that refer to them need.",
                "Export the series from the archive again, or keep the NIfTI results.",
            )


def _multi_frame(images: list[Any]) -> SourceImages:
    if len(images) > 1:
        raise ScanError("The scan has several multi-frame images.", "Give one volume of it.")
    return SourceImages(tuple(images), tuple(frame_headers(images[0], Path(str(images[0].filename)).parent)))


def _with_required(image: Any) -> Any:
    """The image with empty values where scanners or anonymizers leave out what must be there, as unknown."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in image:
            setattr(image, keyword, "")
    return image


def _sampled(volume: Array, grid: Grid, frame: Any) -> Array:
    index_from_pixel = inverse(grid.affine) @ LPS_FROM_RAS @ _lps_from_pixel(frame)
    rows, columns = np.mgrid[0 : int(frame.Rows), 0 : int(frame.Columns)]
    points = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1) @ index_from_pixel.T
    nearest = np.rint(points[..., :3]).astype(int)
    inside = ((nearest >= 0) & (nearest < np.asarray(volume.shape))).all(axis=-1)
    found = np.zeros(rows.shape, dtype=volume.dtype)
    found[inside] = volume[tuple(nearest[inside].T)]
    return found


def _lps_from_pixel(frame: Any) -> Affine:
    """4x4 map from (column, row, 0, 1) to LPS mm (DICOM PS3.3, C.7.6.2.1.1)."""
    along_row, along_column = np.asarray(frame.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in frame.PixelSpacing)
    matrix = np.eye(4)
    matrix[:3, 0] = along_row * between_columns
    matrix[:3, 1] = along_column * between_rows
    matrix[:3, 2] = np.cross(along_row, along_column)
    matrix[:3, 3] = np.asarray(frame.ImagePositionPatient, dtype=float)
    return matrix


def saved(made: Any, path: Path) -> Path:
    """Write a DICOM object whole or not at all. Raises OutputError."""
    with whole_file(path, f"'{path}'") as fresh:
        made.save_as(fresh, enforce_file_format=True)
    return path


def libraries() -> tuple[Any, Any]:
    """highdicom and pydicom. Raises DependencyError."""
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise DependencyError(
            f"DICOM results need the Python package {error.name}.", "Use 3D Slicer 5.12 or newer, or install highdicom."
        ) from error
    return highdicom, pydicom
