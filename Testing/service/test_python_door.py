"""The five lines for users of the library: read, detect with the automatic choice, write."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib import detect, read_scan, write
from BrainAnomalyLib.detection import DetectionOptions, suited_detector
from BrainAnomalyLib.detectors.protocol import Detector
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.io.volumes import Scan, write_volume
from BrainAnomalyLib.preparation.pipeline import Aligner
from BrainAnomalyLib.preparation.recipe import Recipe
from engine_process import variables
from made_detection import made_detection
from synthetic import flair_brain, grid_of


class Asked(Exception):
    """Which detector was to be loaded."""


def ask(name: str) -> Detector:
    raise Asked(name)


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR", "T2w", "PD"])
def test_the_choice_is_the_same_for_every_contrast(contrast) -> None:
    scan = replace(made_detection().scan, contrast=contrast)
    with pytest.raises(Asked, match=r"^combined$"):
        detect(scan, load=ask)


def test_an_unknown_contrast_is_guessed_by_the_one_alignment_that_detectors_share() -> None:
    grid = grid_of((95, 110, 95), (2.0, 2.0, 2.0))
    aligner = Aligner(replace(made_detection().scan, array=flair_brain(grid), grid=grid, contrast="unknown"))
    assert suited_detector(aligner) == "combined"
    made = aligner.by(Recipe())
    assert aligner.by(Recipe(grid="template_2mm", intensity="unit_range")) is made
    assert aligner.by(Recipe(bias_correction=False)) is not made


def test_a_mask_of_another_grid_is_refused_in_plain_words() -> None:
    scan: Scan = made_detection().scan
    options = DetectionOptions(brain_mask=np.ones((3, 4, 5), dtype=np.bool_))
    with pytest.raises(ScanError, match="The mask 'brain mask' has 3 x 4 x 5 voxels"):
        detect(scan, load_detector("histogram"), options)


def test_scans_are_read_and_results_written(tmp_path: Path) -> None:
    detection = made_detection()
    write_volume(tmp_path / "a.nii.gz", detection.scan.array, detection.scan.grid)
    assert read_scan(tmp_path / "a.nii.gz").array.shape == detection.scan.array.shape
    assert (write(detection, tmp_path / "out") / "summary.json").is_file()


def test_importing_the_package_is_quick() -> None:
    """Less than 0.3 s more than Python itself needs; the best of three, since other programs run meanwhile."""
    assert min(seconds("import BrainAnomalyLib") for _ in range(3)) - min(seconds("pass") for _ in range(3)) < 0.3


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], env=variables(), check=True)
    return time.perf_counter() - start
