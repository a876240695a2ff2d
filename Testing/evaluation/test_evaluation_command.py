"""``evaluate``: cohorts as tables and folders, bad input in words, and a real run through the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib.errors import OptionsError, ScanError
from BrainAnomalyLib.evaluation.bootstrap import Estimate
from BrainAnomalyLib.evaluation.cases import find_cases, read_truth
from BrainAnomalyLib.evaluation.healthy_rows import falling_fit
from BrainAnomalyLib.evaluation.rows import Row
from BrainAnomalyLib.evaluation.scan import EvaluatedScan
from BrainAnomalyLib.evaluation.summary import lesion_threshold_of, summarize
from BrainAnomalyLib.evaluation.tables import Table, differences, page
from BrainAnomalyLib.io.volumes import read_scan
from engine_process import engine
from synthetic import flair_brain, grid_of, lesion_ball, noise, save_nifti

SHAPE = (8, 9, 10)
GRID = grid_of((95, 110, 95), (2.0, 2.0, 2.0), "PIR", 8.0, center=(0.0, -17.0, 5.0))


def images(folder: Path, *names: str) -> None:
    for name in names:
        save_nifti(folder / name, noise(SHAPE))


def table(folder: Path, *lines: str) -> Path:
    path = folder / "cohort.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_names_everything(tmp_path: Path) -> None:
    path = table(tmp_path, "scan,truth,subject,contrast,mask,group", "a.nii,t.nii,s1,FLAIR,m.nii,MS")
    (case,) = find_cases(path)
    assert (case.scan, case.truth, case.mask) == tuple(tmp_path / name for name in ("a.nii", "t.nii", "m.nii"))
    assert (case.subject, case.contrast, case.group) == ("s1", "FLAIR", "MS")


def test_a_folder_pairs_truths_by_name_and_drops_brain_masks(tmp_path: Path) -> None:
    images(tmp_path / "a", "p1_FLAIR.nii.gz", "p1_FLAIR_lesion.nii.gz", "p1_brain_mask.nii.gz", "p2_T1.nii.gz")
    images(tmp_path / "a", "p2_T1_mask.nii.gz", "p3_T2.nii.gz", "p3_consensus_gt.nii.gz")
    images(tmp_path / "derivatives" / "lesions", "sub-01_label-lesion_mask.nii.gz")
    images(tmp_path / "sub-01" / "anat", "sub-01_T1w.nii.gz")
    found = {case.scan.name: case.truth.name if case.truth else None for case in find_cases(tmp_path)}
    assert found == {
        "p1_FLAIR.nii.gz": "p1_FLAIR_lesion.nii.gz",
        "p2_T1.nii.gz": "p2_T1_mask.nii.gz",
        "p3_T2.nii.gz": "p3_consensus_gt.nii.gz",
        "sub-01_T1w.nii.gz": "sub-01_label-lesion_mask.nii.gz",
    }


def test_scans_without_truth_are_healthy_only_if_someone_says_so(tmp_path: Path) -> None:
    images(tmp_path, "p1_T1.nii.gz")
    with pytest.raises(OptionsError, match="1 scans have no truth") as caught:
        find_cases(tmp_path)
    assert "--without-truth healthy" in caught.value.remedy
    assert find_cases(tmp_path, healthy_without_truth=True)[0].truth is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("image,truth", "a.nii,b.nii"), "needs a column 'scan'"),
        (("scan,truth", ",b.nii"), "Line 2 of the table names no scan"),
        (("scan,contrast", "a.nii,CT"), "unknown contrast 'CT'"),
        (("scan,truth", "a.nii,b.nii", "a.nii,b.nii"), "'a.nii' is named twice"),
        (("scan,truth",), "holds no scan"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        find_cases(table(tmp_path, *lines), healthy_without_truth=True)


def test_missing_and_empty_places_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="no folder or table"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(OptionsError, match="holds no scan"):
        find_cases(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00scan")
    with pytest.raises(OptionsError, match="cannot be read as a table"):
        find_cases(tmp_path / "binary.csv")


def test_a_truth_may_be_empty_but_not_elsewhere(tmp_path: Path) -> None:
    scan = read_scan(save_nifti(tmp_path / "scan.nii.gz", noise(SHAPE), np.eye(4)))
    empty = save_nifti(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    assert not read_truth(empty, scan).any()
    other = save_nifti(tmp_path / "other.nii.gz", np.zeros((8, 9, 11), np.uint8), np.eye(4))
    with pytest.raises(ScanError, match="has 8 x 9 x 11 voxels, the scan 'scan' 8 x 9 x 10"):
        read_truth(other, scan)
    moved = save_nifti(tmp_path / "moved.nii.gz", np.zeros(SHAPE, np.uint8), np.diag([1.0, 1.0, 2.0, 1.0]))
    with pytest.raises(ScanError, match="another position"):
        read_truth(moved, scan)


def made(subject: str, lesion: bool, seed: int) -> EvaluatedScan:
    random, truth = np.random.default_rng(seed), np.zeros((16, 16, 8), dtype=bool)
    truth[4:9, 4:9, 3:6] = lesion
    anomaly = (random.random(truth.shape) + truth).astype(np.float32)
    promised = {0.1: 0.9}
    return EvaluatedScan(
        subject, anomaly, truth, np.ones_like(truth), 1.0, threshold=1.2, promised=promised, p_value=0.5
    )


def rows_of(scans: list[EvaluatedScan], **options) -> dict[tuple[str, str], Row]:
    return {(row.metric, row.threshold_source): row for row in summarize(scans, bootstrap=50, **options)}


def test_every_row_says_how_many_and_whence_its_threshold() -> None:
    scans = [made(f"s{index}", index < 3, index) for index in range(5)]
    rows = rows_of(scans, healthy=[made("h", False, 9)], lesion_threshold=1.1)
    assert {row.estimate.subjects for row in rows.values()} >= {5}
    assert all(row.scans for row in rows.values())
    sources = {source.split(" ")[0] for _, source in rows}
    assert sources >= {"oracle-dataset", "oracle-volume", "lesion-validation", "package", "healthy-quantile", "curve"}
    assert rows["Dice per scan", "lesion-validation"].threshold == 1.1
    best = rows["AP", ""].estimate
    assert best.low <= best.value <= best.high


def test_a_threshold_of_validation_scans_is_their_best_and_wants_lesions() -> None:
    others = [made("v1", True, 5), made("v2", True, 6)]
    assert lesion_threshold_of(others) == pytest.approx(1.0, abs=0.02)
    oracle = rows_of(others)["Dice per scan", "oracle-dataset"].threshold
    assert lesion_threshold_of(others) == oracle
    with pytest.raises(OptionsError, match="no lesion"):
        lesion_threshold_of([made("v3", False, 7)])


def test_promised_and_realised_rates_stand_side_by_side() -> None:
    rows = rows_of([made("s", True, 0), made("h1", False, 1), made("h2", False, 2)])
    realised = rows["healthy voxels above, promised 10.0%", "package, by rate"].estimate
    assert realised.value == pytest.approx(0.1, abs=0.02)
    share = rows["healthy scans with p <= 0.05 (Clopper-Pearson)", ""].estimate
    assert (share.value, share.low, share.high) == pytest.approx((0.0, 0.0, 1.0 - 0.025**0.5))


def test_healthy_scans_alone_have_no_precision_but_false_positives() -> None:
    rows = rows_of([made("h1", False, 1), made("h2", False, 2)])
    assert ("AP", "") not in rows
    assert rows["healthy scans: mL of findings", "package default"].estimate.value == 0.0


def test_a_falling_fit_pools_what_rises() -> None:
    seen = falling_fit(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1.0, 1.0, 3.0, 1.0]))
    assert seen == pytest.approx([0.9, 0.5, 0.5, 0.1])


def test_differences_pair_the_same_subjects() -> None:
    one, other = (Estimate(v, 0.0, 1.0, 3, np.array([v, v + 0.1, v - 0.1])) for v in (0.5, 0.7))
    tables = [Table("a", "default", [Row("AP", one)]), Table("b", "default", [Row("AP", other)])]
    (row,) = differences(tables)
    assert (row["detector"], row["minus"]) == ("b", "a")
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.2, 0.2, 0.2))


def test_the_page_escapes_and_holds_its_pictures() -> None:
    text = page([Table("<b>", "default", [Row("AP", Estimate(0.5, 0.4, 0.6, 2))])], ["a & b"], {"Examples": b"png"})
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "data:image/png;base64,cG5n" in text
    assert "For research, not for diagnosis" in text


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A turned FLAIR with a lesion, a damaged one, and one whose truth lies on another grid."""
    folder = tmp_path_factory.mktemp("cohort")
    save_nifti(folder / "p1_FLAIR.nii.gz", flair_brain(GRID), GRID.affine)
    save_nifti(folder / "p1_lesion.nii.gz", lesion_ball(GRID).astype(np.uint8), GRID.affine)
    (folder / "p2_FLAIR.nii.gz").write_bytes(b"nothing of use")
    images(folder, "p2_lesion.nii.gz", "p3_FLAIR.nii.gz")
    save_nifti(folder / "p3_lesion.nii.gz", noise((9, 9, 9)))
    return folder


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("out") / "evaluation"
    options = ("--detector", "histogram", "--detector", "tissue", "--protocol", "default", "--protocol", "meissen_1")
    return engine("evaluate", cohort, "--out", out, *options, "--bootstrap", "20", "--json"), out


def test_a_real_run_ends_with_all_files_and_names_what_it_left_out(finished) -> None:
    process, out = finished
    messages = process.stderr.decode("utf-8")
    assert process.returncode == 3, messages
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.csv", "evaluation.html", "evaluation.json", "evaluation.md", "scans.csv",
    ]  # fmt: skip
    assert "Left out: p2_FLAIR.nii.gz: " in messages
    assert "Left out: p3_FLAIR.nii.gz: " in messages
    assert [path.name for path in out.parent.iterdir()] == ["evaluation"]


def test_the_numbers_of_a_real_run_are_plausible(finished) -> None:
    process, out = finished
    rows = json.loads(process.stdout)
    assert rows == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["rows"]
    found = {(row["detector"], row["protocol"]): row["value"] for row in rows if row["metric"] == "AP"}
    assert set(found) == {(name, way) for name in ("histogram", "tissue") for way in ("default", "meissen_1")}
    assert found["tissue", "default"] > 0.5
    with (out / "scans.csv").open(encoding="utf-8") as stream:
        scans = list(csv.DictReader(stream))
    assert [(row["detector"], row["subject"]) for row in scans] == [("histogram", "p1"), ("tissue", "p1")]
    assert float(scans[0]["lesion_ml"]) == pytest.approx(4.0 / 3.0 * np.pi * 0.8**3, rel=0.05)


def test_a_papers_protocol_counts_the_whole_field_of_view(finished) -> None:
    process, _ = finished
    part = {row["value"] for row in json.loads(process.stdout) if row["metric"].startswith("prevalence")}
    truth = lesion_ball(GRID)
    # The second axis of the scan runs downwards: its slices from the highest to the lowest.
    place = 1.0 - (np.arange(truth.shape[1]) + 0.5) / truth.shape[1]
    counted = truth[:, (place >= 15.0 / 155.0) & (place < 125.0 / 155.0)]
    assert min(part) == pytest.approx(counted.mean(), rel=0.1)


def test_a_threshold_may_come_from_other_subjects_only(cohort: Path, tmp_path: Path) -> None:
    lines = [f"{cohort / 'p1_FLAIR.nii.gz'},{cohort / 'p1_lesion.nii.gz'}"]
    own = table(tmp_path, "scan,truth,subject", *(f"{line},p1" for line in lines))
    process = engine("evaluate", own, "--validation", own, "--out", tmp_path / "out")
    assert process.returncode == 2
    assert b"'p1' is in the cohort and in the validation cohort" in process.stderr
    other = tmp_path / "other.csv"
    other.write_text(own.read_text().replace(",p1", ",p9"), encoding="utf-8")
    options = ("--detector", "tissue", "--validation", other, "--bootstrap", "0", "--json", "--quiet")
    process = engine("evaluate", own, "--out", tmp_path / "out", *options)
    assert process.returncode == 0, process.stderr
    found = {row["threshold_source"]: row for row in json.loads(process.stdout) if row["metric"] == "Dice per scan"}
    assert found["lesion-validation"]["threshold"] == pytest.approx(found["oracle-dataset"]["threshold"], rel=1e-4)


def test_a_folder_with_other_files_is_left_alone(cohort: Path) -> None:
    process = engine("evaluate", cohort, "--out", cohort)
    assert process.returncode == 6
    assert len(process.stderr.splitlines()) == 1


def test_a_cohort_of_failures_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = table(tmp_path, "scan,truth", "gone.nii,gone_too.nii")
    process = engine("evaluate", path, "--out", tmp_path / "out", "--detector", "histogram", "--quiet")
    assert process.returncode == 2
    assert b"No scan of the cohort could be evaluated" in process.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["cohort.csv"]
