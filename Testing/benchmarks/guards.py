"""What the program says of scans that it should not judge, and what it would have found in them.

    python Testing/benchmarks/guards.py [--data ../shared/data]

A held-out healthy T1w head and a healthy FLAIR head go through the whole program as they are, under a wrong contrast,
with parts missing, with wrong headers and with strong artifacts, and things that are no brains do too. Every row says
whether the scan was refused, warned about or passed, with the first reason, and how many mL lie above the default
threshold, which a reader who heeds refusals and warnings never takes for findings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from BrainAnomalyLib.detection import DetectionOptions, detect_aligned
from BrainAnomalyLib.detectors.registry import detector_for, load_detector
from BrainAnomalyLib.errors import BrainAnomalyError
from BrainAnomalyLib.io.geometry import FloatArray, Grid
from BrainAnomalyLib.io.volumes import Contrast, Scan, read_scan
from BrainAnomalyLib.preparation.pipeline import align, contrast_of
from BrainAnomalyLib.preparation.recipe import Recipe
from published_split import published_split

Row = tuple[str, str, str, str, str]


def heads(data: Path) -> dict[Contrast, Scan]:
    """A held-out healthy head of each contrast."""
    test = published_split(data).test
    own = next(scan for scan in test if scan.scanner == "IXI-HH")
    flair = data / "single_healthy" / "synthsr_FLAIR_1mm.nii.gz"
    return {"T1w": read_scan(own.path, "T1w"), "FLAIR": read_scan(flair, "FLAIR")}


def changed(scan: Scan, image: FloatArray, affine: FloatArray | None = None) -> Scan:
    """The scan with other voxels or another header."""
    grid = scan.grid if affine is None else Grid(scan.grid.shape, affine)
    return replace(scan, array=np.maximum(image, 0.0).astype(np.float32), grid=grid)


def bad_scans(scan: Scan) -> Iterator[tuple[str, Scan]]:
    """The head as it is and in ways that ruin it."""
    image, affine = scan.array, scan.grid.affine
    yield "as it is", scan
    other: Contrast = "FLAIR" if scan.contrast == "T1w" else "T1w"
    yield f"named {other}", replace(scan, contrast=other)
    yield "upper half missing", changed(scan, _without(image, affine, 2, above=True))
    yield "left half missing", changed(scan, _without(image, affine, 0, above=False))
    turned = affine.copy()
    turned[:3, :3] = affine[:3, :3] @ np.roll(np.eye(3), 1, axis=1)
    yield "axes swapped in the header", changed(scan, image, turned)
    longer = affine.copy()
    longer[:3, :3] = affine[:3, :3] * 1.6
    yield "voxels 1.6 times too large in the header", changed(scan, image, longer)
    yield "ghost of 50 %", changed(scan, image + 0.5 * np.roll(image, image.shape[1] // 3, axis=1))
    noise = np.random.default_rng(0).normal(scale=0.25 * np.percentile(image, 98), size=image.shape)
    yield "noise of 25 %", changed(scan, np.abs(image + noise))
    steps = np.linspace(0.15, 2.0, image.shape[0])[:, None, None]
    yield "brightness rising thirteenfold", changed(scan, image * steps)
    yield "inverted", changed(scan, np.where(image > 0, np.percentile(image, 99.5) - image, 0.0))


def no_brains() -> Iterator[tuple[str, Scan]]:
    """A ball with layers, a block of noise, and a bottle that is brighter than what surrounds it."""
    grid = Grid((100, 110, 100), np.diag([2.0, 2.0, 2.0, 1.0]))
    random = np.random.default_rng(1)
    radius = np.linalg.norm(np.indices(grid.shape).T - np.array([50.0, 55.0, 50.0]), axis=-1).T
    layers = np.select([radius < 15, radius < 33, radius < 40, radius < 45], [40.0, 100.0, 75.0, 20.0], 0.0)
    yield "ball with layers", Scan((layers + random.normal(0, 3, grid.shape)).clip(0).astype(np.float32), grid)
    yield "noise", Scan(random.rayleigh(50.0, grid.shape).astype(np.float32), grid)
    tube = np.hypot(*np.indices(grid.shape)[:2] - np.array([50.0, 55.0])[:, None, None, None]) < 35
    smooth = ndimage.gaussian_filter(tube.astype(np.float32) * 100.0, 1.5)
    yield "bottle of water", Scan((smooth + random.normal(0, 2, grid.shape)).clip(0).astype(np.float32), grid)


def _without(image: FloatArray, affine: FloatArray, axis: int, above: bool) -> FloatArray:
    """The image without everything beyond the middle of its foreground along a world axis."""
    along = int(np.argmax(np.abs(affine[axis, :3])))
    used = np.nonzero(image > 0.2 * np.percentile(image, 98))[along]
    middle, upwards = int(np.median(used)), affine[axis, along] > 0
    gone = [slice(None)] * 3
    gone[along] = slice(middle, None) if above == upwards else slice(None, middle)
    left = image.copy()
    left[tuple(gone)] = 0.0
    return left


def row(base: str, name: str, scan: Scan) -> Row:
    """What happens to a scan in the program."""
    try:
        aligned = align(scan, Recipe())
        seen = scan.contrast if scan.contrast != "unknown" else contrast_of(aligned).contrast
        detection = detect_aligned(aligned, load_detector(detector_for(seen)), DetectionOptions())
    except BrainAnomalyError as error:
        return base, name, "refused", error.sentence(), "-"
    ml = sum(finding.volume_ml for finding in detection.findings.table)
    if detection.guard is not None and detection.guard.verdict != "in distribution":
        return base, name, f"warned: {detection.guard.verdict}", detection.guard.reasons[0], f"{ml:.1f}"
    if detection.warnings:
        return base, name, "warned", detection.warnings[0], f"{ml:.1f}"
    return base, name, "passed", "", f"{ml:.1f}"


def main() -> None:
    """Print the table as its rows come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    chosen = parser.parse_args()
    print("| Scan | Change | The program | First reason | mL above the default threshold |\n|---|---|---|---|---|")
    for contrast, scan in heads(chosen.data).items():
        for name, bad in bad_scans(scan):
            print("| " + " | ".join(row(contrast, name, bad)) + " |", flush=True)
    for name, scan in no_brains():
        print("| " + " | ".join(row("no brain", name, scan)) + " |", flush=True)


if __name__ == "__main__":
    main()
