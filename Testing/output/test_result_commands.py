"""The commands ``report`` and ``dicom``: further forms of a result that is there already."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from BrainAnomalyLib.cli.main import main
from BrainAnomalyLib.io.volumes import write_volume
from BrainAnomalyLib.output.folder import write_results
from dicom_series import REFERENCE, write_series
from made_detection import made_detection
from synthetic import AWKWARD, grid_of, noise

pytest.importorskip("reportlab")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of a DICOM series, which lies beside it in ``series``."""
    folder = tmp_path_factory.mktemp("commands") / AWKWARD
    made = made_detection("Müller", grid_of((20, 22, 18), (1.0, 1.5, 3.0), "LPS", degrees=11.0))
    write_series(folder / "series", noise(made.scan.grid.shape, 1), made.scan.grid, **REFERENCE)
    return write_results(made, folder / "result", pictures=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", ["report.pdf", "report.html"])
def test_a_report_of_a_result_needs_no_scan(result: Path, tmp_path: Path, capsys, name: str) -> None:
    code, said, _ = run(capsys, "report", result, "--out", tmp_path / name)
    assert (code, said.splitlines()) == (0, [f"Report: {tmp_path / name}", "For research, not for diagnosis."])
    data = (tmp_path / name).read_bytes()
    assert data.startswith(b"%PDF" if name.endswith("pdf") else b"<!DOCTYPE html>")
    assert "Müller".encode() not in data
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_name_and_a_heading_appear_where_they_are_asked_for(result: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "report.html"
    assert run(capsys, "report", result, "--out", out, "--named", "--heading", "2 May <3>")[0] == 0
    assert "<h1>Brain anomaly report: Müller</h1>\n<p>2 May &lt;3&gt;</p>" in out.read_text(encoding="utf-8")


def test_a_result_becomes_dicom_of_its_series(result: Path, tmp_path: Path, capsys) -> None:
    code, said, _ = run(capsys, "dicom", result, result.parent / "series", "--out", tmp_path / "out")
    assert code == 0
    names = ["anomaly_map.dcm", "findings.dcm", "measurements.dcm", "report.dcm"]
    assert said.splitlines()[:-1] == [f"DICOM: {tmp_path / 'out' / name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert len(pydicom.dcmread(tmp_path / "out" / "findings.dcm").SegmentSequence) == 2


def test_what_cannot_be_done_is_said_in_a_sentence_and_leaves_nothing(result: Path, tmp_path: Path, capsys) -> None:
    out, made = tmp_path / "out", made_detection(reconstruction=False)
    plain = write_results(made, tmp_path / "plain", pictures=False)
    write_volume(tmp_path / "scan.nii.gz", made.scan.array, made.scan.grid)
    wrong = [
        (("report", result, "--out", out / "report.docx"), 2, "Let it end with .pdf or .html"),
        (("report", tmp_path, "--out", out), 2, "is no report's name"),
        (("report", tmp_path, "--out", out / "report.pdf"), 6, "holds no result"),
        (("report", plain, "--out", tmp_path / "report.pdf"), 6, "Give the scan with --scan"),
        (("dicom", plain, tmp_path / "scan.nii.gz", "--out", out), 2, "such as NIfTI"),
        (("dicom", plain, result.parent / "series", "--out", out), 6, "another grid"),
    ]
    for arguments, code, words in wrong:
        found, _, said = run(capsys, *arguments)
        assert found == code, said
        assert words in said
        assert said.count("\n") == 1
    assert not out.exists()
    assert run(capsys, "report", plain, "--scan", tmp_path / "scan.nii.gz", "--out", tmp_path / "report.html")[0] == 0
