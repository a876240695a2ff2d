"""The report as an Encapsulated PDF of the scan's study (DICOM PS3.3, A.45.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..report_content import TITLE
from .dicom_segmentation import common_attributes
from .source_images import SourceImages, libraries

SERIES_DESCRIPTION = "Anomaly report, research only"
SERIES_NUMBER = 9004
_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# Of patient and study, copied exactly where the images have them (PS3.3, C.7.1.1, C.7.2.1, C.7.2.2).
_COPIED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize"),
    *("PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate"),
    *("StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)


def encapsulated_report(source: SourceImages, pdf: bytes) -> Any:
    """The PDF as a document of the images' patient and study."""
    _, pydicom = libraries()
    image, facts, now = source.images[0], common_attributes(), datetime.now()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _PDF_STORAGE, facts["sop_instance_uid"]
    meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    made = pydicom.dataset.FileDataset("report", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in _COPIED:
        if keyword in image:
            made[keyword] = image[keyword]
    made.SpecificCharacterSet = image.get("SpecificCharacterSet", "ISO_IR 192")
    made.SOPClassUID, made.SOPInstanceUID = _PDF_STORAGE, facts["sop_instance_uid"]
    made.SeriesInstanceUID, made.SeriesNumber = facts["series_instance_uid"], SERIES_NUMBER
    made.SeriesDescription, made.Modality, made.ConversionType = SERIES_DESCRIPTION, "DOC", "WSD"
    made.Manufacturer, made.ManufacturerModelName = facts["manufacturer"], facts["manufacturer_model_name"]
    made.SoftwareVersions, made.DeviceSerialNumber = facts["software_versions"], facts["device_serial_number"]
    made.InstanceNumber, made.BurnedInAnnotation = facts["instance_number"], "NO"
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.AcquisitionDateTime = ""
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    made.DocumentTitle, made.ConceptNameCodeSequence = TITLE, []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return made
