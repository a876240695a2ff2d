"""Every export of the panel, written by clicks and read back by other libraries."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import slicer
from panel_cases import GRID, add_brain, brain, real_detection, with_result

from BrainAnomalyLib.output.formats import FORMATS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
from dicom_series import write_series

KEEP = 0


@pytest.fixture
def panel(host):
    return host.open("BrainAnomaly")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "Lékař 脳 export"
    place.mkdir()
    return place


@pytest.fixture
def node(panel, folder):
    panel.ui.exportCollapsibleButton.collapsed = False
    node = with_result(panel)
    panel.ui.exportFolderEdit.currentPath = str(folder)
    return node


def reject_first(panel) -> None:
    import qt

    panel.ui.findingsTable.item(0, KEEP).setCheckState(qt.Qt.Unchecked)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nifti_lies_on_the_voxels_of_the_scan(host, panel, node, folder):
    host.click(panel.ui.exportNiftiButton)
    image = nibabel.load(folder / "Müller_FLAIR_anomaly_map.nii.gz")
    np.testing.assert_allclose(image.affine, GRID.affine, atol=1e-4)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), real_detection().anomaly)
    labels = nibabel.load(folder / "Müller_FLAIR_findings.nii.gz").get_fdata()
    np.testing.assert_array_equal(labels > 0, real_detection().findings.labels > 0)
    assert "Müller_FLAIR_pseudo_healthy.nii.gz" in names(folder)
    assert not any(name.startswith(".") for name in names(folder))
    assert "Müller_FLAIR_anomaly_map.nii.gz" in panel.ui.exportLabel.text


def test_nrrd_lies_on_the_voxels_of_the_scan(host, panel, node, folder):
    import SimpleITK

    from BrainAnomalyLib.io.geometry import from_image

    host.click(panel.ui.exportNrrdButton)
    array, grid = from_image(SimpleITK.ReadImage(str(folder / "Müller_FLAIR_anomaly_map.nrrd")))
    assert grid.same_as(GRID, tolerance_mm=1e-4)
    np.testing.assert_array_equal(array, real_detection().anomaly)


def test_rejected_findings_are_in_the_table_and_not_in_the_labels(host, panel, node, folder):
    reject_first(panel)
    host.click(panel.ui.exportCsvButton)
    host.click(panel.ui.exportNiftiButton)
    with (folder / "Müller_FLAIR_findings.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = list(csv.DictReader(stream))
    expected = real_detection().findings.table[0]
    assert row["review"] == "rejected"
    assert float(row["volume_ml"]) == pytest.approx(expected.volume_ml)
    assert float(row["template_x"]) == pytest.approx(expected.centroid_template[0], abs=1e-6)
    assert not nibabel.load(folder / "Müller_FLAIR_findings.nii.gz").get_fdata().any()


def test_the_report_says_what_was_done(host, panel, node, folder):
    panel.ui.thresholdSpinBox.value = 2.0
    reject_first(panel)
    host.click(panel.panel.export.formats["html"])
    text = (folder / "Müller_FLAIR_report.html").read_text(encoding="utf-8")
    for said in ("For research, not for diagnosis.", "Gray-matter-referenced intensity", "2 (chosen by the user)"):
        assert said in text
    assert "1 more were rejected by the reader" in text
    assert "data:image/png;base64," in text


def test_without_a_folder_it_is_asked_for_and_a_refusal_is_no_error(host, panel, node, folder):
    panel.ui.exportFolderEdit.currentPath = ""
    host.answer("")
    host.click(panel.ui.exportCsvButton)
    assert names(folder) == []
    host.answer(str(folder))
    host.click(panel.ui.exportCsvButton)
    assert names(folder) == ["Müller_FLAIR_findings.csv"]
    assert panel.panel.parameters.exportFolder == str(folder)


def test_a_folder_that_is_gone_is_named(host, panel, node, folder):
    panel.ui.exportFolderEdit.currentPath = str(folder / "none")
    host.click(panel.ui.exportNiftiButton)
    assert "There is no folder" in panel.ui.messageLabel.text
    assert panel.ui.exportLabel.text == ""


def test_nothing_can_be_exported_without_a_result(panel):
    panel.ui.inputSelector.setCurrentNode(add_brain())
    for kind in ("Nifti", "Nrrd", "Csv"):
        assert not getattr(panel.ui, f"export{kind}Button").enabled
    assert not any(button.enabled for button in panel.panel.export.formats.values())


def test_every_format_of_the_engine_has_a_button(panel):
    assert [button.text for button in panel.panel.export.formats.values()] == [kind.title for kind in FORMATS.values()]


class TestDicom:
    @pytest.fixture
    def files(self, node, tmp_path, monkeypatch):
        """The series the scan was loaded from, in a database that answers as Slicer's does."""
        import pydicom

        tags = {"StudyDate": "20200101", "StudyTime": "120000", "AccessionNumber": "", "StudyID": "1"}
        tags |= {"PatientBirthDate": "", "PatientSex": "", "ReferringPhysicianName": ""}
        files = write_series(tmp_path / "series", brain(), GRID, **tags)
        known = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): str(path) for path in files}
        database = SimpleNamespace(fileForInstance=lambda name: known.get(name, ""))
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
        node.SetAttribute("DICOM.instanceUIDs", " ".join(known))
        return files

    def test_the_button_is_off_with_a_reason_for_other_scans(self, panel, node):
        assert not panel.panel.export.formats["dicom"].enabled
        assert "loaded from DICOM" in panel.panel.export.formats["dicom"].toolTip

    def test_the_segment_is_read_back_where_the_finding_is(self, host, panel, node, files, folder):
        import highdicom
        import pydicom

        panel.panel.results.refresh(node)
        host.click(panel.panel.export.formats["dicom"])
        assert panel.ui.messageLabel.text == ""
        stored = highdicom.seg.segread(folder / "Müller_FLAIR_findings.dcm")
        uids = [pydicom.dcmread(path).SOPInstanceUID for path in files]
        planes = stored.get_pixels_by_source_instance(uids, ignore_spatial_locations=True)[..., 0]
        np.testing.assert_array_equal(planes.transpose(2, 1, 0) > 0, real_detection().findings.labels > 0)
        (segment,) = stored.SegmentSequence
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentAlgorithmName.startswith("BrainAnomaly tissue")

    def test_nothing_kept_and_images_that_are_gone_are_said(self, host, panel, node, files, folder):
        panel.panel.results.refresh(node)
        reject_first(panel)
        host.click(panel.panel.export.formats["dicom"])
        assert "There is no finding to export" in panel.ui.messageLabel.text
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
        host.click(panel.panel.export.formats["dicom"])
        assert "not in Slicer's database any more" in panel.ui.messageLabel.text
        assert names(folder) == []
        host.click(panel.panel.export.formats["html"])
        assert names(folder) == ["Müller_FLAIR_report.html"], "a report needs no images"
