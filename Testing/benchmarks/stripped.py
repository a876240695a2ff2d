"""What tells a head from a stripped brain of its size: the share of it in which no brain is found.

    python Testing/benchmarks/stripped.py [--data ../shared/data]

Stripped brains of the shared data as they are, and heads set to zero outside and made smaller until they pass for a
brain by volume and section. Detection takes for a head what has more than 14 % outside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly")]

from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.preparation.brain.stripped import MOST_OUTSIDE, share_outside_brain, stripped_brain

_SIZES = (1.0, 0.9, 0.78)


def brains(data: Path) -> Iterator[Path]:
    """Stripped brains."""
    yield from sorted((data / "ds002748_t1_brain_2mm").glob("*_T1w.nii.gz"))
    yield from sorted((data / "mslub_ms").rglob("*_brain.nii.gz"))
    yield from (data / "tumor_four_contrasts" / f"{name}.nii.gz" for name in ("FLAIR", "T1", "T1c", "T2"))
    yield from (data / "stroke_three_contrasts" / f"{name}.nii.gz" for name in ("FLAIR", "T1", "T2"))


def heads(data: Path) -> Iterator[Path]:
    """Whole heads."""
    yield from sorted((data / "ixi_t1_2mm").rglob("*_T1.nii.gz"))[::5]
    yield from sorted((data / "single_healthy").glob("*.nii.gz"))
    yield from sorted((data / "ds000011_t1_t2").rglob("*.nii.gz"))
    yield from (file for file in sorted((data / "mslub_longitudinal").rglob("study*.nii.gz")) if "gt" not in file.name)


def on_zero(scan: Scan, size: float) -> Scan:
    """The head as one piece on exactly zero, ``size`` times as large."""
    labels, _ = ndimage.label(ndimage.binary_opening(scan.array > np.percentile(scan.array, 60.0)))
    head = ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
    grid = Grid(scan.grid.shape, scan.grid.affine @ np.diag([size, size, size, 1.0]))
    return Scan(np.where(head, scan.array, 0.0).astype(np.float32), grid, scan.contrast, scan.name)


def report(kind: str, shares: list[float]) -> None:
    """One line."""
    rows = f"{np.min(shares):.3f} to {np.max(shares):.3f}" if shares else "none passes for a brain"
    taken = np.count_nonzero(np.asarray(shares) > MOST_OUTSIDE)
    print(f"{kind}: {len(shares)} images, share outside the brain {rows}, {taken} taken for heads", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    scans = [read_scan(file) for file in brains(data)]
    found = [(scan, stripped_brain(scan)) for scan in scans]
    report("Stripped brains", [share_outside_brain(scan, mask) for scan, mask in found if mask is not None])
    for size in _SIZES:
        made = [on_zero(read_scan(file), size) for file in heads(data)]
        passing = [(scan, mask) for scan in made if (mask := stripped_brain(scan)) is not None]
        report(f"Heads at {size:g} of their size", [share_outside_brain(scan, mask) for scan, mask in passing])


if __name__ == "__main__":
    main()
