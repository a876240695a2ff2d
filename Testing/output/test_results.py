"""What a run leaves on disk: complete or not at all, and never at the cost of other files."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.errors import Cancelled, OutputError
from BrainAnomalyLib.io.geometry import Array, Grid
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.output import folder as results
from BrainAnomalyLib.output.folder import check_folder, read_results, write_results
from made_detection import GRID, made_detection
from synthetic import AWKWARD

VOLUMES = [
    "anomaly_map",
    "brain_mask",
    "findings",
    "pseudo_healthy",
    "residual_absolute",
    "residual_signed",
    "structures",
]
HELPERS = Path(__file__).resolve().parents[1] / "helpers"


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_all_files_of_a_result(tmp_path: Path) -> None:
    folder = write_results(made_detection(), tmp_path / AWKWARD / "out", pictures=False)
    expected = sorted([*(f"{name}.nii.gz" for name in VOLUMES), "findings.csv", "summary.json"])
    assert sorted(path.name for path in folder.iterdir()) == expected
    assert sorted([*summary_of(folder)["files"], "summary.json"]) == expected
    assert hidden(folder.parent) == []


def test_volumes_have_the_scans_geometry_to_the_voxel(tmp_path: Path) -> None:
    folder = write_results(made_detection(), tmp_path / "out", pictures=False)
    for name in VOLUMES:
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.shape == GRID.shape
        assert np.abs(image.affine - GRID.affine).max() < 1e-4
        assert np.allclose(SimpleITK.ReadImage(str(folder / f"{name}.nii.gz")).GetSpacing(), GRID.spacing)
    assert nibabel.load(folder / "findings.nii.gz").get_data_dtype() == np.uint16


def test_residuals_signed_and_absolute(tmp_path: Path) -> None:
    folder = write_results(made_detection(), tmp_path / "out", pictures=False)
    signed, absolute = (nibabel.load(folder / f"residual_{kind}.nii.gz").get_fdata() for kind in ("signed", "absolute"))
    assert (signed < 0).any()
    assert np.array_equal(np.abs(signed), absolute)


def test_a_detector_without_reconstruction_writes_fewer_volumes(tmp_path: Path) -> None:
    folder = write_results(made_detection(reconstruction=False), tmp_path / "out", pictures=False)
    assert sorted(path.name[:-7] for path in folder.glob("*.nii.gz")) == [
        *("anomaly_map", "brain_mask", "findings", "structures")
    ]


def test_summary_and_table_agree(tmp_path: Path) -> None:
    folder = write_results(made_detection("Müller"), tmp_path / "out", pictures=False)
    summary = summary_of(folder)
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert summary["scan"]["name"] == "Müller"
    assert summary["notice"] == "For research, not for diagnosis."
    assert summary["threshold"] == {"value": 3.0, "source": "chosen by the test", "minimum_mm3": 20.0}
    assert [float(row["volume_ml"]) for row in rows] == [row["volume_ml"] for row in summary["findings"]]
    assert [row["side"] for row in rows] == [row["side"] for row in summary["findings"]]
    for name in ("region", "tissue", "place"):
        assert [row[name] for row in rows] == [row[name] for row in summary["findings"]]
    assert all(row["region"] for row in rows)
    assert sum(group["findings"] for group in summary["regions"]["by_region"]) == len(rows) == 2
    assert summary["regions"]["structures"] == "the template"
    assert summary["warnings"] == ["Only a test."]


def test_a_new_result_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    write_results(made_detection("first"), tmp_path / "out", pictures=False)
    write_results(made_detection("second", reconstruction=False), tmp_path / "out", pictures=False)
    assert summary_of(tmp_path / "out")["scan"]["name"] == "second"
    assert not (tmp_path / "out" / "pseudo_healthy.nii.gz").exists()
    assert hidden(tmp_path) == []


def test_results_go_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_results(made_detection(), tmp_path / "link", pictures=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "summary.json").is_file()


def test_folders_with_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds other files \(thesis.tex\)"):
        write_results(made_detection(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years of work"


def test_a_summary_of_another_program_does_not_make_a_result(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"program": "Other", "files": []}', encoding="utf-8")
    with pytest.raises(OutputError, match="holds other files"):
        check_folder(tmp_path)


def test_files_added_to_an_earlier_result_are_not_lost(tmp_path: Path) -> None:
    folder = write_results(made_detection(), tmp_path / "out", pictures=False)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        write_results(made_detection(), folder)
    assert (folder / "notes.txt").is_file()


def test_a_file_and_a_whole_disk_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="whole disk"):
        check_folder("/")


def test_places_that_cannot_hold_a_folder_are_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Nothing can be written"):
        check_folder(tmp_path / "file" / "a" / "b")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="Nothing can be written"):
        check_folder(tmp_path / "a" / "b")


def fail_at(name: str, error: BaseException):
    original = results.write_volume

    def write(path: Path, array: Array, grid: Grid) -> None:
        if path.name.startswith(name):
            raise error
        original(path, array, grid)

    return write


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Cancelled(), KeyboardInterrupt()])
def test_a_failure_in_the_middle_keeps_the_earlier_result(tmp_path: Path, monkeypatch, error: BaseException) -> None:
    write_results(made_detection("first"), tmp_path / "out", pictures=False)
    monkeypatch.setattr(results, "write_volume", fail_at("brain_mask", error))
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_results(made_detection("second"), tmp_path / "out", pictures=False)
    assert summary_of(tmp_path / "out")["scan"]["name"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(results, "write_volume", fail_at("anomaly", OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left on device"):
        write_results(made_detection(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_swap_brings_the_earlier_result_back(tmp_path: Path, monkeypatch) -> None:
    write_results(made_detection("first"), tmp_path / "out", pictures=False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        write_results(made_detection("second"), tmp_path / "out", pictures=False)
    assert summary_of(tmp_path / "out")["scan"]["name"] == "first"
    assert hidden(tmp_path) == []


SLOW_WRITER = """
import sys, time
from pathlib import Path
from BrainAnomalyLib.output import folder as results
from made_detection import made_detection
original = results.write_volume
def slowly(path, array, grid):
    original(path, array, grid)
    print("wrote", flush=True)
    time.sleep(60)
results.write_volume = slowly
results.write_results(made_detection("second"), sys.argv[1], pictures=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_writer_leaves_the_earlier_result_and_one_hidden_folder(tmp_path: Path) -> None:
    out = write_results(made_detection("first"), tmp_path / "out", pictures=False)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), str(HELPERS.parents[1] / "BrainAnomaly")])}
    command = [sys.executable, "-c", SLOW_WRITER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as writer:
        assert writer.stdout.readline() == b"wrote\n"
        writer.send_signal(signal.SIGKILL)
    assert summary_of(out)["scan"]["name"] == "first"
    (scratch,) = hidden(tmp_path)
    write_results(made_detection("third"), out, pictures=False)
    assert hidden(tmp_path) == [scratch]
    os.utime(tmp_path / scratch, (time.time() - 7200, time.time() - 7200))
    write_results(made_detection("fourth"), out, pictures=False)
    assert hidden(tmp_path) == []
    assert summary_of(out)["scan"]["name"] == "fourth"


def test_a_writer_killed_between_the_two_renames_is_mended(tmp_path: Path, monkeypatch) -> None:
    out = write_results(made_detection("first"), tmp_path / "out", pictures=False)
    scratch = tmp_path / ".out-writing-dead"
    scratch.mkdir()
    out.rename(scratch / "old")
    monkeypatch.setattr(results, "write_volume", fail_at("anomaly", OSError(28, "No space left on device")))
    with pytest.raises(OutputError):
        write_results(made_detection("second"), out, pictures=False)
    assert summary_of(out)["scan"]["name"] == "first"


def test_scratch_folders_of_other_results_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / ".out[1]-writing-dead"
    other.mkdir()
    os.utime(other, (1.0, 1.0))
    write_results(made_detection(), tmp_path / "out", pictures=False)
    assert other.is_dir()


def test_many_findings_keep_their_numbers() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.int32)
    labels[1, 1, 1] = 70000
    assert results._compact(labels)[1, 1, 1] == 70000


@pytest.mark.parametrize("reconstruction", [True, False])
def test_the_overview_picture(tmp_path: Path, reconstruction: bool) -> None:
    folder = write_results(made_detection(reconstruction=reconstruction), tmp_path / "out")
    assert (folder / "overview.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("reconstruction", [True, False])
def test_a_result_is_read_back_as_it_was(tmp_path: Path, reconstruction: bool) -> None:
    detection = made_detection("Müller", reconstruction=reconstruction)
    read = read_results(write_results(detection, tmp_path / AWKWARD / "out", pictures=False), detection.scan)
    for name in ("anomaly", "pseudo_healthy", "residual", "brain_mask", "template_from_native", "structures"):
        expected, value = getattr(detection, name), getattr(read, name)
        assert (value is None) == (expected is None)
        assert expected is None or np.array_equal(value, expected)
    assert np.array_equal(read.findings.labels, detection.findings.labels)
    assert (read.findings.table, read.findings.threshold) == (detection.findings.table, 3.0)
    assert (read.contrast, read.warnings) == (detection.contrast, ("Only a test.",))
    assert vars(read.quality) == vars(detection.quality)
    assert read.structures_source == "the template"
    assert read.with_threshold(3.0, 20.0).findings.table == detection.findings.table
    assert (read.detector, read.threshold_source) == (detection.detector, "chosen by the test")
    for name, column in vars(detection.profile).items():
        np.testing.assert_allclose(getattr(read.profile, name), column, atol=1e-6)


@pytest.mark.parametrize("name", ["anomaly_map.nii.gz", "findings.nii.gz", "residual_signed.nii.gz", "summary.json"])
def test_an_incomplete_result_is_refused(tmp_path: Path, name: str) -> None:
    detection = made_detection()
    folder = write_results(detection, tmp_path / "out", pictures=False)
    (folder / name).unlink()
    with pytest.raises(OutputError, match="not complete"):
        read_results(folder, detection.scan)


def test_a_damaged_volume_and_a_foreign_scan_are_refused(tmp_path: Path) -> None:
    detection = made_detection()
    folder = write_results(detection, tmp_path / "out", pictures=False)
    moved = Grid(GRID.shape, GRID.affine + np.diag([0.0, 0.0, 0.1, 0.0]))
    with pytest.raises(OutputError, match="another grid"):
        read_results(folder, Scan(detection.scan.array, moved))
    (folder / "anomaly_map.nii.gz").write_bytes(b"no image")
    with pytest.raises(OutputError, match="not complete"):
        read_results(folder, detection.scan)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_mounted_folder_receives_a_result(tmp_path: Path, earlier: bool) -> None:
    """``docker -v out:/out``: the folder cannot be moved, the result is moved into it file by file."""
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "--bind", str(out), str(out)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs rights that this process does not have")
    try:
        if earlier:
            write_results(made_detection(), out, pictures=False)
        write_results(made_detection(reconstruction=False), out, pictures=False)
        content = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert {path.name for path in out.iterdir()} == {"summary.json", *content["files"]}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.fixture
def unmovable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the system refuses to move, as it does a mount."""
    out, rename = tmp_path / "out", Path.rename
    out.mkdir()

    def refuse(path: Path, target: Path) -> Path:
        if out in (path, Path(target)):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    return out


def test_a_folder_that_cannot_be_moved_receives_a_result(unmovable: Path) -> None:
    write_results(made_detection(), unmovable, pictures=False)
    write_results(made_detection(reconstruction=False), unmovable, pictures=False)
    content = json.loads((unmovable / "summary.json").read_text(encoding="utf-8"))
    assert {path.name for path in unmovable.iterdir()} == {"summary.json", *content["files"]}


def test_a_failed_move_into_a_mount_brings_the_earlier_result_back(unmovable: Path, monkeypatch) -> None:
    write_results(made_detection(reconstruction=False), unmovable, pictures=False)
    before = {path.name: path.read_bytes() for path in unmovable.iterdir()}
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "residual_signed.nii.gz":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_results(made_detection(), unmovable, pictures=False)
    assert {path.name: path.read_bytes() for path in unmovable.iterdir()} == before


KILLED_MOVE = """
import os, sys
from pathlib import Path
from BrainAnomalyLib.output import folder as results
from made_detection import made_detection

results._cannot_move = lambda folder: True
rename = Path.rename
Path.rename = lambda path, target: os._exit(9) if path.name == sys.argv[2] else rename(path, target)
results.write_results(made_detection("second"), Path(sys.argv[1]), pictures=False)
"""


@pytest.mark.parametrize("mended_at_once", [True, False])
def test_a_writer_killed_while_it_moves_files_is_mended(tmp_path: Path, monkeypatch, mended_at_once: bool) -> None:
    """Also where the mending itself was cut short."""
    monkeypatch.setattr(results, "_cannot_move", lambda folder: True)
    write_results(made_detection("first", reconstruction=False), tmp_path, pictures=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    paths = {"PYTHONPATH": os.pathsep.join([str(HELPERS), str(HELPERS.parents[1] / "BrainAnomaly")])}
    command = [sys.executable, "-c", KILLED_MOVE, str(tmp_path), "residual_signed.nii.gz"]
    code = subprocess.run(command, env={**os.environ, **paths}, check=False).returncode
    assert (code, (tmp_path / "summary.json").exists()) == (9, False)
    if not mended_at_once:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail_for("findings.nii.gz", Path.rename))
            with pytest.raises(OSError, match="cut short"):
                check_folder(tmp_path)
    check_folder(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def fail_for(name: str, rename):
    def failing(path: Path, target: Path) -> Path:
        if path.name == name and path.parent.name == "old":
            raise OSError("cut short")
        return rename(path, target)

    return failing


def test_a_readers_review_is_written_and_read_again_and_rejected_findings_leave_the_labels(tmp_path: Path) -> None:
    made = made_detection()
    first, second = made.findings.table
    table = (replace(first, review="rejected", comment='vessel, "sure"'), replace(second, review="kept"))
    made = replace(made, findings=replace(made.findings, table=table))
    folder = write_results(made, tmp_path / "out", pictures=False)
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["review"], row["comment"]) for row in rows] == [("rejected", 'vessel, "sure"'), ("kept", "")]
    summary = summary_of(folder)
    assert summary["total_ml"] == pytest.approx(second.volume_ml)
    assert sum(group["findings"] for group in summary["regions"]["by_region"]) == 1
    again = read_results(folder, made.scan)
    assert again.findings.table == table
    np.testing.assert_array_equal(np.unique(again.findings.labels), [0, 2])
