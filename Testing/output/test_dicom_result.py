"""A detection as DICOM: objects of the scan's study that a validator accepts, at the place of the findings."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pypdfium2
import pytest

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.errors import OptionsError, ScanError
from BrainAnomalyLib.output.dicom_objects.dicom_result import check_images, write_dicom_result
from BrainAnomalyLib.output.origin import Origin
from dicom_series import REFERENCE, write_multi_frame, write_series
from made_detection import made_detection
from synthetic import AWKWARD, grid_of, noise

highdicom = pytest.importorskip("highdicom")
FILES = ["anomaly_map.dcm", "findings.dcm", "measurements.dcm", "report.dcm"]
# What a scanner writes about people and places beside patient and study; none of it may leave with a result.
PRIVATE = {
    "InstitutionName": "Leaking Hospital",
    "OperatorsName": "Leaking^Operator",
    "PerformingPhysicianName": "Leaking^Physician",
    "ProtocolName": "Leaking protocol",
    "StationName": "LEAKING",
    "ImageComments": "Leaking comment",
}
PATIENT = {"PatientName": "Müller^Jörg", "PatientBirthDate": "19700102", "SpecificCharacterSet": "ISO_IR 192"}


class Written(NamedTuple):
    """The detection, the files of its scan's series, and the objects by file name."""

    detection: Detection
    sources: list[Path]
    folder: Path
    objects: dict[str, Any]


def detection_in(codes: str = "LPS") -> Detection:
    return made_detection(grid=grid_of((20, 22, 18), (1.0, 1.5, 3.0), codes, degrees=11.0))


def written(folder: Path, detection: Detection, kind: str = "classic") -> Written:
    grid, series = detection.scan.grid, folder / AWKWARD / "series"
    if kind == "enhanced":
        write_multi_frame(series / "image.dcm", noise(grid.shape), grid, list(range(18))[::-1])
    else:
        write_series(series, noise(grid.shape), grid, **{**REFERENCE, **PRIVATE, **PATIENT})
    out, origin = folder / "out", Origin(series)
    out.mkdir()
    check_images(origin)
    write_dicom_result(detection, out / "findings.dcm", origin)
    return Written(
        detection, sorted(series.iterdir()), out, {path.name: pydicom.dcmread(path) for path in sorted(out.iterdir())}
    )


@pytest.fixture(scope="module", params=["classic", "enhanced"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp(request.param), detection_in(), request.param)


def test_a_validator_finds_no_error(result: Written) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: Utilities/install_system_packages.sh installs dicom3tools")
    assert sorted(result.objects) == FILES
    for name in FILES:
        command = ["dciodvfy", "-new", str(result.folder / name)]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert said.strip()
        assert [line for line in said.splitlines() if line.startswith("Error")] == [], name


def test_every_finding_is_a_segment_at_its_place(result: Written) -> None:
    stored = highdicom.seg.segread(result.folder / "findings.dcm")
    labels = result.detection.findings.labels
    assert [segment.SegmentLabel for segment in stored.SegmentSequence] == [
        f"Finding {row.id}: {row.where}" for row in result.detection.findings.table
    ]
    planes = planes_of(stored, result)
    for number in (1, 2):
        np.testing.assert_array_equal(planes[..., number - 1] > 0, (labels == number).transpose(2, 1, 0))


def planes_of(stored: Any, result: Written) -> np.ndarray:
    if len(result.sources) == 1:
        uid = pydicom.dcmread(result.sources[0]).SOPInstanceUID
        frames = list(range(18, 0, -1))
        return stored.get_pixels_by_source_frame(
            uid, frames, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in result.sources]
    return stored.get_pixels_by_source_instance(uids, ignore_spatial_locations=True)


def test_segments_are_coded_and_made_by_an_algorithm(result: Written) -> None:
    for segment, finding in zip(
        result.objects["findings.dcm"].SegmentSequence, result.detection.findings.table, strict=True
    ):
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentAlgorithmName == "BrainAnomaly made 0.1.0"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
        (site,) = segment.AnatomicRegionSequence
        assert (site.CodingSchemeDesignator, site.CodeMeaning.lower()) == ("SCT", SPOKEN[finding.region])
        sides = [code.CodeMeaning.lower() for code in site.get("AnatomicRegionModifierSequence", [])]
        assert sides == ([finding.side] if finding.side in ("left", "right") else [])


SPOKEN = {"thalamus": "thalamus", "frontal lobe": "frontal lobe", "ventricles": "brain ventricle"} | {
    name: name for name in ("parietal lobe", "temporal lobe", "insula", "caudate nucleus", "cerebellum", "hippocampus")
}


def test_measurements_repeat_the_table_and_point_to_the_segments(result: Written) -> None:
    report = highdicom.sr.srread(result.folder / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    segments = result.objects["findings.dcm"].SegmentSequence
    assert len(groups) == len(segments) == 2
    for group, segment, finding in zip(groups, segments, result.detection.findings.table, strict=True):
        values = {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}
        assert values["Volume"] == (pytest.approx(finding.volume_ml, abs=1e-4), "mL")
        assert values["Anomaly map value"] == (pytest.approx(finding.peak, abs=1e-4), "1")
        assert group.tracking_uid == segment.TrackingUID
        assert group.finding_type.value == "52988006"
        assert group.finding_sites[0].value.value == segment.AnatomicRegionSequence[0].CodeValue
        assert group.reference_type.meaning == "Referenced Segment"
        algorithm = [item for item in group[0].ContentSequence if "Algorithm Name" in str(item.name.meaning)]
        assert algorithm[0].TextValue == "BrainAnomaly made 0.1.0"


def test_the_map_holds_real_values(result: Written) -> None:
    stored = result.objects["anomaly_map.dcm"]
    values = np.frombuffer(stored.FloatPixelData, dtype="<f4").reshape(18, 22, 20)
    grid = result.detection.scan.grid
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in stored.PerFrameFunctionalGroupsSequence]
    slices = np.rint(grid.to_index(np.asarray(places, dtype=float) * (-1.0, -1.0, 1.0))[:, 2]).astype(int)
    assert sorted(slices) == list(range(18))
    np.testing.assert_array_equal(values, result.detection.anomaly.transpose(2, 1, 0)[slices])
    mapping = stored.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert mapping.LUTExplanation == "noise"


def test_the_report_is_a_readable_pdf_without_a_name(result: Written) -> None:
    stored = result.objects["report.dcm"]
    data = io.BytesIO(stored.EncapsulatedDocument[: stored.EncapsulatedDocumentLength])
    text = "".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(data))
    assert "For research, not for diagnosis." in text
    assert "Müller" not in text


def test_patient_and_study_are_copied_and_nothing_else_leaks(result: Written) -> None:
    source = pydicom.dcmread(result.sources[0])
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID")
    uids = [made.SOPInstanceUID for made in result.objects.values()]
    uids += [made.SeriesInstanceUID for made in result.objects.values()]
    assert len(set(uids)) == 8
    for name, made in result.objects.items():
        assert [made.get(word, "") for word in names] == [source.get(word, "") for word in names]
        assert b"leaking" not in (result.folder / name).read_bytes().lower()
        assert source.SOPInstanceUID not in uids
        assert "research only" in made.SeriesDescription


def test_exporting_again_keeps_the_tracking_and_renews_the_objects(result: Written, tmp_path: Path) -> None:
    write_dicom_result(result.detection, tmp_path / "findings.dcm", Origin(result.sources[0].parent))
    again, first = pydicom.dcmread(tmp_path / "findings.dcm"), result.objects["findings.dcm"]
    assert [one.TrackingUID for one in again.SegmentSequence] == [one.TrackingUID for one in first.SegmentSequence]
    assert len({one.TrackingUID for one in again.SegmentSequence}) == 2
    assert again.SOPInstanceUID != first.SOPInstanceUID


@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_segments_lie_right_in_other_orientations(tmp_path: Path, codes: str) -> None:
    made = written(tmp_path, detection_in(codes))
    planes = planes_of(highdicom.seg.segread(made.folder / "findings.dcm"), made)
    np.testing.assert_array_equal(planes.any(axis=-1), (made.detection.findings.labels > 0).transpose(2, 1, 0))


def test_a_rejected_finding_leaves_a_gap_in_the_numbers_only(tmp_path: Path) -> None:
    made = detection_in()
    kept = replace(made.findings, table=made.findings.table[1:], labels=np.where(made.findings.labels == 2, 2, 0))
    stored = written(tmp_path, replace(made, findings=kept)).objects["findings.dcm"]
    (segment,) = stored.SegmentSequence
    assert (segment.SegmentNumber, segment.SegmentLabel.split(":")[0]) == (1, "Finding 2")


def test_a_series_without_attributes_that_anonymizers_take_away_is_written(tmp_path: Path) -> None:
    made = detection_in()
    files = write_series(tmp_path / "in", noise(made.scan.grid.shape), made.scan.grid)
    assert "PatientBirthDate" not in pydicom.dcmread(files[0])
    write_dicom_result(made, tmp_path / "findings.dcm", Origin(tmp_path / "in"))
    assert pydicom.dcmread(tmp_path / "findings.dcm").PatientBirthDate == ""


def test_what_objects_cannot_refer_to_is_refused(tmp_path: Path) -> None:
    made = detection_in()
    with pytest.raises(OptionsError, match="such as NIfTI"):
        check_images(Origin(tmp_path / "scan.nii.gz"))
    files = write_series(tmp_path / "in", noise(made.scan.grid.shape), made.scan.grid, FrameOfReferenceUID="")
    with pytest.raises(ScanError, match="lack FrameOfReferenceUID"):
        check_images(Origin(tmp_path / "in"))
    far = replace(made, scan=replace(made.scan, grid=grid_of((20, 22, 18), center=(900.0, 0.0, 0.0))))
    files = write_series(tmp_path / "other", noise(made.scan.grid.shape), made.scan.grid)
    with pytest.raises(ScanError, match="outside"):
        write_dicom_result(far, tmp_path / "findings.dcm", Origin(tmp_path / "other"))
    files[0].write_bytes(b"nothing")
    with pytest.raises(ScanError, match="cannot be read"):
        check_images(Origin(images=files))
