"""The scans of BIDS data sets, folders and tables as they are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from BrainAnomalyLib.cohort.entries import Entry, Selection, with_keys
from BrainAnomalyLib.cohort.sources import find_cohort
from BrainAnomalyLib.errors import OptionsError
from dicom_series import write_series
from synthetic import grid_of, noise


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def seen(cohort) -> dict[str, str]:
    return {entry.key: entry.contrast for entry in cohort.entries}


def reasons(cohort) -> dict[str, str]:
    return {one.path.name: one.reason for one in cohort.left_out}


@pytest.fixture
def bids(tmp_path):
    """Mixed contrasts, several runs, a missing session, derivatives, a dead link, things that are ignored."""
    root = tmp_path / "bids"
    touched(
        root,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_run-1_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_run-2_T2w.nii.gz",
        "sub-02/anat/sub-02_ce-gad_T1w.nii.gz",
        "sub-02/anat/sub-02_PDw.nii",
        "sub-02/anat/sub-02_T2starw.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_desc-brain_T1w.nii.gz",
    )
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}), encoding="utf-8")
    (root / ".bidsignore").write_text("extra/\n", encoding="utf-8")
    touched(root, "extra/sub-09_T1w.nii.gz")
    (root / "sub-03" / "anat").mkdir(parents=True)
    (root / "sub-03" / "anat" / "sub-03_T1w.nii.gz").symlink_to(tmp_path / "nowhere")
    (root / "sub-04" / "anat").mkdir(parents=True)
    (root / "sub-04" / "anat" / "sub-04_FLAIR.nii.gz").symlink_to(root / "sub-02" / "anat" / "sub-02_PDw.nii")
    return root


class TestBids:
    """Data sets in BIDS."""

    def test_images_with_their_entities(self, bids):
        found = find_cohort(bids)
        assert seen(found) == {
            "sub-01/ses-a/FLAIR": "FLAIR",
            "sub-01/ses-a/T1w": "T1w",
            "sub-01/ses-b/sub-01_ses-b_run-1_T2w": "T2w",
            "sub-01/ses-b/sub-01_ses-b_run-2_T2w": "T2w",
            "sub-02/PD": "PD",
            "sub-04/FLAIR": "FLAIR",
        }
        assert found.entries[2].extra == {"run": "1"}
        assert "contrast agent" in reasons(found)["sub-02_ce-gad_T1w.nii.gz"]
        assert "T2starw" in reasons(found)["sub-02_T2starw.nii.gz"]

    def test_a_read_only_data_set(self, bids):
        for path in sorted(bids.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        bids.chmod(0o555)
        assert len(find_cohort(bids).entries) == 6

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            (Selection(subjects=("02",)), ["sub-02/PD"]),
            (Selection(subjects=("sub-01",), sessions=("a",)), ["sub-01/ses-a/FLAIR", "sub-01/ses-a/T1w"]),
            (Selection(contrasts=("FLAIR",)), ["sub-01/ses-a/FLAIR", "sub-04/FLAIR"]),
        ],
    )
    def test_filters(self, bids, wanted, keys):
        assert [entry.key for entry in find_cohort(bids, wanted).entries] == keys

    def test_nothing_left_is_said(self, bids):
        with pytest.raises(OptionsError, match="holds no scan that was asked for"):
            find_cohort(bids, Selection(subjects=("77",)))


class TestFolder:
    """Any folder."""

    def test_any_nesting_and_format(self, tmp_path):
        root = touched(
            tmp_path / "scans",
            "anna/T1.nii.gz",
            "anna/T2.nrrd",
            "bob/2020-01-01/flair.mha",
            "bob/2021-01-01/flair.mha",
            "bob/2021-01-01/flair_brain_mask.nii.gz",
            "carl_lesion.nii.gz",
            "notes.txt",
        )
        (root / "deep" / "er").mkdir(parents=True)
        (root / "deep" / "er" / "loop").symlink_to(root)
        found = find_cohort(root)
        assert seen(found) == {
            "anna/T1w": "T1w",
            "anna/T2w": "T2w",
            "bob/2020-01-01/FLAIR": "FLAIR",
            "bob/2021-01-01/FLAIR": "FLAIR",
        }
        assert "brain mask" in reasons(found)["flair_brain_mask.nii.gz"]
        assert "lesion" in reasons(found)["carl_lesion.nii.gz"]

    def test_series_in_one_folder_are_told_apart(self, tmp_path):
        shape, grid = (16, 18, 12), grid_of((16, 18, 12), (1.0, 1.0, 4.0))
        for number, name in enumerate(("T1 3D", "FLAIR ax", "localizer")):
            names = [f"{number}-{index}" for index in range(shape[2])]
            patient = {"PatientID": "P7", "StudyInstanceUID": "1.2.3"}
            write_series(tmp_path / "study", noise(shape), grid, names, name, **patient)
        found = find_cohort(tmp_path)
        assert seen(found) == {"P7/T1w": "T1w", "P7/FLAIR": "FLAIR"}
        assert len({entry.series for entry in found.entries}) == 2
        assert list(reasons(found).values()) == ["It is a localizer."]


class TestTable:
    """A CSV or TSV table."""

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_columns(self, tmp_path, delimiter):
        touched(tmp_path, "a.nii.gz", "b.nii.gz", "m.nii.gz")
        rows = [
            ["Subject", "session", "contrast", "path", "mask", "age", "site"],
            ["s1", "v1", "flair", "a.nii.gz", "m.nii.gz", "50", "north"],
            ["s2", "", "", "b.nii.gz", "", "", "south"],
            ["s3", "", "CT", "b.nii.gz", "", "", ""],
            ["s4", "", "T1w", "missing.nii.gz", "", "", ""],
            ["s5", "", "T1w", "b.nii.gz", "nomask.nii.gz", "", ""],
            ["s6", "", "T1w", "", "", "", ""],
        ]
        path = tmp_path / ("scans.tsv" if delimiter == "\t" else "scans.csv")
        path.write_text("\ufeff" + "\n".join(delimiter.join(row) for row in rows), encoding="utf-8")
        found = find_cohort(path)
        assert seen(found) == {"s1/v1/FLAIR": "FLAIR", "s2/b": "unknown"}
        assert found.entries[0].mask == tmp_path / "m.nii.gz"
        assert found.entries[0].extra == {"age": "50", "site": "north"}
        assert [one.reason for one in found.left_out] == [
            "Its contrast 'CT' is not known.",
            "There is no such file or folder.",
            f"There is no mask '{tmp_path / 'nomask.nii.gz'}'.",
            "A row of the table names no path.",
        ]

    def test_without_paths_it_is_refused(self, tmp_path):
        (tmp_path / "scans.csv").write_text("subject,file\ns1,a.nii.gz\n", encoding="utf-8")
        with pytest.raises(OptionsError, match="no column 'path'"):
            find_cohort(tmp_path / "scans.csv")

    def test_something_else_is_refused(self, tmp_path):
        with pytest.raises(OptionsError, match="no folder and no table"):
            find_cohort(tmp_path / "nothing")


def test_keys_are_safe_and_apart():
    made = [
        Entry(Path("a/x.nii"), "../evil", "ses 1", "FLAIR"),
        Entry(Path("b/x.nii"), "../evil", "ses 1", "FLAIR"),
        Entry(Path("c/y.nii"), "Anna", "", "T1w"),
        Entry(Path("c/z.nii"), "anna", "", "T1w"),
        Entry(Path("c/z.nii"), "...", "", "unknown"),
    ]
    keys = [entry.key for entry in with_keys(made)]
    assert len({key.casefold() for key in keys}) == len(keys)
    assert not any(part in ("", ".", "..") for key in keys for part in key.split("/"))
