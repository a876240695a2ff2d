"""The brain mask on a few held-out heads; Testing/benchmarks/brain_mask.py prints all 40."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.preparation.brain.by_registration import brain_by_registration
from BrainAnomalyLib.preparation.brain.mask import find_brain
from BrainAnomalyTrainingLib.brain_mask.training import held_out
from shared_data import FOLDER, needs
from voxel_scores import dice

pytestmark = needs("ixi_t1_2mm")


def _held_out_heads(count: int) -> list[tuple[str, Scan, np.ndarray]]:
    folders = sorted(folder for folder in (FOLDER / "ixi_t1_2mm").iterdir() if folder.is_dir())
    chosen = [folder for index, folder in enumerate(folders) if held_out(index)]
    return [_head(folder) for folder in chosen[:: len(chosen) // count][:count]]


def _head(folder) -> tuple[str, Scan, np.ndarray]:
    truth = read_scan(folder / f"{folder.name}_DLMUSE.nii.gz").array > 0
    return folder.name, read_scan(folder / f"{folder.name}_T1.nii.gz"), ndimage.binary_fill_holes(truth)


def test_held_out_heads_reach_the_bar():
    scores = {}
    for name, scan, truth in _held_out_heads(6):
        brain = find_brain(scan)
        assert brain.method == "network"
        scores[name] = dice(brain.mask, truth)
    print("\n" + "\n".join(f"{name} Dice {score:.4f}" for name, score in scores.items()))
    assert np.mean(list(scores.values())) >= 0.95
    assert min(scores.values()) >= 0.92


def test_the_fallback_by_registration_finds_most_of_the_brain():
    name, scan, truth = _held_out_heads(1)[0]
    score = dice(brain_by_registration(scan), truth)
    print(f"\n{name} Dice by registration {score:.4f}")
    assert score >= 0.90
