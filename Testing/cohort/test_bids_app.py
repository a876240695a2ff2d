"""``brain-anomaly-bids``: a BIDS data set as it is found, and the derivative that comes out. The detection is light."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dask
import nibabel
import numpy as np
import pandas
import pytest
from distributed import LocalCluster

from BrainAnomalyLib import __version__
from BrainAnomalyLib.cli import bids_command
from BrainAnomalyLib.cli.main import main
from BrainAnomalyLib.cohort.bids_source import read_filters
from BrainAnomalyLib.cohort.compute import local_workers
from BrainAnomalyLib.cohort.records import read_records
from BrainAnomalyLib.cohort.sources import find_cohort
from BrainAnomalyLib.errors import OptionsError
from light_detection import light, write_light_scan

SCANS = (
    "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
    "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz",
    "sub-01/ses-b/anat/sub-01_ses-b_run-1_T2w.nii.gz",
    "sub-01/ses-b/anat/sub-01_ses-b_run-2_T2w.nii.gz",
    "sub-02/anat/sub-02_acq-lowres_PDw.nii.gz",
    "sub-02/anat/sub-02_acq-bad_PDw.nii.gz",
)
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
VALIDATOR = shutil.which("bids-validator-deno", path=PLACES)


@pytest.fixture(scope="module")
def bids(tmp_path_factory) -> Path:
    """Mixed contrasts, runs, a subject without sessions, one by a link, one that is no scan, one ignored; read-only."""
    root = tmp_path_factory.mktemp("raw") / "bids"
    for seed, name in enumerate(SCANS):
        write_light_scan(root / name, seed, ((9, 12, 10), (14, 8, 10)) if "FLAIR" in name else ((9, 12, 10),))
    (root / "sub-03" / "anat").mkdir(parents=True)
    (root / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz").symlink_to(root / SCANS[1])
    (root / "sub-00" / "anat").mkdir(parents=True)
    (root / "sub-00" / "anat" / "sub-00_FLAIR.nii.gz").write_bytes(b"no scan")
    (root / ".bidsignore").write_text("# known to be bad\n*_acq-bad_*\n", encoding="utf-8")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}), encoding="utf-8")
    people = "participant_id\tage\tgroup\nsub-01\t50\tpatient\nsub-02\t60\tcontrol\nsub-03\t55\tpatient\n"
    (root / "participants.tsv").write_text(people, encoding="utf-8")
    for path in [*root.rglob("*"), root]:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    return root


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The command with light work, through a scheduler and a worker of this process."""
    scratch = dask.config.set({"temporary-directory": str(tmp_path_factory.mktemp("dask"))})
    alone = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp://"}
    with scratch, LocalCluster(**alone, dashboard_address=None) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setattr(bids_command, "run_task", light)
        common = ("--quiet", "--scheduler", cluster.scheduler_address)
        yield lambda *arguments: main(["bids", *map(str, arguments), *common])


@pytest.fixture(scope="module")
def derivative(app, bids, tmp_path_factory) -> Path:
    """Two calls for single participants and one for the rest, as jobs of a cluster."""
    out = tmp_path_factory.mktemp("derivatives") / "brain-anomaly"
    assert app(bids, out, "participant", "--participant-label", "01") == 0
    assert app(bids, out, "participant") == 3
    return out


def test_the_description_names_what_made_it_from_what(derivative, bids):
    described = json.loads((derivative / "dataset_description.json").read_text(encoding="utf-8"))
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "BrainAnomaly"
    assert described["GeneratedBy"][0]["Version"] == __version__
    assert described["DatasetLinks"] == {"raw": bids.as_uri()}


def test_every_file_has_a_derivative_name_and_a_sidecar(derivative):
    names = {path.name for path in (derivative / "sub-01" / "ses-a" / "anat").iterdir() if "FLAIR" in path.name}
    kinds = ("brain_mask", "findings_dseg", "structures_dseg")
    orig = "sub-01_ses-a_space-orig_desc-"
    volumes = {f"{orig}FLAIR{kind}" for kind in kinds}
    volumes |= {f"{orig}{desc}_FLAIR" for desc in ("anomalymap", "pseudohealthy", "residualsigned", "residualabsolute")}
    volumes.add("sub-01_ses-a_space-MNI152NLin2009aSym_res-2_desc-FLAIRfindings_mask")
    wanted = {f"{name}{end}" for name in volumes for end in (".nii.gz", ".json")}
    assert names == wanted | {f"{orig}FLAIRfindings_dseg.tsv"}
    figures = {path.name for path in (derivative / "sub-01" / "ses-a" / "figures").iterdir()}
    assert figures == {"sub-01_ses-a_FLAIR_overview.png", "sub-01_ses-a_T1w_overview.png"}
    assert not (derivative / "work").exists()


def test_sidecars_say_units_and_sources(derivative):
    stem = derivative / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_space-orig_desc-"
    anomaly = json.loads(Path(f"{stem}anomalymap_FLAIR.json").read_text(encoding="utf-8"))
    source = "bids:raw:sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz"
    assert anomaly["Sources"] == [source] == [anomaly["SpatialReference"]]
    assert anomaly["Units"] == "noise"
    assert "not for diagnosis" in anomaly["Description"]
    assert len(anomaly["BrainAnomaly"]["findings"]) == 2
    mask = json.loads(Path(f"{stem}FLAIRbrain_mask.json").read_text(encoding="utf-8"))
    assert (mask["Type"], mask["Method"]) == ("Brain", "given")


def test_the_table_of_labels_has_a_row_for_each_finding(derivative):
    stem = derivative / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_space-orig_desc-FLAIRfindings_dseg"
    with Path(f"{stem}.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    labels = np.asanyarray(nibabel.load(f"{stem}.nii.gz").dataobj)
    assert [int(row["index"]) for row in rows] == [1, 2] == sorted(set(labels.ravel()) - {0})
    assert [float(row["volume_ml"]) for row in rows] == pytest.approx([1.0, 1.0])
    described = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert set(rows[0]) - {"index", "name"} <= set(described)


def test_findings_lie_at_the_same_place_of_the_template(derivative):
    place = "sub-02/anat/sub-02_acq-lowres_space-MNI152NLin2009aSym_res-2_desc-PDwfindings_mask.nii.gz"
    image = nibabel.load(derivative / place)
    raw = nibabel.load(derivative / "sub-02/anat/sub-02_acq-lowres_space-orig_desc-PDwfindings_dseg.nii.gz")
    inside = np.argwhere(np.asanyarray(image.dataobj) > 0)
    center = nibabel.affines.apply_affine(image.affine, inside.mean(axis=0))
    assert center == pytest.approx(nibabel.affines.apply_affine(raw.affine, [9, 12, 10]), abs=1.0)
    assert len(inside) * 8.0 == pytest.approx(1000.0)


def test_one_table_and_one_page_for_all_calls(derivative):
    scans = pandas.read_csv(derivative / "cohort.csv", keep_default_na=False)
    assert list(scans["key"]) == [
        "sub-00/sub-00_FLAIR",
        "sub-01/ses-a/sub-01_ses-a_FLAIR",
        "sub-01/ses-a/sub-01_ses-a_T1w",
        "sub-01/ses-b/sub-01_ses-b_run-1_T2w",
        "sub-01/ses-b/sub-01_ses-b_run-2_T2w",
        "sub-02/sub-02_acq-lowres_PDw",
        "sub-03/sub-03_FLAIR",
    ]
    assert list(scans["status"]) == ["failed"] + ["done"] * 6
    assert "cannot be read" in scans["reason"][0]
    assert all((derivative / name).is_file() for name in scans["overview"][1:])
    rows = (derivative / "index_rows.js").read_text(encoding="utf-8")
    assert "sub-01/ses-a/figures/sub-01_ses-a_FLAIR_overview.png" in rows


def test_the_data_set_is_valid(derivative):
    if VALIDATOR is None:
        pytest.skip("the BIDS validator is not installed: pip install bids-validator-deno")
    called = [VALIDATOR, derivative, "--format", "json"]
    checked = subprocess.run(called, capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(checked.stdout)["issues"]["issues"]
    print(f"\nbids-validator-deno {importlib.metadata.version('bids-validator-deno')}: {len(issues)} issues")
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    # What only the data set's owner knows.
    assert {issue["code"] for issue in issues} <= {"TOO_FEW_AUTHORS"}


def test_nothing_is_done_twice_and_another_option_leaves_no_old_files(app, derivative, bids, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(derivative, out)
    before = {record["key"]: record for record in read_records(out)}
    assert app(bids, out, "participant", "--participant-label", "sub-02", "03") == 0
    assert {record["key"]: record for record in read_records(out)} == before
    stale = out / before["sub-02/sub-02_acq-lowres_PDw"]["files"][0]
    record = out / "state" / "sub-02" / "sub-02_acq-lowres_PDw.json"
    old = {**before["sub-02/sub-02_acq-lowres_PDw"], "identity": "of another program"}
    (stale.parent / "stale_map.nii.gz").write_bytes(b"old")
    old["files"] = [*old["files"], "sub-02/anat/stale_map.nii.gz"]
    record.write_text(json.dumps(old), encoding="utf-8")
    half = tmp_path / "work" / "sub-02" / "sub-02_acq-lowres_PDw"
    half.mkdir(parents=True)
    (half / "findings.csv").write_bytes(b"half of a result that was being removed")
    assert app(bids, out, "participant", "--participant-label", "02", "-w", tmp_path / "work") == 0
    assert not (stale.parent / "stale_map.nii.gz").exists()
    assert not (tmp_path / "work").exists()
    assert sorted(read_records(out)[5]["files"]) == sorted(before["sub-02/sub-02_acq-lowres_PDw"]["files"])


def test_jobs_share_a_derivative_but_not_a_participant_and_the_first_crash_stops(app, bids, tmp_path, capfd):
    out = tmp_path / "out"
    (out / "state" / "sub-03").mkdir(parents=True)
    lock = {"pid": 1, "started": 0.0, "host": "another"}
    (out / "state" / "sub-03" / "process.json").write_text(json.dumps(lock), encoding="utf-8")
    assert app(bids, out, "participant", "--participant-label", "03") == 6
    assert "computer 'another' is working" in capfd.readouterr().err
    others = ("--participant-label", "01", "00")
    assert app(bids, out, "participant", *others, "--stop-on-first-crash") == 3
    assert "Done: 0, failed: 1" in capfd.readouterr().out


def test_a_filter_file_chooses_by_entities(bids, tmp_path):
    path = tmp_path / "filters.json"
    path.write_text(json.dumps({"t2w": {"run": 2}, "FLAIR": {"session": None}, "pd": {"acquisition": "*"}}))
    found = find_cohort(bids, filters=read_filters(path))
    assert [entry.scan.name for entry in found.entries] == [
        "sub-00_FLAIR.nii.gz",
        "sub-01_ses-a_T1w.nii.gz",
        "sub-01_ses-b_run-2_T2w.nii.gz",
        "sub-02_acq-lowres_PDw.nii.gz",
        "sub-03_FLAIR.nii.gz",
    ]
    reasons = {one.path.name: one.reason for one in found.left_out}
    assert reasons["sub-01_ses-a_FLAIR.nii.gz"] == "The filter file leaves it out."
    assert reasons["sub-02_acq-bad_PDw.nii.gz"] == "The data set's .bidsignore names it."


@pytest.mark.parametrize("content", ["{", "[]", '{"bold": {}}', '{"t1w": {"no_entity": 1}}'])
def test_a_filter_file_that_cannot_be_used_is_refused(bids, tmp_path, content):
    (tmp_path / "filters.json").write_text(content, encoding="utf-8")
    with pytest.raises(OptionsError):
        find_cohort(bids, filters=read_filters(tmp_path / "filters.json"))


def test_the_group_level_reads_the_derivative(app, derivative, bids, tmp_path, capfd):
    out = tmp_path / "copy"
    shutil.copytree(derivative, out)
    rejected = ("sub-03/sub-03_FLAIR", "sub-01/ses-a/sub-01_ses-a_T1w", "sub-02/sub-02_acq-lowres_PDw")
    lines = ["key,decision,note", *(f"{key},reject,moved" for key in rejected)]
    (out / "decisions.csv").write_text("\n".join(lines), encoding="utf-8")
    assert app(bids, out, "group") == 0
    said = capfd.readouterr().out
    assert "sub-03/sub-03_FLAIR: It was rejected: moved" in said
    assert "sub-00/sub-00_FLAIR: It failed" in said
    summary = pandas.read_csv(out / "group" / "summary.csv")
    assert set(summary["contrast"]) == {"FLAIR", "T2w"}
    runs = summary[(summary["contrast"] == "T2w") & (summary["measure"] == "total_ml")].iloc[0]
    assert (runs["subjects"], runs["scans"], runs["mean"]) == (1, 2, pytest.approx(1.0))


def test_what_cannot_be_run_is_said(app, bids, tmp_path, capsys):
    assert app(tmp_path, tmp_path / "out", "participant") == 2
    assert app(bids, tmp_path / "out", "group") == 2
    assert app(bids, tmp_path / "out", "participant", "--nprocs", 0) == 2
    said = capsys.readouterr().err
    assert "is no BIDS data set" in said
    assert "holds no results" in said
    assert "--nprocs" in said


def test_memory_limits_the_workers():
    assert local_workers(8, 6.5) == 2
    assert local_workers(None, 1.0) == 1
