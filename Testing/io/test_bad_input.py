"""Every unusable scan gives one clear sentence that names what is wrong and what to do."""

from __future__ import annotations

import contextlib
import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.errors import BrainAnomalyError, OptionsError, PreparationError, ScanError
from BrainAnomalyLib.io.geometry import Grid, to_image
from BrainAnomalyLib.io.volumes import checked_scan, read_mask, read_scan
from BrainAnomalyLib.preparation.brain.mask import find_brain
from BrainAnomalyLib.service.jobs import DetectionJob, run_job
from synthetic import grid_of, noise, save_nifti

SHAPE = (16, 18, 20)


def with_value(value: float) -> np.ndarray:
    array = noise(SHAPE)
    array[3, 4, 5] = value
    return array


def color() -> np.ndarray:
    array = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    array["G"] = 7
    return array


NIFTI_CASES = {
    "4D": (noise((*SHAPE, 3)), "16 x 18 x 20 x 3 voxels; one 3D", "Split"),
    "5D": (noise((*SHAPE, 1, 3)), "16 x 18 x 20 x 1 x 3 voxels", "Split"),
    "2D": (noise((16, 18)), "16 x 18 voxels; one 3D", "whole volume"),
    "one slice": (noise((16, 18, 1)), "too few slices", "at least five slices"),
    "color": (color(), "color", "gray-value"),
    "complex": (noise(SHAPE).astype("c8") * 1j, "complex", "magnitude"),
    "all equal": (np.full(SHAPE, 5.0, "f4"), "same value everywhere", "Export"),
    "all zero": (np.zeros(SHAPE, "i2"), "same value everywhere", "Export"),
    "NaN everywhere": (np.full(SHAPE, np.nan, "f4"), "nothing but NaN", "Export"),
    "too large for single": (noise(SHAPE).astype("f8") * 1e60, "nothing but NaN", "Export"),
}


@pytest.mark.parametrize("case", NIFTI_CASES)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_nifti_content(tmp_path: Path, case: str, extension: str) -> None:
    array, sentence, remedy = NIFTI_CASES[case]
    with pytest.raises(ScanError, match=sentence) as caught:
        read_scan(save_nifti(tmp_path / f"bad{extension}", array))
    assert "bad" in caught.value.message
    assert remedy in caught.value.remedy


# Offset of every float of a NIfTI-1 header (nifti1.h) and how many stand there.
HEADER_FLOATS = {
    "pixdim": (76, 8),
    "vox_offset": (108, 1),
    "scl_slope": (112, 1),
    "scl_inter": (116, 1),
    "cal_max": (124, 2),
    "slice_duration": (132, 2),
    "quatern": (256, 3),
    "qoffset": (268, 3),
    "srow": (280, 12),
}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30, -1e30, -7.0])
@pytest.mark.parametrize("field", HEADER_FLOATS)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_wild_header_numbers_are_read_or_refused_in_words(
    tmp_path: Path, field: str, value: float, extension: str
) -> None:
    path = save_nifti(tmp_path / f"wild{extension}", noise(SHAPE))
    opened = gzip.open if extension.endswith("gz") else open
    with opened(path, "rb") as stream:
        content = bytearray(stream.read())
    start, count = HEADER_FLOATS[field]
    for index in range(count):
        changed = bytearray(content)
        struct.pack_into("<f", changed, start + 4 * index, value)
        with opened(path, "wb") as stream:
            stream.write(changed)
        with contextlib.suppress(BrainAnomalyError):
            scan = read_scan(path)
            assert np.isfinite(scan.array).all()
            assert np.isfinite(scan.grid.affine).all()
            assert scan.array.shape == SHAPE


def test_vector_image(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(noise((*SHAPE, 3)), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "bad.nrrd"))
    with pytest.raises(ScanError, match="vector"):
        read_scan(tmp_path / "bad.nrrd")


def test_four_dimensional_freesurfer_volume(tmp_path: Path) -> None:
    nibabel.save(nibabel.freesurfer.MGHImage(noise((*SHAPE, 3)), np.eye(4)), tmp_path / "bad.mgz")
    with pytest.raises(ScanError, match="16 x 18 x 20 x 3 voxels"):
        read_scan(tmp_path / "bad.mgz")


def saved(folder: Path, extension: str) -> Path:
    path = folder / f"good{extension}"
    if extension.startswith(".nii"):
        return save_nifti(path, noise(SHAPE))
    if extension.startswith(".mg"):
        nibabel.save(nibabel.freesurfer.MGHImage(noise(SHAPE), np.eye(4)), path)
    else:
        SimpleITK.WriteImage(to_image(noise(SHAPE), grid_of(SHAPE)), str(path), useCompression=extension == ".mha")
    return path


@pytest.mark.parametrize("kept", [0.001, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".mgh"])
def test_truncated_files(tmp_path: Path, extension: str, kept: float) -> None:
    whole = saved(tmp_path, extension).read_bytes()
    path = tmp_path / f"bad{extension}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ScanError, match=r"cannot be read: it is damaged, cut short"):
        read_scan(path)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    content = bytearray(saved(tmp_path, ".nii.gz").read_bytes())
    content[-6] ^= 0x10
    (tmp_path / "bad.nii.gz").write_bytes(content)
    with pytest.raises(ScanError, match="damaged"):
        read_scan(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh"])
def test_another_kind_of_file_under_a_known_extension(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"bad{extension}"
    path.write_text("This is a letter, not a scan.\n" * 100, encoding="utf-8")
    with pytest.raises(ScanError, match="not what its extension says"):
        read_scan(path)


@pytest.mark.parametrize(("content", "name"), [(".nii", "SCAN.NII.GZ"), (".nii.gz", "scan.nii")])
def test_nifti_is_read_by_its_content_whatever_its_name_says_of_compression(tmp_path: Path, content, name) -> None:
    right = read_scan(saved(tmp_path, content))
    saved(tmp_path, content).rename(tmp_path / name)
    found = read_scan(tmp_path / name)
    np.testing.assert_array_equal(found.array, right.array)
    assert found.grid.same_as(right.grid)
    assert found.name.lower() == "scan"


def test_voxels_in_metres_are_refused_with_the_unit(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "tiny.nii.gz", noise(SHAPE), np.diag([0.001, 0.001, 0.002, 1.0]))
    with pytest.raises(ScanError, match=r"0\.001 x 0\.001 x 0\.002 mm: is the unit metres"):
        read_scan(path)


def test_second_version_of_nifti(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(noise(SHAPE), np.eye(4)), tmp_path / "bad.nii.gz")
    with pytest.raises(ScanError, match="NIfTI-2"):
        read_scan(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_empty_files(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"bad{extension}").touch()
    with pytest.raises(ScanError, match="empty file"):
        read_scan(tmp_path / f"bad{extension}")


@pytest.mark.parametrize("name", ["bad.png", "bad.dcm", "bad.nii.bz2", "bad"])
def test_unknown_extensions_name_the_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(ScanError, match="not a file type") as caught:
        read_scan(tmp_path / name)
    assert ".nii.gz" in caught.value.remedy
    assert "DICOM" in caught.value.remedy


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no file or folder"):
        read_scan(tmp_path / "none.nii.gz")
    with pytest.raises(ScanError, match="no readable DICOM"):
        read_scan(tmp_path)


def refuse(*arguments: object, **options: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_files_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, ".nii.gz")
    scan = checked_scan(noise(SHAPE), grid_of(SHAPE), name="s")
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ScanError, match="cannot be opened: Permission denied"):
        read_scan(path)
    with pytest.raises(ScanError, match="cannot be opened: Permission denied"):
        read_mask(path, scan)


def test_sheared_orientation(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(ScanError, match="sheared"):
        read_scan(save_nifti(tmp_path / "bad.nii.gz", noise(SHAPE), affine))


@pytest.mark.parametrize(
    ("affine", "sentence"),
    [
        (np.diag([1.0, 1.0, 0.0, 1.0]), "no usable voxel size"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "no usable voxel size"),
        (np.diag([100.0, 100.0, 100.0, 1.0]), "not those of a brain scan"),
        (np.diag([25.0, 1.0, 1.0, 1.0]), "not those of a brain scan"),
    ],
)
def test_impossible_voxel_sizes(affine: np.ndarray, sentence: str) -> None:
    with pytest.raises(ScanError, match=sentence):
        checked_scan(noise(SHAPE), Grid(SHAPE, affine), name="bad")


@pytest.mark.parametrize("array", [np.empty((0, 5, 5)), np.array([["a"]]), np.zeros(SHAPE, dtype="c8")])
def test_arrays_that_are_no_scan(array: np.ndarray) -> None:
    with pytest.raises(ScanError):
        checked_scan(array, grid_of(SHAPE), name="bad")


def test_no_brain_in_the_given_mask_or_in_a_stripped_scan() -> None:
    scan = checked_scan(noise((40, 40, 40)), grid_of((40, 40, 40)), name="bad")
    small = np.zeros(scan.array.shape, dtype=bool)
    small[10:20, 10:20, 10:20] = True
    with pytest.raises(PreparationError, match="No brain was found in 'bad'"):
        find_brain(scan, given=small)
    with pytest.raises(PreparationError, match="not a brain-extracted image"):
        find_brain(scan, "stripped")


@pytest.mark.parametrize("broken", ["missing", "truncated"])
def test_a_failed_job_leaves_nothing_behind(tmp_path: Path, broken: str) -> None:
    scan = tmp_path / "in" / "scan.nii.gz"
    if broken == "truncated":
        whole = save_nifti(scan, noise(SHAPE)).read_bytes()
        scan.write_bytes(whole[:-1000])
    with pytest.raises(ScanError):
        run_job(DetectionJob(scan, tmp_path / "out", detector="histogram"))
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["in"])


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(OptionsError, match="threshold"):
        run_job(DetectionJob(tmp_path / "none.nii.gz", tmp_path / "out", threshold=threshold))
