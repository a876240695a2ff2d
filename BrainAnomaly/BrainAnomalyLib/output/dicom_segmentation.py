"""Findings as a DICOM Segmentation object that refers to the images of the scan (DICOM PS3.3, A.51)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import DependencyError, OptionsError, OutputError, ScanError
from ..io.geometry import LPS_FROM_RAS, Affine, Array, Grid, MaskArray, inverse

if TYPE_CHECKING:
    from ..detection import Detection
    from .origin import Origin

SERIES_DESCRIPTION = "Anomalous regions, research only"
# What an unsupervised detector finds is of unknown kind: "Lesion" is the least that SNOMED CT can say.
_CATEGORY = ("49755003", "SCT", "Morphologically Altered Structure")
_TYPE = ("52988006", "SCT", "Lesion")
_REGION = ("12738006", "SCT", "Brain")
_FAMILY = ("123109", "DCM", "Artificial Intelligence")
# DICOM limits a long string (LO) to 64 characters.
_LONGEST = 64
_SERIES_NUMBER = 9001
# Type 2 attributes of patient and study (DICOM PS3.3, C.7.1.1 and C.7.2.1): present, empty where unknown.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_dicom_segmentation(
    mask: MaskArray, grid: Grid, image_files: Sequence[Path], algorithm_name: str, path: str | Path
) -> Path:
    """Write ``mask`` (i, j, k on ``grid``, RAS mm) as one AUTOMATIC segment on the scan's DICOM images.

    ``image_files`` are the single-frame images of the scan, in any order; the mask is taken at the nearest voxel of
    each pixel. Raises ScanError for images that do not fit, DependencyError, OutputError.
    """
    if not mask.any():
        raise ScanError("There is no finding to export.", "Lower the threshold or keep a finding.")
    images = _images(image_files)
    frames = np.stack([_frame(mask, grid, image) for image in images])
    if not frames.any():
        raise ScanError("The findings lie outside the DICOM images.", "Choose the series the scan was loaded from.")
    return _saved(_segmentation(images, frames, algorithm_name), Path(path))


def check_images(origin: Origin) -> None:
    """Raise OptionsError, ScanError or DependencyError where there is no series that a segment can refer to."""
    images = origin.dicom_images()
    if not images:
        raise OptionsError("A DICOM segmentation needs the scan's DICOM images.", "Give their folder as the scan.")
    _highdicom()
    _images(images)


def write_result_segmentation(detection: Detection, path: Path, origin: Origin) -> None:
    """The findings as a format of a result: see ``formats``. Nothing is written where nothing was found."""
    mask = detection.findings.labels > 0
    if mask.any():
        name = origin.algorithm or f"BrainAnomaly {detection.detector['name']} {__version__}"
        grid = origin.image_grid or detection.scan.grid
        write_dicom_segmentation(mask, grid, origin.dicom_images(), name, path)


def _images(files: Sequence[Path]) -> list[Any]:
    """Headers and pixels of the images, along the normal of their planes."""
    pydicom = _highdicom()[1]
    try:
        images = [_with_required(pydicom.dcmread(path)) for path in files]
        if not images or any(int(image.get("NumberOfFrames", 1) or 1) > 1 for image in images):
            raise ScanError("DICOM SEG is written for series with one file for each slice.", "Export NIfTI instead.")
        normal = np.cross(*np.asarray(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
        return sorted(images, key=lambda image: float(normal @ np.asarray(image.ImagePositionPatient, dtype=float)))
    except (OSError, AttributeError, ValueError, pydicom.errors.InvalidDicomError) as error:
        raise ScanError("The scan's DICOM images cannot be read.", "Import the series into Slicer again.") from error


def _with_required(image: Any) -> Any:
    """The image with empty values where scanners or anonymizers leave out what must be there, as unknown."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in image:
            setattr(image, keyword, "")
    return image


def _frame(mask: MaskArray, grid: Grid, image: Any) -> Array:
    """The mask (rows, columns) at the pixels of one image."""
    index_from_pixel = inverse(grid.affine) @ LPS_FROM_RAS @ _lps_from_pixel(image)
    rows, columns = np.mgrid[0 : int(image.Rows), 0 : int(image.Columns)]
    points = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1) @ index_from_pixel.T
    nearest = np.rint(points[..., :3]).astype(int)
    inside = ((nearest >= 0) & (nearest < np.asarray(mask.shape))).all(axis=-1)
    frame = np.zeros(rows.shape, dtype=np.uint8)
    frame[inside] = mask[tuple(nearest[inside].T)]
    return frame


def _lps_from_pixel(image: Any) -> Affine:
    """4x4 map from (column, row, 0, 1) to LPS mm (DICOM PS3.3, C.7.6.2.1.1)."""
    along_row, along_column = np.asarray(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in image.PixelSpacing)
    matrix = np.eye(4)
    matrix[:3, 0] = along_row * between_columns
    matrix[:3, 1] = along_column * between_rows
    matrix[:3, 2] = np.cross(along_row, along_column)
    matrix[:3, 3] = np.asarray(image.ImagePositionPatient, dtype=float)
    return matrix


def _segmentation(images: list[Any], frames: Array, algorithm_name: str) -> Any:
    highdicom, _ = _highdicom()
    code = highdicom.sr.CodedConcept
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=algorithm_name[:_LONGEST], version=__version__, family=code(*_FAMILY)
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Anomalous region",
        segmented_property_category=code(*_CATEGORY),
        segmented_property_type=code(*_TYPE),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[code(*_REGION)],
    )
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="BrainAnomaly",
        manufacturer_model_name="BrainAnomaly",
        software_versions=__version__,
        device_serial_number="none",
        series_description=SERIES_DESCRIPTION,
        content_label="ANOMALY",
        content_description="For research, not for diagnosis",
    )


def _saved(segmentation: Any, path: Path) -> Path:
    try:
        with tempfile.TemporaryDirectory(prefix=".dicom-", dir=path.parent) as scratch:
            fresh = Path(scratch) / "segmentation.dcm"
            segmentation.save_as(fresh)
            fresh.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"'{path}' could not be written: {reason}.", "Choose another folder.") from error
    return path


def _highdicom() -> tuple[Any, Any]:
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise DependencyError(
            f"DICOM SEG needs the Python package {error.name}.", "Use 3D Slicer 5.12 or newer, or install highdicom."
        ) from error
    return highdicom, pydicom
