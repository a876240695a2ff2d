"""Files as other software leaves them: no value in some voxels, axes off right angles, two places in one header."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.io.geometry import to_image
from BrainAnomalyLib.io.volumes import read_array, read_mask, read_scan, write_volume
from synthetic import grid_of, noise, save_nifti

SHAPE = (20, 22, 24)
GRID = grid_of(SHAPE, (1.0, 1.2, 0.9), "LAS")


def head() -> np.ndarray:
    """A ball of noise on a background of 0."""
    i, j, k = np.indices(SHAPE)
    ball = (i - 9.5) ** 2 + (j - 10.5) ** 2 + (k - 11.5) ** 2 < 81.0
    return np.where(ball, 50.0 + noise(SHAPE), 0.0).astype(np.float32)


def saved(folder: Path, extension: str, array: np.ndarray) -> Path:
    path = folder / f"scan{extension}"
    if extension.startswith(".nii"):
        return save_nifti(path, array, GRID.affine)
    if extension == ".mgz":
        nibabel.save(nibabel.freesurfer.MGHImage(array, GRID.affine), path)
    else:
        SimpleITK.WriteImage(to_image(array, GRID), str(path))
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz"])
class TestVoxelsWithoutValue:
    """NaN and infinity."""

    def test_outside_the_head_they_are_background(self, tmp_path, extension, value):
        scan = read_scan(saved(tmp_path, extension, np.where(head() > 0.0, head(), value).astype(np.float32)))
        assert np.array_equal(scan.array, head())
        assert scan.warnings == ()

    def test_a_few_inside_are_filled_and_counted(self, tmp_path, extension, value):
        spoiled = head()
        spoiled[9:11, 10, 11:13] = value
        scan = read_scan(saved(tmp_path, extension, spoiled))
        same = np.isfinite(spoiled)
        assert np.array_equal(scan.array[same], head()[same])
        assert scan.array[~same].min() >= 50.0
        assert scan.warnings == (
            "4 voxels inside the head had no value (NaN or infinite) and took that of the nearest voxel.",
        )

    def test_many_inside_are_refused_with_their_number(self, tmp_path, extension, value):
        spoiled = head()
        spoiled[7:12, 8:13, 9:14] = value
        with pytest.raises(ScanError, match="at 125 voxels inside the head"):
            read_scan(saved(tmp_path, extension, spoiled))


def test_the_background_of_a_scan_below_zero_lies_below_it(tmp_path):
    z_scored = np.where(head() > 0.0, (head() - 400.0) / 200.0, np.nan).astype(np.float32)
    scan = read_scan(saved(tmp_path, ".nii.gz", z_scored))
    outside = head() == 0.0
    assert np.ptp(scan.array[outside]) == 0.0
    assert scan.array[outside].max() < np.nanmin(z_scored)


def test_nan_counts_as_outside_a_mask(tmp_path):
    scan = read_scan(saved(tmp_path, ".nii.gz", head()))
    mask = save_nifti(tmp_path / "mask.nii.gz", np.where(head() > 0.0, 1.0, np.nan).astype("f4"), GRID.affine)
    assert np.array_equal(read_mask(mask, scan), head() > 0.0)


def slanted(cosine: float) -> np.ndarray:
    """The affine of GRID with its second axis leaning along its first."""
    affine = GRID.affine.copy()
    affine[:3, 1] += cosine * GRID.spacing[1] * GRID.direction[:, 0]
    return affine


def with_sform_alone(path: Path, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(head(), affine)
    image.set_sform(affine, 2)
    image.header["qform_code"] = 0
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("cosine", "words"), [(2e-4, "nearest rectangular grid"), (0.03, "resampled for the analysis")]
)
def test_axes_off_right_angles(tmp_path, cosine, words):
    scan = read_scan(with_sform_alone(tmp_path / "scan.nii.gz", slanted(cosine)))
    assert np.array_equal(scan.array, head())
    assert words in scan.warnings[0]
    middle = (np.asarray(SHAPE) - 1.0) / 2.0
    truth = slanted(cosine) @ [*middle, 1.0]
    assert np.allclose(scan.grid.affine @ [*middle, 1.0], truth, atol=1e-4)
    write_volume(tmp_path / "map.nii.gz", scan.array, scan.grid)
    written = nibabel.load(tmp_path / "map.nii.gz")
    assert np.allclose(written.affine, slanted(cosine), atol=1e-6)
    assert int(written.header["sform_code"]) == 2
    array, grid = read_array(tmp_path / "map.nii.gz")
    assert np.array_equal(array, head())
    assert grid.same_as(scan.grid)


def swapped_sides(path: Path) -> Path:
    sform = GRID.affine.copy()
    sform[0] *= -1.0
    image = nibabel.Nifti1Image(head(), GRID.affine)
    image.set_qform(GRID.affine, 1)
    image.set_sform(sform, 2)
    nibabel.save(image, path)
    return path


def test_forms_that_swap_sides_are_said_and_kept(tmp_path):
    scan = read_scan(swapped_sides(tmp_path / "scan.nii.gz"))
    assert scan.grid.same_as(GRID, tolerance_mm=1e-3)
    assert "disagree on left and right; its qform was followed" in scan.warnings[0]
    write_volume(tmp_path / "map.nii.gz", scan.array > 0.0, scan.grid)
    given, written = (nibabel.load(tmp_path / name) for name in ("scan.nii.gz", "map.nii.gz"))
    for form in ("get_qform", "get_sform"):
        (first, code), (second, same_code) = (getattr(image, form)(coded=True) for image in (given, written))
        assert code == same_code
        assert np.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("degrees", [0.0, 25.0])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_forms_that_agree_say_nothing(tmp_path, codes, degrees):
    grid = grid_of(SHAPE, (1.0, 1.2, 0.9), codes, degrees)
    image = nibabel.Nifti1Image(head(), grid.affine)
    image.set_qform(grid.affine, 1)
    image.set_sform(grid.affine, 1)
    nibabel.save(image, tmp_path / "scan.nii")
    scan = read_scan(tmp_path / "scan.nii")
    assert scan.warnings == ()
    assert scan.grid.forms is None


def test_forms_at_two_positions_are_said(tmp_path):
    image = nibabel.Nifti1Image(head(), GRID.affine)
    moved = GRID.affine.copy()
    moved[1, 3] += 30.0
    image.set_qform(GRID.affine, 1)
    image.set_sform(moved, 4)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    assert "two different positions" in read_scan(tmp_path / "scan.nii.gz").warnings[0]


@pytest.mark.parametrize("spoil", [{"quatern_b": np.nan}, {"qoffset_x": np.inf}])
def test_a_qform_that_says_nothing_is_no_second_place(tmp_path, spoil):
    image = nibabel.Nifti1Image(head(), GRID.affine)
    image.set_qform(GRID.affine, 1)
    image.set_sform(GRID.affine, 1)
    for name, value in spoil.items():
        image.header[name] = value
    path = tmp_path / "scan.nii.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(image.header.binaryblock + bytes(4))
        stream.write(head().tobytes(order="F"))
    scan = read_scan(path)
    assert scan.warnings == ()
    assert scan.grid.same_as(GRID, tolerance_mm=1e-3)


@pytest.mark.parametrize(("sizes", "code"), [((1.2, 2.0), 0), ((0.0, 0.9), 1)])
def test_voxel_sizes_that_disagree_with_the_sform_are_said(tmp_path, sizes, code):
    image = nibabel.Nifti1Image(head(), GRID.affine)
    image.header["pixdim"][2:4] = sizes
    image.header["qform_code"] = code
    with gzip.open(tmp_path / "scan.nii.gz", "wb") as stream:
        stream.write(image.header.binaryblock + bytes(4))
        stream.write(head().tobytes(order="F"))
    scan = read_scan(tmp_path / "scan.nii.gz")
    assert scan.grid.same_as(GRID, tolerance_mm=1e-3)
    assert "sform, which was followed" in scan.warnings[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2])
def test_an_empty_slice_or_two_between_others_are_interpolated_and_said(tmp_path, axis, count):
    spoiled = head()
    np.moveaxis(spoiled, axis, 0)[9 : 9 + count] = 0.0
    scan = read_scan(saved(tmp_path, ".nii.gz", spoiled))
    found, whole = np.moveaxis(scan.array, axis, 0), np.moveaxis(head(), axis, 0)
    assert np.array_equal(found[:9], whole[:9])
    share = 1.0 / (count + 1.0)
    assert np.allclose(found[9], whole[8] * (1.0 - share) + whole[9 + count] * share, rtol=1e-5)
    (said,) = scan.warnings
    assert f"{('first', 'second', 'third')[axis]} axis" in said


def test_a_longer_gap_and_empty_ends_stay_as_they_are(tmp_path):
    spoiled = head()
    spoiled[8:11] = 0.0
    scan = read_scan(saved(tmp_path, ".nii.gz", spoiled))
    assert np.array_equal(scan.array, spoiled)
    assert scan.warnings == ()
