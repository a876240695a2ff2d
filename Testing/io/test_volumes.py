"""Reading and writing scans: formats, geometry to the voxel, value types, masks."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.errors import OutputError, ScanError
from BrainAnomalyLib.io.geometry import Grid, to_image
from BrainAnomalyLib.io.volumes import checked_mask, checked_scan, read_array, read_mask, read_scan, stem, write_volume
from synthetic import AWKWARD, all_orientations, grid_of, noise, save_nifti

SHAPE = (16, 18, 20)
GRIDS = {
    "plain": grid_of(SHAPE),
    "oblique LAS": grid_of(SHAPE, codes="LAS", degrees=23.0),
    "LPS": grid_of(SHAPE, codes="LPS"),
    "0.45 x 0.45 x 7 mm": grid_of(SHAPE, (0.45, 0.45, 7.0), "LPS", degrees=8.0),
    "0.5 mm": grid_of(SHAPE, (0.5, 0.5, 0.5), "PIR"),
    "2 mm": grid_of(SHAPE, (2.0, 2.0, 2.0), "RAS", degrees=40.0),
}


def save_mgz(path: Path, array: np.ndarray, grid: Grid) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.freesurfer.MGHImage(array, grid.affine), path)
    return path


def save_simpleitk(path: Path, array: np.ndarray, grid: Grid) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(to_image(array, grid), str(path), useCompression=True)
    return path


def save(path: Path, array: np.ndarray, grid: Grid) -> Path:
    if path.name.endswith((".mgz", ".mgh")):
        return save_mgz(path, array, grid)
    return save_nifti(path, array, grid.affine) if ".nii" in path.name else save_simpleitk(path, array, grid)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh"])
def test_every_format_and_geometry_under_an_awkward_path(tmp_path: Path, extension: str, name: str) -> None:
    array, grid = noise(SHAPE), GRIDS[name]
    scan = read_scan(save(tmp_path / AWKWARD / f"skén 1.x{extension}", array, grid))
    assert np.array_equal(scan.array, array)
    assert scan.grid.same_as(grid, tolerance_mm=1e-3)
    assert scan.name == "skén 1.x"


@pytest.mark.parametrize("codes", all_orientations())
def test_all_48_orientations_return_to_the_voxel(tmp_path: Path, codes: str) -> None:
    array, grid = noise(SHAPE), grid_of(SHAPE, (0.9, 1.1, 2.0), codes, degrees=7.0)
    scan = read_scan(save_nifti(tmp_path / "in.nii.gz", array, grid.affine))
    write_volume(tmp_path / "out.nii.gz", scan.array, scan.grid)
    before, after = (nibabel.load(tmp_path / f"{name}.nii.gz") for name in ("in", "out"))
    assert np.array_equal(after.get_fdata(dtype=np.float32), array)
    assert np.abs(after.affine - before.affine).max() < 1e-4
    assert np.abs(after.get_sform() - after.get_qform()).max() < 1e-4


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_value_types_become_float32(tmp_path: Path, kind: str) -> None:
    array = (noise(SHAPE) / 10.0).astype(kind)
    scan = read_scan(save_nifti(tmp_path / "a.nii.gz", array))
    assert scan.array.dtype == np.float32
    assert np.allclose(scan.array, array)


def test_stored_scaling_is_applied(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", np.full(SHAPE, 3, "i2") + np.arange(20, dtype="i2"))
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 2.0, -7.0)
    path.write_bytes(content)
    assert np.array_equal(read_scan(path).array[0, 0], 2.0 * (3.0 + np.arange(20)) - 7.0)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    nibabel.save(nibabel.Nifti1Image(noise(SHAPE), np.eye(4), header), tmp_path / "a.nii")
    assert np.array_equal(read_scan(tmp_path / "a.nii").array, noise(SHAPE))


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    assert read_scan(save_nifti(tmp_path / "a.nii.gz", noise(SHAPE)[..., None])).array.shape == SHAPE


def test_writing_reports_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_volume(tmp_path / "none" / "a.nii.gz", noise(SHAPE), GRIDS["plain"])


@pytest.mark.skipif(os.name == "nt", reason="no limit of a file's size on Windows")
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.nrrd", "scan.mha"])
def test_a_file_that_is_cut_short_by_a_full_disk_is_reported(tmp_path: Path, name: str) -> None:
    import resource

    array, before = noise((20, 24, 20)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OutputError, match="could not be written"):
            write_volume(tmp_path / name, array, grid_of(array.shape))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    write_volume(tmp_path / name, array, grid_of(array.shape))
    assert np.array_equal(read_array(tmp_path / name)[0], array)


def test_masks_are_read_on_the_scans_grid(tmp_path: Path) -> None:
    scan = checked_scan(noise(SHAPE), GRIDS["oblique LAS"], "T1w", "s")
    mask = noise(SHAPE, 1) > 500.0
    path = save_nifti(tmp_path / "mask.nii.gz", mask.astype("u1"), scan.grid.affine)
    assert np.array_equal(read_mask(path, scan), mask)


@pytest.mark.parametrize(
    ("array", "grid", "sentence"),
    [
        (np.ones((5, 6, 7)), grid_of((5, 6, 7)), "5 x 6 x 7 voxels, the scan 's' 16 x 18 x 20"),
        (np.ones(SHAPE), grid_of(SHAPE, center=(9.0, 0.0, 0.0)), "another position"),
        (np.ones(SHAPE), grid_of(SHAPE, codes="LAS"), "another position or orientation"),
        (np.zeros(SHAPE), grid_of(SHAPE), "is empty"),
        (np.full(SHAPE, np.nan), grid_of(SHAPE), "is empty"),
    ],
)
def test_masks_that_do_not_fit_are_refused(array: np.ndarray, grid: Grid, sentence: str) -> None:
    scan = checked_scan(noise(SHAPE), GRIDS["plain"], name="s")
    with pytest.raises(ScanError, match=sentence):
        checked_mask(array, grid, scan, "m")


def test_stem_takes_double_extensions() -> None:
    assert stem(Path("a.b.nii.gz")) == "a.b"
    assert stem(Path("A.NII")) == "A"
    assert stem(Path("a.other")) == "a"
