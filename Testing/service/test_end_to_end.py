"""The whole way through the command line: results lie in the submitted scan's own geometry, to the voxel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.io.geometry import to_image
from engine_process import engine
from synthetic import AWKWARD, LESION_CENTER, flair_brain, grid_of, noise, save_nifti

VOLUMES = ("anomaly_map", "brain_mask", "findings")
CASES = {
    # extension, shape, spacing in mm, axis codes, turn in degrees
    "oblique LAS 0.9 x 0.9 x 4 mm": (".nii.gz", (210, 250, 46), (0.9, 0.9, 4.0), "LAS", 9.0),
    "LPS 0.45 x 0.45 x 7 mm": (".nrrd", (420, 500, 27), (0.45, 0.45, 7.0), "LPS", 5.0),
    "PIR 2 mm": (".mgz", (110, 95, 95), (2.0, 2.0, 2.0), "PIR", 12.0),
}


class Run:
    """One scan and what the command line made of it."""

    def __init__(self, folder: Path, case: str) -> None:
        extension, shape, spacing, codes, degrees = CASES[case]
        self.grid = grid_of(shape, spacing, codes, degrees, center=(0.0, -17.0, 5.0))
        self.scan = folder / AWKWARD / f"skén{extension}"
        self.array = flair_brain(self.grid)
        save(self.scan, self.array, self.grid)
        self.out = folder / AWKWARD / "výsledky 1"
        self.pictures = extension == ".nii.gz"
        options = ["--detector", "histogram", "--contrast", "FLAIR", "--threshold", "0.985", "--json"]
        options += [] if self.pictures else ["--no-pictures"]
        self.process: subprocess.CompletedProcess[bytes] = engine("detect", self.scan, "--out", self.out, *options)


def save(path: Path, array: np.ndarray, grid) -> None:
    path.parent.mkdir(parents=True)
    if path.suffix == ".mgz":
        nibabel.save(nibabel.freesurfer.MGHImage(array, grid.affine), path)
    elif path.suffix == ".nrrd":
        SimpleITK.WriteImage(to_image(array, grid), str(path), useCompression=True)
    else:
        save_nifti(path, array, grid.affine)


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), request.param)


def test_the_process_ends_well(run: Run) -> None:
    messages = run.process.stderr.decode("utf-8")
    assert run.process.returncode == 0, messages
    assert messages.startswith("[  0 %] Reading the scan\n")
    assert messages.endswith("[100 %] Finished\n")
    percents = [int(line[1:4]) for line in messages.splitlines()]
    assert percents == sorted(percents)


def test_standard_output_is_the_summary(run: Run) -> None:
    printed = json.loads(run.process.stdout)
    written = json.loads((run.out / "summary.json").read_text(encoding="utf-8"))
    assert Path(printed.pop("folder")) == run.out.resolve()
    assert printed == written
    assert written["scan"]["shape"] == list(run.grid.shape)
    assert written["scan"]["axes"] == run.grid.axis_codes


@pytest.mark.parametrize("name", VOLUMES)
def test_geometry_to_the_voxel(run: Run, name: str) -> None:
    result = nibabel.load(run.out / f"{name}.nii.gz")
    assert result.shape == run.grid.shape
    assert np.abs(result.affine - run.grid.affine).max() < 1e-4
    if run.scan.suffix != ".mgz":
        before, after = SimpleITK.ReadImage(str(run.scan)), SimpleITK.ReadImage(str(run.out / f"{name}.nii.gz"))
        assert before.GetSize() == after.GetSize()
        for read in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(before, read)(), getattr(after, read)(), atol=1e-4)
    if run.scan.suffix != ".nrrd":
        assert np.abs(nibabel.load(run.scan).affine - result.affine).max() < 1e-4


def test_the_map_follows_the_anatomy(run: Run) -> None:
    """The brightest tissue of the submitted scan is the highest of the map, voxel by voxel."""
    mask = nibabel.load(run.out / "brain_mask.nii.gz").get_fdata() > 0
    anomaly = nibabel.load(run.out / "anomaly_map.nii.gz").get_fdata()
    assert (mask != (run.array > 0)).mean() < 0.002
    assert not anomaly[~mask].any()
    assert np.corrcoef(anomaly[mask], run.array[mask])[0, 1] > 0.7


def test_the_lesion_is_found_where_it_is(run: Run) -> None:
    labels = nibabel.load(run.out / "findings.nii.gz").get_fdata()
    i, j, k = np.round(run.grid.to_index(np.array([LESION_CENTER]))[0]).astype(int)
    near = labels[i - 1 : i + 2, j - 1 : j + 2, k]
    assert near.any()
    summary = json.loads((run.out / "summary.json").read_text(encoding="utf-8"))
    hit = next(row for row in summary["findings"] if row["id"] == int(near[near > 0].min()))
    assert hit["side"] == "right"
    assert np.linalg.norm(np.subtract(hit["centroid_ras"], LESION_CENTER)) < 6.0


def test_nothing_but_the_result_is_left(run: Run) -> None:
    assert sorted(path.name for path in run.out.parent.iterdir()) == sorted([run.scan.name, run.out.name])
    assert (run.out / "overview.png").is_file() == run.pictures


def test_a_scan_without_a_brain_is_refused(tmp_path: Path) -> None:
    scan = save_nifti(tmp_path / "noise.nii.gz", noise((90, 90, 90)), np.diag([2.0, 2.0, 2.0, 1.0]))
    ended = engine("detect", scan, "--out", tmp_path / "out", "--detector", "histogram", "--quiet")
    assert ended.returncode == 5, ended.stderr.decode("utf-8")
    assert ended.stderr.startswith(b"error: ")
    assert ended.stderr.count(b"\n") == 1
    assert not (tmp_path / "out").exists()
