"""The group level: burden, outliers, maps, two groups, with numbers worked out by hand or by another way."""

from __future__ import annotations

import math
import shutil
from itertools import combinations
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest

from BrainAnomalyLib.cli.main import main
from BrainAnomalyLib.cohort.cohort_tables import write_tables
from BrainAnomalyLib.errors import OptionsError, OutputError
from BrainAnomalyLib.group.analysis import GroupOptions, analyse_group
from BrainAnomalyLib.group.burden import interval, share
from BrainAnomalyLib.group.outlying import modified_z, outlier_rows
from BrainAnomalyLib.group.permutation import compare
from BrainAnomalyLib.io.volumes import write_volume
from BrainAnomalyLib.preparation.space.grids import grid_named

GRID = grid_named("template_2mm")
LEFT, RIGHT = (30, 60, 50), (66, 60, 50)
VOXEL_ML = 0.008


def made_record(out: Path, subject: str, places: list[tuple[int, int, int]], session: str = "", **more) -> dict:
    """A scan whose findings are cubes of 5 x 5 x 5 voxels at places of the template."""
    key = "/".join(part for part in (subject, session, "FLAIR") if part)
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    for i, j, k in places:
        mask[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = 1
    name = f"in_template/{key}.nii.gz"
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    write_volume(out / name, mask, GRID)
    finding = {"id": 1, "peak": 4.0, "mean": 3.0, "side": "left", "looks": "", "volume_ml": 125 * VOXEL_ML}
    centers = {"centroid_ras": [0, 0, 0], "centroid_template": [0, 0, 0]}
    extra = {name: str(value) for name, value in more.items() if name in ("age", "group")}
    return {
        **{"key": key, "subject": subject, "session": session, "contrast": "FLAIR", "path": "x", "status": "done"},
        **{"total_ml": len(places) * 125 * VOXEL_ML, "findings": [{**finding, **centers}] * len(places)},
        **{"quality": more.get("quality", 0.9), "quality_verdict": "good", "shown_contrast": "FLAIR", "warnings": []},
        **{"results": "", "overview": "", "in_template": name, "extra": extra},
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Six patients with findings left, one of them twice and once without; six controls, one of them right."""
    out = tmp_path_factory.mktemp("cohort") / "out"
    out.mkdir()
    records = [made_record(out, f"p{index}", [LEFT], group="patient", age=50 + index) for index in range(5)]
    records.append(made_record(out, "p5", [LEFT, RIGHT], "first", group="patient", age=55))
    records.append(made_record(out, "p5", [], "second", group="patient", age=55))
    records += [made_record(out, f"c{index}", [], group="control", age=40 + index) for index in range(5)]
    records.append(made_record(out, "c5", [RIGHT], group="control", age=45, quality=0.2))
    records.append({**made_record(out, "bad", []), "status": "failed", "reason": "It is bad."})
    write_tables(records, out)
    return out


@pytest.fixture(scope="module")
def analysed(cohort):
    return analyse_group(cohort, GroupOptions(compare="group", permutations=999))


def test_burden_counts_every_subject_once(analysed):
    rows = {row["measure"]: row for row in analysed.summary}
    total = rows["total_ml"]
    # Five patients of 1 mL, one of (2 + 0) / 2, one control of 1.
    assert (total["subjects"], total["scans"]) == (12, 13)
    assert total["mean"] == pytest.approx(7.0 / 12.0)
    assert total["mean_low"] < total["mean"] < total["mean_high"]
    found = rows["share with findings"]
    z, n, p = 1.959963985, 12, 7 / 12
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wilson = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    assert [found["mean_low"], found["mean_high"]] == pytest.approx(wilson)
    written = pandas.read_csv(analysed.folder / "summary.csv")
    assert list(written["mean"]) == pytest.approx([row["mean"] for row in analysed.summary])


def test_a_frequency_is_the_part_of_subjects(analysed):
    values = nibabel.load(analysed.folder / "frequency_FLAIR.nii.gz")
    assert values.affine == pytest.approx(GRID.affine)
    array = values.get_fdata()
    assert array[LEFT] == pytest.approx(5.5 / 12.0)
    assert array[RIGHT] == pytest.approx(1.5 / 12.0)
    assert np.count_nonzero(array) == 250


def test_pictures_and_page_say_what_they_show(analysed):
    page = (analysed.folder / "index.html").read_text(encoding="utf-8")
    assert "not for diagnosis" in page
    assert "http" not in page
    for name, title in analysed.pictures.items():
        assert (analysed.folder / name).read_bytes().startswith(b"\x89PNG")
        assert f'src="{name}"' in page
        assert title in page
    assert "bad/FLAIR" in page


def test_groups_differ_where_they_were_made_to(analysed):
    rows = {row["measure"]: row for row in analysed.comparison}
    total = rows["total_ml"]
    assert (total["first"], total["first_subjects"], total["second_subjects"]) == ("control", 6, 6)
    assert total["difference"] == pytest.approx(1.0 / 6.0 - 1.0)
    assert total["difference_low"] <= total["difference"] <= total["difference_high"] < 0.0
    # All but one subject of each group are alike: 2 * (1 + 6 * 6) of 924 ways to choose six are as extreme... by hand:
    # the sum of six of {0 x 5, 1 x 7} is at most 1 or at least 6: C(5,5) C(7,1) on each side, of C(12,6).
    assert total["permutations"] == 924
    assert total["p"] == pytest.approx(2 * 7 / 924)
    z = nibabel.load(analysed.folder / "comparison_FLAIR_z.nii.gz").get_fdata()
    corrected = nibabel.load(analysed.folder / "comparison_FLAIR_p.nii.gz").get_fdata()
    assert z[LEFT] < -2.0
    assert corrected[LEFT] < 0.05
    assert corrected[0, 0, 0] == 1.0
    assert z[RIGHT] == 0.0, "two of twelve subjects are too few to compare"


def test_outliers_by_quality_and_left_out_scans_are_named(analysed):
    assert [(row["subject"], row["kind"]) for row in analysed.outliers] == [("c5", "quality")]
    assert analysed.scans.left_out == [("bad/FLAIR", "It failed: It is bad.")]


def test_rejected_scans_do_not_count_and_are_said(cohort, tmp_path, capfd):
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("key,decision,note\nc5/FLAIR,reject,motion\np0/FLAIR,keep,\nx/FLAIR,reject,\n")
    assert main(["group", str(cohort), "--decisions", str(decisions)]) == 0
    said = capfd.readouterr().out
    assert "12 scans of 11 subjects; 2 left out" in said
    assert "c5/FLAIR: It was rejected: motion" in said
    assert "not in the cohort count for nothing: x/FLAIR" in said
    assert not (cohort / "group" / "comparison.csv").exists()
    left_out = pandas.read_csv(cohort / "group" / "left_out.csv")
    assert list(left_out["key"]) == ["bad/FLAIR", "c5/FLAIR"]


def test_participants_name_the_groups(cohort, tmp_path):
    people = "".join(f"sub-p{index}\t{index % 2}\n" for index in range(6))
    (tmp_path / "participants.tsv").write_text(f"participant_id\tsite\n{people}", encoding="utf-8")
    given = GroupOptions(participants=tmp_path / "participants.tsv", compare="site", permutations=99)
    result = analyse_group(cohort, given)
    assert {row["first_subjects"] for row in result.comparison} == {3}
    assert any("does not name" in note and "6 in all" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (GroupOptions(compare="no_such"), "no column 'no_such'"),
        (GroupOptions(compare="key"), "names 13 groups"),
        (GroupOptions(compare="session"), "Subjects are in both groups"),
        (GroupOptions(permutations=0), "at least one permutation"),
        (GroupOptions(decisions=Path("nothing.csv")), "cannot be read"),
    ],
)
def test_what_cannot_be_analysed_is_said(cohort, options, said):
    with pytest.raises(OptionsError, match=said):
        analyse_group(cohort, options)


def test_findings_that_are_gone_are_said(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "copy")
    (tmp_path / "copy" / "in_template" / "c0" / "FLAIR.nii.gz").unlink()
    with pytest.raises(OutputError, match="c0/FLAIR"):
        analyse_group(tmp_path / "copy")


def test_burden_is_judged_for_the_age():
    random = np.random.default_rng(0)
    ages = np.linspace(20, 80, 40)
    burden = np.expm1(0.03 * ages + random.normal(0.0, 0.05, 40))
    burden[5] = np.expm1(0.03 * 75)  # at 28 years what is usual at 75
    table = pandas.DataFrame({"subject": [f"s{index:02d}" for index in range(40)], "key": "", "contrast": "FLAIR"})
    table = table.assign(age=ages, total_ml=burden, quality=0.9, quality_verdict="good")
    rows = outlier_rows(table)
    assert [(row["subject"], row["reason"]) for row in rows] == [("s05", "more is found than in others of this age")]
    assert outlier_rows(table.assign(age=np.nan)) == []


def test_modified_z_is_that_of_the_book():
    # Iglewicz and Hoaglin: 0.6745 (x - median) / MAD; here median 3, MAD 1.
    assert modified_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 65.4265])
    assert modified_z(np.array([2.0, 2.0, 2.0])) == pytest.approx([0.0, 0.0, 0.0])
    # Most are equal: mean deviation 2, so 8 / (1.253314 * 2).
    assert modified_z(np.array([0.0, 0.0, 0.0, 8.0])) == pytest.approx([0.0, 0.0, 0.0, 8.0 / 2.506628])


def test_intervals_of_equal_and_of_few_values():
    assert interval(np.array([2.0, 2.0, 2.0]), np.mean) == (2.0, 2.0, 2.0)
    assert interval(np.array([1.0, 2.0]), np.mean) == (1.5, None, None)
    assert share(np.zeros(10, dtype=bool))[0] == 0.0


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        _, low, high = interval(random.normal(5.0, 2.0, 30), np.mean, seed)
        covered += low <= 5.0 <= high
    assert 52 <= covered <= 60


def test_corrected_p_values_hold_their_level_and_find_what_is_there():
    random = np.random.default_rng(2)
    first = np.arange(24) < 12
    false = sum(compare(random.normal(size=(24, 50)), first, 199, seed).corrected.min() <= 0.05 for seed in range(60))
    assert false <= 8, "about 3 of 60 are expected"
    values = random.normal(size=(24, 50))
    values[first, 7] += 4.0
    found = compare(values, first, 499)
    assert np.flatnonzero(found.corrected <= 0.05).tolist() == [7]
    assert found.difference[7] == pytest.approx(values[first, 7].mean() - values[~first, 7].mean())


def test_p_values_are_those_of_all_permutations():
    values = np.array([[3.0, 0.0], [4.0, 1.0], [5.0, 0.0], [1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])
    found = compare(values, np.array([True, True, True, False, False, False]), 999)
    scaled = values / values.std(axis=0)
    largest = []
    for chosen in combinations(range(6), 3):
        inside = np.isin(np.arange(6), chosen)
        largest.append(np.abs(scaled[inside].mean(axis=0) - scaled[~inside].mean(axis=0)).max())
    observed = np.abs(scaled[:3].mean(axis=0) - scaled[3:].mean(axis=0))
    wanted = [(np.array(largest) >= value - 1e-6).mean() for value in observed]
    assert found.corrected == pytest.approx(wanted)
    assert (found.exact, found.permutations) == (True, 20)
