"""Several contrasts as one examination: assembled on the first scan's grid, refused where they do not go together."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib.cli.main import parse, run_command
from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.examination.examination import Seen, detect_examination, pooled_detection
from BrainAnomalyLib.examination.pooling import DEFAULT_EVIDENCE, JOINT, UNIT
from BrainAnomalyLib.io.geometry import Affine
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.output.folder import read_results, write_results
from BrainAnomalyLib.preparation.brain.mask import BrainMask
from BrainAnomalyLib.preparation.pipeline import AlignedScan
from BrainAnomalyLib.preparation.space.registration import Registration
from made_detection import GRID, made_detection
from synthetic import grid_of, noise

RATES = {"0.1": 0.75, "0.05": 0.9, "0.01": 1.4, "0.005": 1.6, "0.001": 2.0}
# The second scan's world is the first one's, shifted, and its field of view ends halfway through the first one's.
SHIFT = np.eye(4)
SHIFT[:3, 3] = (7.0, -4.0, 3.0)


def seen(contrast: str, detection: Detection, own_from_first: Affine) -> Seen:
    facts = {
        "package": "x",
        "recipe": {"identity": "y"},
        "thresholds_by_rate": RATES,
        "title": "t",
        "unit": "u",
        "name": "n",
    }
    scan = replace(detection.scan, contrast=contrast, name=contrast)
    aligned = AlignedScan(
        scan,
        scan.array,
        BrainMask(detection.brain_mask, "given"),
        Registration(np.eye(4), "affine", 0.0, False),
        True,
        scan,
        0.0,
    )
    return Seen(contrast, replace(detection, scan=scan, detector=facts), aligned, own_from_first)


@pytest.fixture(scope="module")
def pair() -> tuple[Seen, Seen]:
    """Findings of 5 and 9 on a FLAIR; on a T1w of the same place only the second is seen, dark."""
    first = made_detection()
    grid = replace(GRID, affine=SHIFT @ GRID.affine)
    second = made_detection(grid=grid)
    anomaly = np.zeros_like(second.anomaly)
    anomaly[10:13, 10:13, 10:13] = 9.0
    second = replace(second, anomaly=anomaly, residual=np.full(anomaly.shape, -1.0, dtype=np.float32))
    bright = replace(first, residual=np.full(anomaly.shape, 1.0, dtype=np.float32))
    return seen("FLAIR", bright, np.eye(4)), seen("T1w", second, SHIFT)


@pytest.fixture(scope="module")
def found(pair: tuple[Seen, Seen]) -> Detection:
    """Both, pooled."""
    return pooled_detection(pair, 20.0, None)


def test_both_contrasts_make_one_map_and_one_list(found: Detection) -> None:
    assert found.scan.grid.same_as(GRID)
    assert found.findings.threshold == DEFAULT_EVIDENCE
    assert [row.contrasts for row in found.findings.table] == ["FLAIR +, T1w -", "FLAIR +"]
    assert found.detector["unit"] == UNIT
    assert [row["contrast"] for row in found.detector["contrasts"]] == ["FLAIR", "T1w"]
    np.testing.assert_allclose(found.detector["contrasts"][1]["own_from_first"], SHIFT)
    assert set(found.components) == {"FLAIR", "T1w", JOINT}
    assert found.components["T1w"][11, 11, 11] < -2.0
    assert found.warnings == ("FLAIR: Only a test.", "T1w: Only a test.")


def test_a_contrast_that_agrees_adds_evidence_and_one_that_does_not_takes_some(found: Detection) -> None:
    assert found.anomaly[11, 11, 11] > found.anomaly[4, 4, 4] > DEFAULT_EVIDENCE


def test_the_result_is_written_and_read_again(found: Detection, tmp_path: Path) -> None:
    again = read_results(write_results(found, tmp_path / "out", pictures=False), found.scan)
    assert again.findings.table == found.findings.table
    assert np.allclose(again.components["T1w"], found.components["T1w"])
    higher = again.with_threshold(found.findings.table[1].peak + 0.01, 20.0)
    assert [row.contrasts for row in higher.findings.table] == ["FLAIR +, T1w -"]


def test_one_scan_is_no_examination() -> None:
    with pytest.raises(OptionsError, match="at least two contrasts"):
        detect_examination([Scan(noise((8, 8, 8)), grid_of((8, 8, 8)), "FLAIR")])


def test_two_scans_of_one_contrast_are_refused_by_name() -> None:
    scans = [Scan(noise((8, 8, 8)), grid_of((8, 8, 8)), "FLAIR", name) for name in ("first", "second")]
    with pytest.raises(OptionsError, match="'first' and 'second' are both FLAIR"):
        detect_examination(scans)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.nii.gz", "b.nii.gz", "--contrast", "FLAIR"], "not as many contrasts as scans"),
        (["a.nii.gz", "b.nii.gz", "--detector", "tissue"], "Give no detector"),
        (["a.nii.gz", "b.nii.gz"], "no file or folder 'a.nii.gz'"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = parse(["detect", *arguments, "--out", str(tmp_path / "out"), "--quiet"])
    assert run_command(options, sys.stdout, sys.stderr) in (2, 3)
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
