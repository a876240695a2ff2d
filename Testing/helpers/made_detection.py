"""A Detection made by hand, for tests of what comes after the engine."""

from __future__ import annotations

import numpy as np

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.findings.slice_profile import slice_profile
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.intensity.contrast import ContrastGuess
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality
from BrainAnomalyLib.regions.naming import structures_on, with_regions
from synthetic import grid_of, noise

GRID = grid_of((20, 22, 18), (2.0, 2.0, 3.0), "LAS", degrees=11.0)


def made_detection(name: str = "scan", grid: Grid = GRID, reconstruction: bool = True) -> Detection:
    """Two findings of 8 and 27 voxels with peaks 5 and 9 above the threshold 3, in a map of noise below 1."""
    anomaly = noise(grid.shape) / 1001.0
    anomaly[3:5, 3:5, 3:5] = 5.0
    anomaly[10:13, 10:13, 10:13] = 9.0
    brain = np.ones(grid.shape, dtype=bool)
    residual = noise(grid.shape, 3) - 500.0 if reconstruction else None
    positions = np.arange(grid.shape[2], dtype=float)
    structures = structures_on(grid, np.eye(4))
    return Detection(
        scan=Scan(noise(grid.shape, 1), grid, "FLAIR", name),
        anomaly=anomaly,
        pseudo_healthy=noise(grid.shape, 2) if reconstruction else None,
        uncertainty=None,
        residual=residual,
        brain_mask=brain,
        findings=with_regions(find(anomaly, grid, np.eye(4), 3.0, 20.0, residual), grid, np.eye(4), structures),
        profile=slice_profile(anomaly, brain, positions),
        template_from_native=np.eye(4),
        contrast=ContrastGuess("FLAIR", 0.9, 1.1, 0.6),
        quality=RegistrationQuality(mask_overlap=0.95, tissue_agreement=0.6, score=0.9, verdict="good", reason=""),
        brain_mask_method="given",
        detector={"name": "made", "title": "Made by hand", "unit": "noise"},
        threshold_source="chosen by the test",
        warnings=("Only a test.",),
        structures=structures,
        structures_source="the template",
    )
