"""Folders with DICOM series, written by pydicom."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.io.dicom import series_files
from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.preparation.space.orientation import to_ras
from dicom_series import make_color, write_multi_frame, write_series
from synthetic import AWKWARD, grid_of

SHAPE = (16, 18, 12)
ARRAY = np.random.default_rng(0).integers(1, 1000, SHAPE)
AXIAL = grid_of(SHAPE, (0.9, 1.1, 5.0), "LPS")


def as_another_image(path: Path, copy: Path) -> None:
    shutil.copy(path, copy)
    edit(copy, SOPInstanceUID=generate_uid())


def edit(path: Path, **values) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def shifted(path: Path, millimeters: float) -> None:
    """Move one slice within its plane."""
    x, y, z = pydicom.dcmread(path).ImagePositionPatient
    edit(path, ImagePositionPatient=[x + millimeters, y, z])


@pytest.mark.parametrize(
    "grid",
    [
        AXIAL,
        grid_of(SHAPE, (0.9, 1.1, 5.0), "LPS", degrees=17.0),
        grid_of(SHAPE, (0.45, 0.45, 7.0), "LPI", degrees=9.0),
        grid_of(SHAPE, (1.0, 1.0, 1.2), "PIR", degrees=4.0),
        grid_of(SHAPE, (0.5, 0.5, 0.5), "LIP"),
    ],
)
def test_values_and_geometry(tmp_path: Path, grid: Grid) -> None:
    write_series(tmp_path, ARRAY, grid)
    scan = read_scan(tmp_path)
    values, where = to_ras(scan.array, scan.grid)
    expected, expected_where = to_ras(ARRAY, grid)
    assert np.array_equal(values, expected)
    assert where.same_as(expected_where, tolerance_mm=1e-3)
    assert scan.name == "T1 3D"


def test_order_comes_from_positions_not_from_file_names(tmp_path: Path) -> None:
    names = [f"{number}" for number in np.random.default_rng(2).permutation(SHAPE[2])]
    write_series(tmp_path / AWKWARD, ARRAY, AXIAL, names=names)
    assert np.array_equal(read_scan(tmp_path / AWKWARD).array, ARRAY)


def test_other_files_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    write_series(tmp_path, ARRAY, AXIAL)
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 200)
    (tmp_path / "subfolder").mkdir()
    assert np.array_equal(read_scan(tmp_path).array, ARRAY)


def test_frames_of_an_enhanced_image_have_slopes_and_intercepts_of_their_own(tmp_path: Path) -> None:
    order = list(range(SHAPE[2]))[::-1]
    scaling = [(0.5 + 0.25 * frame, 10.0 * frame - 3.0) for frame in range(SHAPE[2])]
    write_multi_frame(tmp_path / "series" / "1", ARRAY, AXIAL, order, scaling)
    scan = read_scan(tmp_path / "series")
    stored = np.ascontiguousarray(ARRAY).astype("<u2").astype(float)
    wanted = stored.copy()
    for frame, index in enumerate(order):
        wanted[:, :, index] = stored[:, :, index] * scaling[frame][0] + scaling[frame][1]
    np.testing.assert_allclose(scan.array, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("codes", ["LPS", "LPI", "PIR"])
def test_an_enhanced_multi_frame_image(tmp_path: Path, codes: str) -> None:
    grid = grid_of(SHAPE, (0.9, 1.1, 5.0), codes, degrees=14.0)
    order = [int(index) for index in np.random.default_rng(3).permutation(SHAPE[2])]
    write_multi_frame(tmp_path / "series" / "1", ARRAY, grid, order)
    scan = read_scan(tmp_path / "series")
    values, where = to_ras(scan.array, scan.grid)
    expected, expected_where = to_ras(ARRAY, grid)
    assert np.array_equal(values, expected)
    assert where.same_as(expected_where, tolerance_mm=1e-3)
    assert scan.name == "T1 enhanced"


@pytest.mark.parametrize(
    ("order", "sentence"), [([0, 1, 2, 4, 5, 6, 7], "missing slices"), ([0, 1, 2, 3, 4, 5, 0, 1], "one position")]
)
def test_unusable_multi_frame_images(tmp_path: Path, order: list[int], sentence: str) -> None:
    write_multi_frame(tmp_path / "1", ARRAY, AXIAL, order)
    with pytest.raises(ScanError, match=sentence):
        read_scan(tmp_path)


def test_a_multi_frame_image_without_positions(tmp_path: Path) -> None:
    write_multi_frame(tmp_path / "1", ARRAY, AXIAL, list(range(SHAPE[2])))
    edit(tmp_path / "1", PerFrameFunctionalGroupsSequence=None)
    with pytest.raises(ScanError, match="does not say where its slices lie"):
        read_scan(tmp_path)


def test_stored_scaling_is_applied(tmp_path: Path) -> None:
    write_series(tmp_path, ARRAY, AXIAL, RescaleSlope=2, RescaleIntercept=-100)
    assert np.array_equal(read_scan(tmp_path).array, 2.0 * ARRAY - 100.0)


def test_a_series_without_description_takes_the_folder_name(tmp_path: Path) -> None:
    write_series(tmp_path / "Müller", ARRAY, AXIAL, description="")
    assert read_scan(tmp_path / "Müller").name == "Müller"


Damage = Callable[[list[Path]], object]
SLANT: Damage = lambda paths: [shifted(path, 0.8 * index) for index, path in enumerate(paths)]  # noqa: E731
DAMAGES: dict[str, tuple[Damage, str]] = {
    "three missing slices": (lambda paths: [paths[k].unlink() for k in (4, 5, 6)], "missing slices"),
    "two gaps": (lambda paths: [paths[k].unlink() for k in (3, 6)], "missing slices"),
    "same position twice": (lambda paths: as_another_image(paths[3], paths[3].with_name("again")), "one position"),
    "pixels cut short": (lambda paths: paths[5].write_bytes(paths[5].read_bytes()[:-300]), "cannot be read"),
    "header cut short": (lambda paths: paths[-1].write_bytes(paths[-1].read_bytes()[:400]), "damaged or cut short"),
    "start cut short": (lambda paths: paths[0].write_bytes(paths[0].read_bytes()[:180]), "damaged or cut short"),
    "empty file": (lambda paths: paths[-1].write_bytes(b""), "damaged or cut short"),
    "color": (lambda paths: [make_color(path) for path in paths], "color"),
    "one color slice": (lambda paths: make_color(paths[4]), "color"),
    "not MR": (lambda paths: [edit(path, Modality="CT") for path in paths], "is CT, not MR"),
    "turned slice": (lambda paths: edit(paths[6], ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "orientation"),
    "other pixel size": (lambda paths: edit(paths[6], PixelSpacing=[2, 2]), "different size"),
    "other matrix": (lambda paths: edit(paths[6], Rows=9, PixelData=bytes(9 * 16 * 2)), "different size"),
    "no positions": (lambda paths: [edit(path, ImagePositionPatient=None) for path in paths], "slice positions"),
    "no orientation": (lambda paths: [edit(path, ImageOrientationPatient=None) for path in paths], "lacks"),
    "slanted stack": (SLANT, "slanted"),
    "multi-frame": (lambda paths: [edit(path, NumberOfFrames=3) for path in paths], "several multi-frame"),
    "single slice": (lambda paths: [path.unlink() for path in paths[1:]], "too few slices"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unusable_series(tmp_path: Path, damage: str) -> None:
    change, sentence = DAMAGES[damage]
    change(write_series(tmp_path / "series", ARRAY, AXIAL))
    with pytest.raises(ScanError, match=sentence) as caught:
        read_scan(tmp_path / "series")
    assert caught.value.remedy


@pytest.mark.parametrize("missing", [(5,), (1,), (9,), (4, 5)])
def test_one_gap_of_up_to_two_slices_is_bridged(tmp_path: Path, missing: tuple[int, ...]) -> None:
    ramp = (np.arange(math.prod(SHAPE)).reshape(SHAPE) // 7).astype(np.uint16)
    paths = write_series(tmp_path, ramp, AXIAL)
    whole = read_scan(tmp_path)
    for index in missing:
        paths[index].unlink()
    scan = read_scan(tmp_path)
    assert scan.grid.same_as(whole.grid, tolerance_mm=1e-3)
    assert np.allclose(scan.array, whole.array, atol=1.0)
    (said,) = scan.warnings
    assert "interpolated" in said
    assert f"behind slice {missing[0]} " in said or f"behind slice {SHAPE[2] - 1 - missing[-1]} " in said


def test_an_image_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ARRAY, AXIAL)
    whole = read_scan(tmp_path)
    for index in (0, 3, 7):
        shutil.copy(paths[index], tmp_path / f"again{index}")
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.array, whole.array)
    assert scan.grid.same_as(whole.grid)
    assert scan.warnings == ()
    assert len(series_files(tmp_path)) == SHAPE[2]


def two_series(folder: Path) -> None:
    """The smaller one has the smaller number."""
    names = [f"b{index}" for index in range(6)]
    half = Grid((*SHAPE[:2], 6), AXIAL.affine)
    write_series(folder, ARRAY[..., :6], half, names=names, description="localizer", SeriesNumber=1)
    write_series(folder, ARRAY, AXIAL, description="T1 3D", SeriesNumber=20, SeriesDate="20260131", SliceThickness=5)


def test_two_series_are_listed_by_number(tmp_path: Path) -> None:
    two_series(tmp_path)
    with pytest.raises(ScanError) as caught:
        read_scan(tmp_path)
    assert caught.value.message.endswith("holds 2 series.")
    advice, first, second = caught.value.remedy.splitlines()
    assert first.startswith("  1. localizer, 16 x 18 x 6 voxels")
    assert second == "  2. T1 3D, 16 x 18 x 12 voxels, 1.1 x 0.9 x 5 mm, 2026-01-31"
    assert "number 2 is the largest volume" in advice


def test_one_of_two_series_is_chosen_by_number_or_uid(tmp_path: Path) -> None:
    two_series(tmp_path)
    by_number = read_scan(tmp_path, series="2")
    uid = str(pydicom.dcmread(series_files(tmp_path, "2")[0]).SeriesInstanceUID)
    assert by_number.name == read_scan(tmp_path, series=uid).name == "T1 3D"
    assert by_number.array.shape == SHAPE
    assert read_scan(tmp_path, series="1").name == "localizer"
    for wrong in ("0", "3", "1.2.3"):
        with pytest.raises(ScanError, match=rf"no series '{wrong}'"):
            read_scan(tmp_path, series=wrong)


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("letter", encoding="utf-8")
    with pytest.raises(ScanError, match="no readable DICOM images"):
        read_scan(tmp_path)
