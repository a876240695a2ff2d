"""Further formats of a result folder: written with it, whole or not at all, refused before a run that would be lost."""

from __future__ import annotations

import json

import pydicom
import pytest

from BrainAnomalyLib import write
from BrainAnomalyLib.cli.main import parse
from BrainAnomalyLib.errors import OptionsError, ScanError
from BrainAnomalyLib.output.formats import checked_formats, format_names
from BrainAnomalyLib.output.origin import Origin
from BrainAnomalyLib.service.jobs import DetectionJob, job_from_json, run_job
from dicom_series import REFERENCE, write_series
from made_detection import made_detection
from synthetic import grid_of, noise


def test_every_format_is_an_option_of_the_command_line(tmp_path):
    options = [part for name in format_names() for part in ("--write", name)]
    assert tuple(parse(["detect", "scan.nii.gz", "--out", str(tmp_path), *options]).write) == format_names()


def test_a_report_lies_in_the_result_and_belongs_to_it(tmp_path):
    folder = write(made_detection(), tmp_path / "result", pictures=False, formats=["html"])
    assert "report.html" in json.loads((folder / "summary.json").read_text(encoding="utf-8"))["files"]
    assert "<h1>Brain anomaly report</h1>" in (folder / "report.html").read_text(encoding="utf-8")
    write(made_detection(), folder, pictures=False)
    assert not (folder / "report.html").exists()


def test_dicom_objects_refer_to_the_images_of_the_scan(tmp_path):
    detection = made_detection(grid=grid_of((20, 22, 18), (1.0, 1.5, 3.0), "LPS", degrees=11.0))
    files = write_series(tmp_path / "series", noise(detection.scan.grid.shape), detection.scan.grid, **REFERENCE)
    folder = write(detection, tmp_path / "result", False, ["dicom"], tmp_path / "series")
    stored = pydicom.dcmread(folder / "findings.dcm")
    assert stored.Modality == "SEG"
    files_of = set(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["files"])
    assert {"findings.dcm", "measurements.dcm", "anomaly_map.dcm", "report.dcm"} <= files_of
    assert int(stored.pixel_array.sum()) == 8 + 27
    named = {item.ReferencedSOPInstanceUID for item in stored.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named <= {pydicom.dcmread(file).SOPInstanceUID for file in files}


def test_nothing_found_gives_a_result_without_a_segmentation(tmp_path):
    detection = made_detection(grid=grid_of((20, 22, 18), (1.0, 1.5, 3.0), "LPS")).with_threshold(99.0, 20.0)
    write_series(tmp_path / "series", noise(detection.scan.grid.shape), detection.scan.grid)
    folder = write(detection, tmp_path / "result", False, ["dicom"], tmp_path / "series")
    assert (folder / "summary.json").is_file()
    assert sorted(path.name for path in folder.glob("*.dcm")) == ["anomaly_map.dcm", "report.dcm"]


def test_what_cannot_be_written_is_refused_before_the_run(tmp_path):
    with pytest.raises(OptionsError, match="DICOM images"):
        run_job(DetectionJob(tmp_path / "scan.nii.gz", tmp_path / "out", formats=("dicom",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError):
        checked_formats(["dicom"], Origin(tmp_path / "empty"))
    with pytest.raises(OptionsError, match="no format named 'docx'"):
        write(made_detection(), tmp_path / "out", formats=["docx"])
    assert not (tmp_path / "out").exists()


def test_programs_ask_for_formats_by_a_list():
    job = job_from_json({"scan": "a", "out": "b", "formats": ["html"]})
    assert job.formats == ("html",)
    with pytest.raises(OptionsError, match="must be a list"):
        job_from_json({"scan": "a", "out": "b", "formats": "html"})
