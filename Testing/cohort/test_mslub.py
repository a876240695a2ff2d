"""MSLUB patient19: a real 3D FLAIR with real lesions, the whole way from file to findings."""

from __future__ import annotations

import numpy as np
import pytest

from BrainAnomalyLib.detection import Detection, detect
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.io.volumes import read_scan
from shared_data import FOLDER, needs
from voxel_scores import average_precision, best_dice, dice

PATIENT = FOLDER / "mslub_ms" / "patient19"
# What the first trial of the recipe reached on this scan, for the raw equalized intensity and for the tissue map.
FIRST_TRIAL_HISTOGRAM, FIRST_TRIAL_TISSUE = 0.650, 0.747

pytestmark = needs("mslub_ms", "patient19")


@pytest.fixture(scope="module")
def detections() -> dict[str, Detection]:
    scan = read_scan(PATIENT / "patient19_FLAIR_MNI_brain.nii.gz", "FLAIR")
    return {name: detect(scan, load_detector(name)) for name in ("histogram", "tissue")}


@pytest.fixture(scope="module")
def lesion() -> np.ndarray:
    return read_scan(PATIENT / "patient19_lesion_MNI.nii.gz").array > 0


def _average_precision(detection: Detection, lesion: np.ndarray) -> float:
    inside = detection.brain_mask
    return average_precision(lesion[inside], detection.anomaly[inside])


def test_tissue_beats_the_histogram_and_the_first_trial(detections, lesion):
    scores = {name: _average_precision(detection, lesion) for name, detection in detections.items()}
    inside = detections["tissue"].brain_mask
    oracle = best_dice(lesion[inside], detections["tissue"].anomaly[inside])
    print(f"\nMSLUB patient19 FLAIR: AP tissue {scores['tissue']:.3f}, histogram {scores['histogram']:.3f}")
    print(f"best Dice tissue {oracle:.3f} (oracle threshold)")
    assert scores["histogram"] >= FIRST_TRIAL_HISTOGRAM
    assert scores["tissue"] >= FIRST_TRIAL_TISSUE
    assert scores["tissue"] > scores["histogram"] + 0.05
    assert oracle > 0.75


def test_findings_at_the_default_threshold_lie_on_the_lesions(detections, lesion):
    found = detections["tissue"].findings.labels > 0
    print(f"\nDice at the default threshold {dice(found, lesion):.3f}")
    assert dice(found, lesion) > 0.7


def test_the_scan_is_recognized(detections):
    detection = detections["tissue"]
    assert detection.brain_mask_method == "stripped"
    assert detection.contrast.contrast == "FLAIR"
    assert detection.quality.verdict == "good"
    assert detection.warnings == ()
    assert detection.anomaly.shape == detection.scan.array.shape
