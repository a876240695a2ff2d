"""``brain-anomaly cohort`` on real scans, as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas
import pytest

from engine_process import engine

EXAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "Example"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A BIDS data set of a real scan and of one that is no scan."""
    root = tmp_path_factory.mktemp("bids")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}), encoding="utf-8")
    for subject in ("01", "02"):
        (root / f"sub-{subject}" / "anat").mkdir(parents=True)
    shutil.copy(EXAMPLE / "FLAIR.nii.gz", root / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz")
    (root / "sub-02" / "anat" / "sub-02_FLAIR.nii.gz").write_bytes(b"no scan")
    return root


@pytest.fixture(scope="module")
def ran(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    return engine("cohort", scans, out, "--detector", "histogram", "--workers", 1, "--json"), out


def test_a_run_ends_with_results_tables_and_a_page(ran):
    ended, out = ran
    assert ended.returncode == 3, ended.stderr.decode()
    scans = pandas.read_csv(out / "cohort.csv", keep_default_na=False)
    assert list(scans["status"]) == ["done", "failed"]
    assert "cannot be read" in scans["reason"][1]
    summary = json.loads((out / scans["results"][0] / "summary.json").read_text(encoding="utf-8"))
    assert float(scans["total_ml"][0]) == summary["total_ml"]
    findings = pandas.read_csv(out / "findings.csv")
    assert len(findings) == len(summary["findings"]) > 0
    assert (out / "thumbnails" / "sub-01" / "FLAIR.jpg").stat().st_size < 100_000
    assert "index_rows.js" in (out / "index.html").read_text(encoding="utf-8")


def test_progress_and_result_are_json_lines(ran):
    ended, _ = ran
    events = [json.loads(line) for line in ended.stderr.decode().splitlines()]
    assert events[0]["event"] == "started"
    assert (events[0]["to_do"], events[0]["workers"]) == (2, 1)
    assert {event["key"]: event["status"] for event in events[1:]} == {
        "sub-01/FLAIR": "done",
        "sub-02/FLAIR": "failed",
    }
    result = json.loads(ended.stdout)
    assert (result["event"], result["done"], result["failed"]) == ("ended", 1, 1)


def test_the_same_command_has_nothing_left_to_do(ran, scans):
    _, out = ran
    again = engine("cohort", scans, out, "--detector", "histogram", "--workers", 1)
    assert again.returncode == 3
    assert b"0 scans to run, 1 done before, 1 failed before (--retry-failed)" in again.stderr


def test_a_dry_run_lists_and_does_nothing(scans, tmp_path):
    listed = engine("cohort", scans, tmp_path / "out", "--dry-run", "--subject", "01", "--slurm", "queue=short")
    assert listed.returncode == 0, listed.stderr.decode()
    said = listed.stdout.decode()
    assert "1 scan would run" in said
    assert "Its subject was not asked for." in said
    assert "#SBATCH -p short" in said
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_asked_is_said_in_one_line(scans, tmp_path):
    for options in (("--workers", 0), ("--slurm", "queue"), ("--subject", "77")):
        refused = engine("cohort", scans, tmp_path / "out", *options)
        assert refused.returncode == 2, refused.stderr.decode()
        assert refused.stderr.count(b"error:") == 1
