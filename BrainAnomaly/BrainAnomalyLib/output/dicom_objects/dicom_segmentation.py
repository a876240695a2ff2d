"""Findings as a DICOM Segmentation object that refers to the images of the scan (DICOM PS3.3, A.51)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...errors import ScanError
from ...findings.table import Finding
from ...io.geometry import Array, Grid
from .dicom_codes import CATEGORY, FAMILY, LESION, concept, region_code, side_code
from .source_images import SourceImages, libraries

if TYPE_CHECKING:
    from ...findings.table import Findings

SERIES_DESCRIPTION = "Anomalous regions, research only"
SERIES_NUMBER = 9001
# DICOM limits a long string (LO) to 64 characters.
LONGEST = 64


def segmentation(source: SourceImages, findings: Findings, grid: Grid, algorithm: str) -> Any:
    """Findings (labels i, j, k on ``grid``, RAS mm), one AUTOMATIC segment each, on the scan's images.

    Labels are taken at the nearest voxel of each pixel. Raises ScanError where none lies in the images.
    """
    highdicom, _ = libraries()
    if not findings.table:
        raise ScanError("There is no finding to export.", "Lower the threshold or keep a finding.")
    frames = source.sampled(findings.labels, grid)
    shown = [finding for finding in findings.table if (frames == finding.id).any()]
    if not shown:
        raise ScanError("The findings lie outside the DICOM images.", "Choose the series the scan was loaded from.")
    return highdicom.seg.Segmentation(
        source_images=source.images,
        pixel_array=_renumbered(frames, shown),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_segments(source, shown, algorithm),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        content_label="ANOMALY",
        content_description="For research, not for diagnosis",
        **common_attributes(),
    )


def common_attributes() -> dict[str, Any]:
    """What every object of this program carries: fresh UIDs and what made it."""
    highdicom, _ = libraries()
    return {
        "series_instance_uid": highdicom.UID(),
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": "BrainAnomaly",
        "manufacturer_model_name": "BrainAnomaly",
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def algorithm_identification(name: str) -> Any:
    """What made the findings, for segments and measurements."""
    return libraries()[0].AlgorithmIdentificationSequence(
        name=name[:LONGEST], version=__version__, family=concept(FAMILY)
    )


def finding_label(finding: Finding) -> str:
    """Number and region, as a segment and a measurement group are named."""
    return f"Finding {finding.id}: {finding.where}"[:LONGEST]


def tracking_uid(source: SourceImages, finding: Finding) -> str:
    """A UID that is the same whenever the same finding of a series is exported.

    A follow-up that knows the finding gives it a ``tracking_uid`` of its own, and that is taken.
    """
    known = str(getattr(finding, "tracking_uid", "") or "")
    place = ",".join(f"{value:.3f}" for value in finding.centroid_ras)
    words = [str(source.images[0].SeriesInstanceUID), str(finding.id), f"{finding.volume_ml:.4f}", place]
    return known or str(libraries()[1].uid.generate_uid(entropy_srcs=words))


def _renumbered(frames: Array, shown: Sequence[Finding]) -> Array:
    """Segments are numbered from 1 without a gap; findings that the reader has rejected leave gaps."""
    table = np.zeros(int(frames.max()) + 1, dtype=np.uint16)
    table[[finding.id for finding in shown]] = np.arange(1, len(shown) + 1)
    return np.asarray(table[frames])


def _segments(source: SourceImages, shown: Sequence[Finding], algorithm: str) -> list[Any]:
    highdicom, _ = libraries()
    found = []
    for number, finding in enumerate(shown, 1):
        segment = highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=finding_label(finding),
            segmented_property_category=concept(CATEGORY),
            segmented_property_type=concept(LESION),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm_identification(algorithm),
            tracking_uid=tracking_uid(source, finding),
            tracking_id=finding_label(finding),
            anatomic_regions=[concept(region_code(finding))],
        )
        if (side := side_code(finding)) is not None:
            segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(side)]
        found.append(segment)
    return found
