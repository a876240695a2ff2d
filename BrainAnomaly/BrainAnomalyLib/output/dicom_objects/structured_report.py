"""Findings as a DICOM Structured Report: TID 1500, a measurement group for each (DICOM PS3.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import __version__
from .dicom_codes import (
    ANOMALY,
    LESION,
    MAXIMUM,
    MILLILITER,
    MILLIMETER,
    MR_BRAIN,
    NO_UNITS,
    TO_CORTEX,
    TO_VENTRICLE,
    VOLUME,
    Code,
    concept,
    region_code,
    side_code,
)
from .dicom_segmentation import LONGEST, common_attributes, finding_label
from .source_images import SourceImages, libraries

if TYPE_CHECKING:
    from ...findings.table import Finding, Findings

SERIES_DESCRIPTION = "Anomaly measurements, research only"
SERIES_NUMBER = 9002


def structured_report(source: SourceImages, made: Any, findings: Findings, algorithm: str) -> Any:
    """The measurements of every finding that is a segment of ``made``, the segmentation of the same images."""
    highdicom, pydicom = libraries()
    segments = {str(segment.SegmentLabel): segment for segment in made.SegmentSequence}
    groups = [
        _group(source, made, segments[finding_label(finding)], finding, algorithm)
        for finding in findings.table
        if finding_label(finding) in segments
    ]
    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(highdicom, pydicom),
        procedure_reported=concept(MR_BRAIN),
        imaging_measurements=groups,
        title=pydicom.sr.codedict.codes.DCM.ImagingMeasurementReport,
    )
    return highdicom.sr.Comprehensive3DSR(
        evidence=[*source.images, made],
        content=report[0],
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        **common_attributes(),
    )


def _observer(highdicom: Any, pydicom: Any) -> Any:
    """The program as the device that observed; its UID belongs to its version."""
    attributes = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=pydicom.uid.generate_uid(entropy_srcs=["BrainAnomaly", __version__]),
        name="BrainAnomaly",
        manufacturer_name="BrainAnomaly",
        model_name="BrainAnomaly",
        serial_number=__version__,
    )
    device = highdicom.sr.ObserverContext(
        observer_type=pydicom.sr.codedict.codes.DCM.Device, observer_identifying_attributes=attributes
    )
    return highdicom.sr.ObservationContext(observer_device_context=device)


def _group(source: SourceImages, made: Any, segment: Any, finding: Finding, algorithm: str) -> Any:
    sr = libraries()[0].sr
    number, side = int(segment.SegmentNumber), side_code(finding)
    site = sr.FindingSite(
        anatomic_location=concept(region_code(finding)), laterality=None if side is None else concept(side)
    )
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=str(made.SOPClassUID),
            sop_instance_uid=str(made.SOPInstanceUID),
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(str(source.images[0].SeriesInstanceUID)),
        ),
        tracking_identifier=sr.TrackingIdentifier(uid=str(segment.TrackingUID), identifier=str(segment.TrackingID)),
        finding_type=concept(LESION),
        finding_sites=[site],
        measurements=_measurements(finding),
        algorithm_id=sr.AlgorithmIdentification(name=algorithm[:LONGEST], version=__version__),
    )


def _measurements(finding: Finding) -> list[Any]:
    """Volume, highest value of the map, and the distances that are known."""
    rows: list[tuple[Code, float | None, Code, Code | None]] = [
        (VOLUME, finding.volume_ml, MILLILITER, None),
        (ANOMALY, finding.peak, NO_UNITS, MAXIMUM),
        (TO_VENTRICLE, finding.ventricle_mm, MILLIMETER, None),
        (TO_CORTEX, finding.cortex_mm, MILLIMETER, None),
    ]
    return [
        libraries()[0].sr.Measurement(
            name=concept(name),
            value=round(float(value), 4),
            unit=concept(unit),
            derivation=None if derivation is None else concept(derivation),
        )
        for name, value, unit, derivation in rows
        if value is not None
    ]
