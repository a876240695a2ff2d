"""Finding healthy scans in folders of every layout, what is passed over and why, and the split by subject."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.scan_names import contrast_of_words, kind_of
from BrainAnomalyTrainingLib.cohort.cohort import (
    SMALLEST_COHORT,
    CohortError,
    CohortScan,
    require_subjects,
    subject_parts,
)
from BrainAnomalyTrainingLib.cohort.search import find_scans
from dicom_series import write_series
from published_split import published_split
from shared_data import FOLDER, needs
from synthetic import AWKWARD, grid_of, noise


def make(root: Path, *names: str) -> Path:
    """Files of distinct content and size; searching reads names and descriptions only."""
    for index, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"scan" * (index + 1))
    return root


def subjects(root: Path, contrast=None) -> list[str]:
    return [scan.title for scan in find_scans(root, contrast).scans]


def reasons(root: Path, contrast=None) -> dict[str, str]:
    return {one.path.name: one.reason for one in find_scans(root, contrast).skipped}


def test_bids_with_sessions_sidecars_ages_and_masks(tmp_path):
    root = make(
        tmp_path / "study",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "derivatives/preproc/sub-02/anat/sub-02_desc-preproc_T1w.nii.gz",
    )
    sidecar = {"Manufacturer": "Siemens", "ManufacturersModelName": "Prisma", "MagneticFieldStrength": 3}
    (root / "sub-02/anat/sub-02_T1w.json").write_text(json.dumps(sidecar))
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t34\nsub-02\tn/a\n")
    cohort = find_scans(root)
    assert [scan.title for scan in cohort.scans] == ["sub-01, ses-a", "sub-01, ses-b", "sub-02"]
    first, _, last = cohort.scans
    assert (first.contrast, first.scanner, first.age_years) == ("T1w", "study", 34.0)
    assert first.brain_labels == root / "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz"
    assert (last.scanner, last.age_years, last.brain_labels) == ("Siemens Prisma 3T", None, None)
    assert reasons(root) == {
        "sub-01_ses-a_desc-brain_mask.nii.gz": "It is a brain mask.",
        "sub-02_task-rest_bold.nii.gz": "It is not a structural scan.",
    }


def test_flat_files_of_every_format(tmp_path):
    make(tmp_path, "anna_T1w.nii.gz", "béla_mprage.nrrd", "ČENĚK-T1.mgz", "dora t1 brain.mha", "emil_T1_2mm.nii")
    assert subjects(tmp_path) == ["anna", "béla", "dora", "emil", "ČENĚK"]
    assert {scan.contrast for scan in find_scans(tmp_path).scans} == {"T1w"}


def test_one_folder_for_each_subject_under_sites(tmp_path):
    root = make(
        tmp_path / AWKWARD, "Praha/anna/T1.nii.gz", "Praha/béla/anat/T1.nii.gz", "Brno/cyril/visit1/t1_mprage.nii.gz"
    )
    assert [(scan.title, scan.scanner) for scan in find_scans(root).scans] == [
        ("Brno/cyril, visit1", "Brno"),
        ("Praha/anna", "Praha"),
        ("Praha/béla", "Praha"),
    ]


def test_equal_file_names_in_folders_mean_the_folders_name_the_subjects(tmp_path):
    make(tmp_path, "anna/anatomy_T1.nii.gz", "béla/anatomy_T1.nii.gz")
    assert subjects(tmp_path) == ["anna", "béla"]


def test_equal_numbers_at_two_sites_are_two_subjects(tmp_path):
    make(tmp_path, "siteA/001_T1.nii.gz", "siteA/002_T1.nii.gz", "siteB/001_T1.nii.gz", "siteB/003_T1.nii.gz")
    assert subjects(tmp_path) == ["002", "003", "siteA/001", "siteB/001"]


def test_sessions_in_file_names_stay_with_their_subject(tmp_path):
    make(tmp_path, "anna_visit1_T1.nii.gz", "anna_visit2_T1.nii.gz", "béla_T1.nii.gz")
    assert subjects(tmp_path) == ["anna, visit1", "anna, visit2", "béla"]


def test_freesurfer_folders_give_one_scan_each(tmp_path):
    stages = ("T1", "orig", "nu", "brain", "brainmask", "aseg", "aparc+aseg")
    make(tmp_path, *(f"{name}/mri/{stage}.mgz" for name in ("anna", "béla") for stage in stages))
    scans = find_scans(tmp_path).scans
    assert [(scan.subject, scan.path.name, scan.brain_labels.name) for scan in scans] == [
        ("anna", "T1.mgz", "brainmask.mgz"),
        ("béla", "T1.mgz", "brainmask.mgz"),
    ]


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("sub-1_T1w", "T1w"),
        ("anna-T1_MPRAGE", "T1w"),
        ("anna_t2", "T2w"),
        ("anna_T2_FLAIR", "FLAIR"),
        ("sub-1_space-T1w_FLAIR", "FLAIR"),
        ("t2_tirm_dark-fluid_tra", "FLAIR"),
        ("sub-1_inplaneT2", "T2w"),
        ("anna_PDw", "PD"),
        ("rorden_T1w2mm", "T1w"),
        ("ST1F_scan", "unknown"),
        ("anna", "unknown"),
    ],
)
def test_contrast_by_words(name, contrast):
    assert contrast_of_words(name) == contrast


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sub-1_T1w", "scan"),
        ("sub-1_desc-brain_T1w", "scan"),
        ("sub-1_desc-brain_mask", "brain mask"),
        ("anna_T1_brainmask", "brain mask"),
        ("IXI012-HH-1211_DLMUSE", "brain mask"),
        ("anna_gm_mask", "labels"),
        ("anna_T1_seg", "labels"),
        ("sub-1_label-L_desc-T1lesion_mask", "lesion"),
        ("anna_ground_truth", "lesion"),
        ("BraTS20_001_seg", "lesion"),
        ("anna_tumor_seg", "lesion"),
        ("sub-1_T1map", "map"),
        ("sub-1_dwi", "map"),
        ("patient_T1POST", "contrast agent"),
        ("sub-1_ce-gadolinium_T1w", "contrast agent"),
    ],
)
def test_kind_by_name(name, kind):
    assert kind_of(name) == kind


def test_studies_in_a_patients_folder_are_sessions_of_one_subject(tmp_path):
    make(tmp_path, *(f"{name}/study{number}_T1.nii.gz" for name in ("anna", "béla") for number in (1, 2)))
    assert subjects(tmp_path) == ["anna, study1", "anna, study2", "béla, study1", "béla, study2"]


def test_a_scan_with_a_lesion_mask_beside_it_is_not_healthy(tmp_path):
    make(tmp_path, "anna/anna_T1.nii.gz", "anna/anna_lesion.nii.gz", "béla/T1.nii.gz", "béla/ground truth.nii.gz")
    make(tmp_path, "cyril_T1w.nii.gz", "dora_T1w.nii.gz", "dora_tumor_seg.nii.gz")
    assert subjects(tmp_path) == ["cyril"]
    skipped = reasons(tmp_path)
    assert skipped["anna_T1.nii.gz"] == "It is not healthy: the lesion mask 'anna_lesion.nii.gz' belongs to it."
    assert "ground truth" in skipped["T1.nii.gz"]
    assert "not healthy" in skipped["dora_T1w.nii.gz"]


def test_lesion_masks_and_labels_in_folders_of_their_own_are_seen(tmp_path):
    make(
        tmp_path / "a", "images/anna_T1.nii.gz", "images/béla_T1.nii.gz", "lesion masks/anna.nii.gz", "lesions/anna.nii"
    )
    make(tmp_path / "b", "imagesTr/case_001_T1.nii.gz", "imagesTr/case_002_T1.nii.gz", "labelsTr/case_001.nii.gz")
    make(tmp_path / "c", "x/anna_T1.nii.gz", "y/anna_T1.nii.gz", "truth/anna_lesion.nii.gz", "x/béla_T1.nii.gz")
    assert subjects(tmp_path / "a") == ["béla"]
    assert subjects(tmp_path / "b") == ["case_001", "case_002"]
    assert subjects(tmp_path / "c") == ["béla"]


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_a_link_to_a_file_that_is_not_there_ends_nothing(tmp_path):
    make(tmp_path, "anna_T1.nii.gz")
    (tmp_path / "béla_T1.nii.gz").symlink_to(tmp_path / "nowhere")
    assert subjects(tmp_path) == ["anna", "béla"]


def test_mixed_contrasts_stop_with_counts_and_the_choice_leaves_out_the_others(tmp_path):
    make(tmp_path, "a_T1w.nii.gz", "b_T1w.nii.gz", "a_FLAIR.nii.gz", "c.nii.gz")
    with pytest.raises(CohortError, match="2 T1w, 1 FLAIR") as caught:
        find_scans(tmp_path)
    assert "--contrast T1w" in caught.value.remedy
    assert caught.value.exit_code == 3
    assert subjects(tmp_path, "FLAIR") == ["a", "c"]
    assert reasons(tmp_path, "FLAIR")["b_T1w.nii.gz"] == "It is T1w, not FLAIR."
    (tmp_path / "c.nii.gz").unlink()
    with pytest.raises(CohortError, match=r"no healthy scan that can be used\. 2 skipped: It is T1w, not PD\."):
        find_scans(tmp_path, "PD")


def test_a_second_run_of_a_subject_and_a_copy_under_another_name_are_listed(tmp_path):
    make(tmp_path, "sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-01/anat/sub-01_run-2_T1w.nii.gz", "sub-02_T1w.nii.gz")
    shutil.copy(tmp_path / "sub-02_T1w.nii.gz", tmp_path / "sub-99_T1w.nii.gz")
    assert subjects(tmp_path) == ["sub-01", "sub-02"]
    assert reasons(tmp_path) == {
        "sub-01_run-2_T1w.nii.gz": "A second scan of sub-01: 'sub-01_run-1_T1w.nii.gz' is used.",
        "sub-99_T1w.nii.gz": "It is the same file as 'sub-02_T1w.nii.gz' of sub-02.",
    }


def test_folders_without_scans_are_refused_in_plain_words(tmp_path):
    with pytest.raises(CohortError, match="There is no folder"):
        find_scans(tmp_path / "nowhere")
    with pytest.raises(CohortError, match="no healthy scan"):
        find_scans(tmp_path)
    make(tmp_path, "a_lesion.nii.gz", "notes.txt")
    with pytest.raises(CohortError, match="1 skipped: It is a lesion mask"):
        find_scans(tmp_path)
    with pytest.raises(OptionsError, match="T3w"):
        find_scans(tmp_path, "T3w")


def test_a_single_scan_is_too_few_to_train_and_the_error_says_how_many_are_needed():
    one = [CohortScan("anna", "A", Path("anna.nii"), session=session) for session in ("1", "2")]
    with pytest.raises(CohortError, match=f"at least {SMALLEST_COHORT} subjects, but only one"):
        require_subjects(one)
    require_subjects([CohortScan(name, "A", Path(name)) for name in "abcdefgh"[:SMALLEST_COHORT]])


def test_dicom_series_in_one_tree_are_told_apart(tmp_path):
    grid, other = grid_of((12, 12, 6)), grid_of((12, 12, 4))
    common = {"Manufacturer": "Philips", "ManufacturerModelName": "Ingenia", "MagneticFieldStrength": 1.5}
    names = [f"{index}" for index in range(6)]
    mixed = tmp_path / AWKWARD / "all"
    write_series(mixed, noise(grid.shape), grid, names, "T1 MPRAGE", PatientID="P1", PatientAge="047Y", **common)
    write_series(mixed, noise(grid.shape, 1), grid, [f"s{n}" for n in names], "survey", PatientID="P1")
    write_series(tmp_path / "ct", noise(grid.shape, 2), grid, None, "head", PatientID="P2", Modality="CT")
    write_series(tmp_path / "mpr", noise(grid.shape), grid, None, "T1 cor", ImageType=["DERIVED", "SECONDARY", "MPR"])
    write_series(tmp_path / "few", noise(other.shape), other, None, "T1 few", PatientID="P3")
    write_series(tmp_path / "gado", noise(grid.shape), grid, None, "T1 post contrast", PatientID="P3")
    write_series(tmp_path / "anna" / "dicom", noise(grid.shape), grid, None, "T1 3D", PatientID="0")
    (mixed / "report.pdf").write_text("no image")
    cohort = find_scans(tmp_path)
    scans = {scan.subject: scan for scan in cohort.scans}
    assert list(scans) == ["P1", "anna"]
    assert (scans["P1"].scanner, scans["P1"].age_years) == ("Philips Ingenia 1.5T", 47.0)
    assert (scans["P1"].contrast, scans["P1"].path) == ("T1w", mixed)
    assert sorted(path.name for path in scans["P1"].files) == names
    assert {one.path.name: one.reason for one in cohort.skipped} == {
        "all": "It is a localizer.",
        "ct": "It is CT, not MR.",
        "mpr": "It was derived from another series.",
        "few": "It has fewer than 5 slices.",
        "gado": "It was taken after a contrast agent.",
    }


def test_studies_of_one_patient_are_sessions(tmp_path):
    grid = grid_of((12, 12, 6))
    for date in ("20240102", "20230506"):
        write_series(tmp_path / date, noise(grid.shape), grid, None, "T1", PatientID="P1", StudyDate=date)
    assert [(s.title, s.path.name) for s in find_scans(tmp_path).scans] == [
        ("P1, study-1", "20230506"),
        ("P1, study-2", "20240102"),
    ]


def test_sessions_of_a_subject_stay_in_one_part_and_every_part_gets_somebody():
    scans = [CohortScan(f"s{n}", "AB"[n % 2], Path(f"{n}-{v}"), session=v) for n in range(8) for v in ("1", "2")]
    parts = subject_parts(scans, (0.01, 0.3), seed=3)
    names = [{scan.subject for scan in part} for part in parts]
    assert [len(part) for part in names] == [1, 2, 5]
    assert set.union(*names) == {scan.subject for scan in scans}
    assert sum(map(len, parts)) == 16
    assert parts == subject_parts(scans, (0.01, 0.3), seed=3)
    assert parts != subject_parts(scans, (0.01, 0.3), seed=4)


@pytest.mark.parametrize("subjects", [1, 2, 3])
def test_many_scanners_of_few_subjects_give_their_share_all_the_same(subjects):
    scans = [CohortScan(f"s{n}", f"scanner {n // subjects}", Path(str(n))) for n in range(20 * subjects)]
    calibration, validation, training = subject_parts(scans, (0.2, 0.1), seed=7)
    assert (len(calibration), len(validation), len(training)) == (4 * subjects, 2 * subjects, 14 * subjects)
    assert len({scan.scanner for scan in calibration}) >= 4


@needs("ixi_t1_2mm")
def test_the_shared_cohort_is_found_and_split_as_published():
    found = find_scans(FOLDER / "ixi_t1_2mm")
    folders = sorted(path for path in (FOLDER / "ixi_t1_2mm").iterdir() if path.is_dir())
    assert [(s.subject, s.scanner, s.path, s.brain_labels) for s in found.scans] == [
        (path.name, "IXI-HH", path / f"{path.name}_T1.nii.gz", path / f"{path.name}_DLMUSE.nii.gz") for path in folders
    ]
    assert np.ptp([scan.age_years for scan in found.scans if scan.age_years]) > 40.0
    split = published_split(FOLDER)
    assert [len(part) for part in (split.training, split.calibration, split.test)] == [130, 21, 21]
    assert [scan.subject for scan in split.test[:2]] == ["IXI048-HH-1326", "IXI093-HH-1359"]


@needs("mslub_ms")
def test_a_patient_is_not_a_healthy_cohort():
    with pytest.raises(CohortError, match="patient19_lesion_MNI"):
        find_scans(FOLDER / "mslub_ms")
