"""Findings as DICOM SEG: read back by highdicom, at the place of the findings, said to be made automatically."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.output.dicom_segmentation import write_dicom_segmentation
from dicom_series import REFERENCE, write_multi_frame, write_series
from synthetic import AWKWARD, grid_of, noise

highdicom = pytest.importorskip("highdicom")


def series(folder: Path, codes: str = "LPS", degrees: float = 12.0):
    grid = grid_of((24, 20, 12), (1.0, 1.5, 3.0), codes, degrees)
    return grid, write_series(folder, noise(grid.shape), grid, **REFERENCE)


def ball(grid) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[3:9, 5:8, 2:6] = True
    mask[15, 11, 9] = True
    return mask


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR"])
def test_the_segment_lies_where_the_findings_are(tmp_path: Path, codes: str) -> None:
    grid, files = series(tmp_path / AWKWARD, codes)
    mask = ball(grid)
    path = write_dicom_segmentation(mask, grid, files[::-1], "BrainAnomaly tissue 0.1.0", tmp_path / "findings.dcm")
    stored = highdicom.seg.segread(path)
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in files]
    planes = stored.get_pixels_by_source_instance(uids, ignore_spatial_locations=True)[..., 0]
    np.testing.assert_array_equal(planes > 0, mask.transpose(2, 1, 0))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_series_without_attributes_that_anonymizers_take_away_gets_its_segment(tmp_path: Path) -> None:
    grid = grid_of((24, 20, 12), (1.0, 1.5, 3.0), "LPS", 12.0)
    files = write_series(tmp_path / "in", noise(grid.shape), grid)
    assert "PatientBirthDate" not in pydicom.dcmread(files[0])
    path = write_dicom_segmentation(ball(grid), grid, files, "BrainAnomaly", tmp_path / "findings.dcm")
    assert pydicom.dcmread(path).PatientBirthDate == ""


def test_it_says_that_a_program_made_it_and_which(tmp_path: Path) -> None:
    grid, files = series(tmp_path / "in")
    path = write_dicom_segmentation(ball(grid), grid, files, "BrainAnomaly " + "x" * 80, tmp_path / "findings.dcm")
    (segment,) = pydicom.dcmread(path).SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentAlgorithmName == ("BrainAnomaly " + "x" * 80)[:64]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
    assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"


def test_it_belongs_to_the_study_of_the_scan(tmp_path: Path) -> None:
    grid, files = series(tmp_path / "in")
    stored = pydicom.dcmread(write_dicom_segmentation(ball(grid), grid, files, "x", tmp_path / "findings.dcm"))
    source = pydicom.dcmread(files[0])
    assert stored.StudyInstanceUID == source.StudyInstanceUID
    assert stored.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert stored.Modality == "SEG"


def test_nothing_to_export_and_images_elsewhere_are_refused(tmp_path: Path) -> None:
    grid, files = series(tmp_path / "in")
    with pytest.raises(ScanError, match="no finding"):
        write_dicom_segmentation(np.zeros(grid.shape, dtype=bool), grid, files, "x", tmp_path / "findings.dcm")
    far = grid_of((24, 20, 12), center=(900.0, 0.0, 0.0))
    with pytest.raises(ScanError, match="outside"):
        write_dicom_segmentation(ball(far), far, files, "x", tmp_path / "findings.dcm")


def test_multi_frame_and_damaged_images_are_refused(tmp_path: Path) -> None:
    grid, files = series(tmp_path / "in")
    enhanced = tmp_path / "enhanced" / "image.dcm"
    write_multi_frame(enhanced, noise(grid.shape), grid, list(range(12)))
    with pytest.raises(ScanError, match="one file for each slice"):
        write_dicom_segmentation(ball(grid), grid, [enhanced], "x", tmp_path / "findings.dcm")
    files[0].write_bytes(b"nothing")
    with pytest.raises(ScanError, match="cannot be read"):
        write_dicom_segmentation(ball(grid), grid, files, "x", tmp_path / "findings.dcm")
