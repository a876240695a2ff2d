"""All DICOM objects of a detection, in one folder: segmentation, measurements, map and report of one study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ... import __version__
from ...errors import OptionsError
from ..pdf import check_pdf, report_pdf
from .dicom_segmentation import segmentation
from .encapsulated_report import encapsulated_report
from .parametric_map import parametric_map
from .source_images import SourceImages, libraries, saved, source_images
from .structured_report import structured_report

if TYPE_CHECKING:
    from ...detection import Detection
    from ..origin import Origin

SEGMENTATION_FILE, MEASUREMENTS_FILE = "findings.dcm", "measurements.dcm"
MAP_FILE, REPORT_FILE = "anomaly_map.dcm", "report.dcm"


def check_images(origin: Origin) -> None:
    """Raise OptionsError, ScanError or DependencyError where there is no series that objects can refer to."""
    _source(origin)
    check_pdf(origin)


def write_dicom_result(detection: Detection, path: Path, origin: Origin) -> None:
    """The detection as a format of a result: see ``formats``. ``path`` is the segmentation's, the others lie beside it.

    Where nothing was found there is no segmentation and nothing to measure: map and report alone are written.
    """
    source, grid = _source(origin), origin.image_grid or detection.scan.grid
    algorithm = origin.algorithm or f"BrainAnomaly {detection.detector['name']} {__version__}"
    findings, unit = detection.findings.kept(), str(detection.detector["unit"])
    if findings.table:
        segments = segmentation(source, findings, grid, algorithm)
        saved(segments, path)
        saved(structured_report(source, segments, findings, algorithm), path.with_name(MEASUREMENTS_FILE))
    saved(parametric_map(source, detection.anomaly, grid, unit, findings.threshold), path.with_name(MAP_FILE))
    saved(encapsulated_report(source, report_pdf(detection, origin.words)), path.with_name(REPORT_FILE))


def _source(origin: Origin) -> SourceImages:
    images = origin.dicom_images()
    if not images:
        raise OptionsError(
            "DICOM objects refer to the scan's DICOM images, and a scan from other files, such as NIfTI, has none.",
            "Give the folder of its DICOM series as the scan.",
        )
    libraries()
    return source_images(images)
