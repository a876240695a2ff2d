"""Healthy cohorts on disk: which scans belong to them and how their subjects are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class CohortScan:
    """One healthy scan: subject, scanner, image file, and a label file whose voxels above 0 are brain, if any."""

    subject: str
    scanner: str
    path: Path
    brain_labels: Path | None = None


@dataclass(frozen=True)
class CohortSplit:
    """Subject-wise split of a cohort: to train on, to calibrate with, and to test on."""

    training: tuple[CohortScan, ...]
    calibration: tuple[CohortScan, ...]
    test: tuple[CohortScan, ...]


def shared_t1w_cohort(data: Path) -> tuple[CohortScan, ...]:
    """The healthy T1w scans of the shared data folder: IXI (Philips 3T) and OpenNeuro ds002748 (brain-extracted)."""
    ixi = [
        CohortScan(folder.name, "IXI-HH", folder / f"{folder.name}_T1.nii.gz", folder / f"{folder.name}_DLMUSE.nii.gz")
        for folder in sorted((data / "ixi_t1_2mm").iterdir())
        if folder.is_dir()
    ]
    paths = sorted((data / "ds002748_t1_brain_2mm").glob("sub-*_T1w.nii.gz"))
    return (*ixi, *(CohortScan(path.name.split("_")[0], "ds002748", path) for path in paths))


def split_subjects(
    scans: tuple[CohortScan, ...], calibration: float = 0.12, test: float = 0.12, seed: int = 20
) -> CohortSplit:
    """Random split by subject within each scanner; the fractions of calibration and test are rounded per scanner."""
    parts: tuple[list[CohortScan], list[CohortScan], list[CohortScan]] = ([], [], [])
    for scanner in sorted({scan.scanner for scan in scans}):
        members = [scan for scan in scans if scan.scanner == scanner]
        order = np.random.default_rng(seed).permutation(len(members))
        bounds = np.cumsum([round(len(members) * share) for share in (calibration, test)])
        for rank, index in enumerate(order):
            parts[1 + int(rank >= bounds[0]) if rank < bounds[1] else 0].append(members[index])
    return CohortSplit(*(tuple(sorted(part, key=lambda scan: scan.subject)) for part in parts))
