"""How long one move of the threshold takes in the scene: map cut, segment, findings table and display written.

    PYTHONPATH=BrainAnomaly python Testing/benchmarks/threshold.py [--size 256] [--components 2000] [--steps 20]

The map is made: balls of several sizes and heights in a brain-sized ellipsoid. Needs slicer-core; nothing is drawn.
Prints the median and the slowest step, the part of the engine's ``find``, and a fixed piece of work for comparing
machines (see speed.py).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "scene"), str(TESTING / "benchmarks"), str(TESTING.parent / "BrainAnomaly")]

from scene_cases import add_volume, detection_of
from speed import fixed_work

from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic


def made_map(size: int, components: int) -> np.ndarray:
    """Separate balls of 1.5 to 3 voxels' radius on a lattice, highest in the middle, each with a peak of its own."""
    random = np.random.default_rng(0)
    anomaly = np.zeros((size, size, size), dtype=np.float32)
    pitch = 10
    places = np.stack(np.meshgrid(*3 * [np.arange(pitch, size - pitch, pitch)], indexing="ij"), -1).reshape(-1, 3)
    inside = np.linalg.norm((places - size / 2) / (size / 2), axis=1) < 0.95
    chosen = random.choice(places[inside], components, replace=False)
    steps = np.stack(np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij"), -1)
    distance = np.linalg.norm(steps, axis=-1)
    for place in chosen:
        radius, peak = random.uniform(1.5, 3.0), random.uniform(2.0, 6.0)
        box = tuple(slice(int(at) - 4, int(at) + 5) for at in place)
        anomaly[box] = np.maximum(anomaly[box], peak * np.clip(1.0 - distance / (2.0 * radius), 0.0, 1.0))
    return anomaly


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--components", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    anomaly = made_map(given.size, given.components)
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    node = add_volume(scene, array=anomaly)
    found = find(anomaly, Grid(anomaly.shape, np.eye(4)), np.eye(4), 1.0)
    maps = {"pseudo_healthy": None, "uncertainty": None, "residual": anomaly, "components": {}}
    made = replace(detection_of(node), anomaly=anomaly, findings=found, brain_mask=anomaly >= 0.0, **maps)
    logic = BrainAnomalySceneLogic()
    logic.apply(made, node)
    logic.setThreshold(node, 0.9)
    steps, cuts, counts = [], [], []
    for threshold in np.linspace(0.5, 1.5, given.steps):
        began = time.perf_counter()
        findings = logic.setThreshold(node, float(threshold))
        steps.append(1000.0 * (time.perf_counter() - began))
        counts.append(len(findings.table))
        began = time.perf_counter()
        logic.findings(node)
        cuts.append(1000.0 * (time.perf_counter() - began))
    print(f"{given.size} x {given.size} x {given.size}, {min(counts)} to {max(counts)} findings")
    print(f"step {statistics.median(steps):.0f} ms, slowest {max(steps):.0f} ms; find {statistics.median(cuts):.0f} ms")
    print(f"fixed piece of work {fixed_work():.2f} s")


if __name__ == "__main__":
    main()
