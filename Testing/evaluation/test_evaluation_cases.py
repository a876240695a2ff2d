"""Which lesion mask belongs to which scan of a folder, and what is left open rather than guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.evaluation.cases import Case, find_cases


def make(root: Path, *names: str) -> Path:
    """Empty files: only names are read."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def cases_of(root: Path, healthy: bool = False) -> dict[str, Case]:
    return {case.scan.relative_to(root).as_posix(): case for case in find_cases(root, healthy)}


def pairs(root: Path, healthy: bool = False) -> dict[str, str | None]:
    found = cases_of(root, healthy).items()
    return {name: case.truth.relative_to(root).as_posix() if case.truth else None for name, case in found}


@pytest.mark.parametrize(
    ("scan", "truth", "subject"),
    [
        ("patient_{}_flair", "patient_{}_lesion", "patient_{}"),
        ("BraTS_0{}_flair", "BraTS_0{}_seg", "BraTS_0{}"),
        ("BraTS20_Training_0{}_flair", "BraTS20_Training_0{}_seg", "BraTS20_Training_0{}"),
        ("BraTS-GLI-000{}-000-t2f", "BraTS-GLI-000{}-000-seg", "BraTS-GLI-000{}-000"),
        ("patient{}_FLAIR_MNI_brain", "patient{}_lesion_MNI", "patient{}"),
        ("study{}_FLAIR", "study{}_lesions", "study{}"),
        ("case_00{}_0000", "case_00{}", "case_00{}"),
        ("imagesTr/case_00{}_0000", "labelsTr/case_00{}", "case_00{}"),
        ("sub-{}/anat/sub-{}_FLAIR", "derivatives/lesions/sub-{}/anat/sub-{}_label-lesion_mask", "sub-{}"),
        ("{}/FLAIR", "{}/lesion", "{}"),
        ("{}/FLAIR", "lesions/{}", "{}"),
        ("patient{}_FLAIR", "patient{}_consensus_gt", "patient{}"),
        ("a_{}_T1", "a_{}_T1_mask", "a_{}"),
    ],
)
def test_every_scan_gets_the_mask_of_its_own_subject(tmp_path: Path, scan: str, truth: str, subject: str) -> None:
    names = [pattern.replace("{}", number) + ".nii.gz" for number in ("01", "02", "19") for pattern in (scan, truth)]
    make(tmp_path, *names)
    assert pairs(tmp_path) == dict(zip(names[::2], names[1::2], strict=True))
    assert [case.subject for case in find_cases(tmp_path)] == [subject.replace("{}", n) for n in ("01", "02", "19")]


def test_a_scan_without_a_mask_never_gets_another_patients(tmp_path: Path) -> None:
    make(tmp_path, "patient_01_flair.nii.gz", "patient_01_lesion.nii.gz", "patient_02_flair.nii.gz")
    make(tmp_path, "BraTS_001_flair.nii.gz", "BraTS_001_seg.nii.gz", "BraTS_002_flair.nii.gz")
    with pytest.raises(OptionsError, match="2 scans have no truth"):
        find_cases(tmp_path)
    found = pairs(tmp_path, healthy=True)
    assert found["patient_02_flair.nii.gz"] is None
    assert found["BraTS_002_flair.nii.gz"] is None
    assert found["BraTS_001_flair.nii.gz"] == "BraTS_001_seg.nii.gz"


def test_contrasts_of_one_patient_share_its_mask_or_have_their_own(tmp_path: Path) -> None:
    make(tmp_path, "p1_T1.nii.gz", "p1_FLAIR.nii.gz", "p1_lesion.nii.gz", "p1_mask.nii.gz")
    make(tmp_path, "p2_T1.nii.gz", "p2_FLAIR.nii.gz", "p2_T1_lesion.nii.gz", "p2_FLAIR_lesion.nii.gz")
    assert pairs(tmp_path) == {
        "p1_T1.nii.gz": "p1_lesion.nii.gz",
        "p1_FLAIR.nii.gz": "p1_lesion.nii.gz",
        "p2_T1.nii.gz": "p2_T1_lesion.nii.gz",
        "p2_FLAIR.nii.gz": "p2_FLAIR_lesion.nii.gz",
    }


def test_sessions_have_their_own_masks(tmp_path: Path) -> None:
    places = [f"sub-01/ses-{n}/anat/sub-01_ses-{n}" for n in (1, 2)]
    make(tmp_path, *(f"{place}_{kind}.nii.gz" for place in places for kind in ("FLAIR", "lesion")))
    assert pairs(tmp_path) == {f"{place}_FLAIR.nii.gz": f"{place}_lesion.nii.gz" for place in places}
    assert {case.subject for case in find_cases(tmp_path)} == {"sub-01"}


def test_studies_of_one_patient_are_sessions_and_not_patients(tmp_path: Path) -> None:
    places = [f"patient{patient}/study{study}" for patient in (3, 12) for study in (1, 2)]
    make(tmp_path, *(f"{place}_{kind}.nii.gz" for place in places for kind in ("FLAIR", "lesion")))
    assert pairs(tmp_path) == {f"{place}_FLAIR.nii.gz": f"{place}_lesion.nii.gz" for place in places}
    assert {case.subject for case in find_cases(tmp_path)} == {"patient3", "patient12"}


def test_scans_that_are_named_by_their_contrast_alone_are_one_patients(tmp_path: Path) -> None:
    make(tmp_path / "anna", "T1.nii.gz", "FLAIR.nii.gz", "lesion.nii.gz")
    assert {case.subject for case in find_cases(tmp_path / "anna")} == {"anna"}


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("p1_FLAIR.nii.gz", "p1_lesion_a.nii.gz", "p1_lesion_b.nii.gz"), ("p1_FLAIR", "p1_lesion_a", "p1_lesion_b")),
        (("p1_FLAIR.nii.gz", "p1_mask1.nii.gz", "p1_mask2.nii.gz"), ("p1_FLAIR", "p1_mask1", "p1_mask2")),
        (("x/p1_T1.nii.gz", "y/p1_T1.nii.gz", "truths/p1_lesion.nii.gz"), ("x/p1_T1", "y/p1_T1", "truths/p1_lesion")),
        (("x/p1_T1.nii.gz", "y/p1_T1.nii.gz", "y/p1_lesion.nii.gz"), ("x/p1_T1", "y/p1_lesion")),
        (("sub-1_ses-1_T1w.nii.gz", "sub-1_ses-2_T1w.nii.gz", "sub-1_lesion.nii.gz"), ("ses-1_T1w", "ses-2_T1w")),
        (("sub-1_ses-1_T1w.nii.gz", "sub-1_ses-2_lesion.nii.gz"), ("sub-1_ses-1_T1w", "sub-1_ses-2_lesion")),
        (("p1_T1.nii.gz", "p1_T1.nii", "p1_lesion.nii.gz", "p1_lesion.nii"), ("p1_lesion.nii",)),
        (("p3/study1_T1.nii.gz", "p3/study2_T1.nii.gz", "p3/gt.nii.gz"), ("study1_T1", "study2_T1", "p3/gt")),
        (("patient_01_T1.nii.gz", "subject_01_lesion.nii.gz"), ("subject_01_lesion",)),
    ],
)
@pytest.mark.parametrize("healthy", [True, False])
def test_what_names_leave_open_is_listed_and_not_guessed(
    tmp_path: Path, names: tuple[str, ...], listed: tuple[str, ...], healthy: bool
) -> None:
    make(tmp_path, *names)
    with pytest.raises(OptionsError, match="Names leave open") as caught:
        find_cases(tmp_path, healthy)
    sentence = caught.value.sentence()
    assert all(part in sentence for part in (*listed, "CSV")), sentence


def test_neither_brain_masks_nor_segmented_anatomy_are_lesions(tmp_path: Path) -> None:
    make(tmp_path, "p1/T1.nii.gz", "p1/T1_brain_mask.nii.gz", "p1/aparc+aseg.nii.gz", "p1/gm_mask.nii.gz")
    make(tmp_path, "brain_masks/p1.nii.gz", "p1/T1_synthseg.nii.gz")
    assert pairs(tmp_path, healthy=True) == {"p1/T1.nii.gz": None}


def test_the_contrast_is_a_word_of_the_name(tmp_path: Path) -> None:
    make(tmp_path, "updated_01_BraTS-t2f.nii.gz", "x_t1n.nii.gz", "updated_02.nii.gz")
    found = cases_of(tmp_path, healthy=True)
    assert [found[name].contrast for name in sorted(found)] == ["FLAIR", "unknown", "T1w"]
