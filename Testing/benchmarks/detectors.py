"""Detectors against truth: MSLUB patient19 in 3D, inserted lesions and false positives on held-out healthy scans.

    python Testing/benchmarks/detectors.py [--data ../shared/data] [--cases 21] [--shapes 3]

Scores are taken in the brain of the submitted scan. AP: average precision over brain voxels; Dice: best over
thresholds (oracle, stated as such) and at the detector's own default threshold. Held-out scans are the test part of
``published_split``: neither trained nor calibrated on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from BrainAnomalyLib.detection import detect
from BrainAnomalyLib.detectors.protocol import Detector
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.residuals import cleaned
from BrainAnomalyTrainingLib.cohort.cohort import CohortScan
from inserted_lesions import insert_lesion, lesion_shapes
from published_split import published_split
from voxel_scores import average_precision, best_dice, dice

MSLUB: tuple[tuple[str, Contrast], ...] = (("FLAIR", "FLAIR"), ("T2", "T2w"))
SIZES_ML = ((0.1, 1.0), (1.0, 10.0), (10.0, 100.0))


def mslub(data: Path) -> None:
    """Every training-free detector and contrast of MSLUB patient19, whose lesions are real."""
    folder = data / "mslub_ms" / "patient19"
    lesion = read_scan(folder / "patient19_lesion_MNI.nii.gz").array > 0
    print(f"MSLUB patient19, {lesion.sum() / 1000.0:.1f} mL of lesions, in-brain voxels")
    print("| scan | detector | AP | best Dice (oracle) | Dice at default threshold |\n|---|---|---|---|---|")
    for name, contrast in MSLUB:
        scan = read_scan(folder / f"patient19_{name}_MNI_brain.nii.gz", contrast)
        for detector in ("histogram", "tissue"):
            found = detect(scan, load_detector(detector))
            truth, score = lesion[found.brain_mask], found.anomaly[found.brain_mask]
            own = dice(found.findings.labels > 0, lesion)
            row = f"{average_precision(truth, score):.3f} | {best_dice(truth, score):.3f} | {own:.3f}"
            print(f"| {name} | {detector} | {row} |", flush=True)


def held_out(data: Path, cases: int) -> list[tuple[CohortScan, PreparedScan]]:
    """Prepared test scans, alternating between the scanners."""
    test = published_split(data).test
    by_scanner = [[scan for scan in test if scan.scanner == name] for name in sorted({scan.scanner for scan in test})]
    longest = max(len(scans) for scans in by_scanner)
    mixed = [scans[rank] for rank in range(longest) for scans in by_scanner if rank < len(scans)][:cases]
    recipe = load_detector("denoising").recipe
    return [(scan, prepare(read_scan(scan.path, "T1w"), recipe)) for scan in mixed]


def healthy_false_positives(detector: Detector, scans: list[tuple[CohortScan, PreparedScan]]) -> None:
    """Volume above the default threshold and realised rates at the calibrated ones, per scanner."""
    print(f"\nHealthy held-out T1w scans at the default threshold {detector.threshold.value:.2f}")
    print("| scanner | scans | mL per scan | findings per scan | realised rate at promised 1 % | at 5 % |")
    print("|---|---|---|---|---|---|")
    for scanner in sorted({scan.scanner for scan, _ in scans}):
        rows = [_healthy_row(detector, prepared) for scan, prepared in scans if scan.scanner == scanner]
        volume, count, one, five = np.mean(rows, axis=0)
        print(f"| {scanner} | {len(rows)} | {volume:.2f} | {count:.1f} | {100 * one:.2f} % | {100 * five:.2f} % |")


def _healthy_row(detector: Detector, prepared: PreparedScan) -> tuple[float, float, float, float]:
    anomaly, voxel = anomaly_map(detector, prepared), prepared.template.grid.voxel_volume_mm3
    labels = connected_components(anomaly > detector.threshold.value, voxel, 20.0)
    inside = anomaly[prepared.brain_mask]
    rates = [float((inside > detector.threshold.by_false_positive_rate[rate]).mean()) for rate in (0.01, 0.05)]
    return float((labels > 0).sum()) * voxel / 1000.0, float(labels.max()), rates[0], rates[1]


def anomaly_map(detector: Detector, prepared: PreparedScan) -> np.ndarray:
    """The cleaned anomaly map of a prepared scan, in template space."""
    score = detector.score(prepared, detector.reconstruct(prepared))
    return cleaned(score.anomaly, score.evaluated) if detector.cleans_map else score.anomaly


def inserted_lesions(detector: Detector, scans: list[tuple[CohortScan, PreparedScan]], data: Path, shapes: int) -> None:
    """Real lesion shapes at +-25 % contrast written into held-out scans, by size."""
    print("\nInserted lesions on held-out healthy T1w scans (mean AP of the cases; hit: 10 % lie above the threshold)")
    print("| size mL | contrast | cases | AP denoising | AP intensity z-score | hit rate |\n|---|---|---|---|---|---|")
    rows = _lesion_rows(detector, scans, lesion_shapes(data / "lesion_shapes_mni_1mm"), shapes)
    for low, high in SIZES_ML:
        for contrast in (-0.25, 0.25):
            chosen = [row[2:] for row in rows if low <= row[0] < high and row[1] == contrast]
            if chosen:
                means = np.mean(chosen, axis=0)
                row = f"{means[0]:.3f} | {means[1]:.3f} | {100 * means[2]:.0f} %"
                print(f"| {low:g}-{high:g} | {contrast:+.0%} | {len(chosen)} | {row} |", flush=True)


def _lesion_rows(
    detector: Detector, scans: list[tuple[CohortScan, PreparedScan]], shapes: list[Path], per_scan: int
) -> list[tuple[float, float, float, float, float]]:
    """(mL, contrast, AP, AP of the plain z-score, hit) of every case; the choice of shapes is seeded."""
    random = np.random.default_rng(4)
    rows = []
    for _, prepared in scans:
        for index in random.choice(len(shapes), per_scan, replace=False):
            for contrast in (-0.25, 0.25):
                rows.append(_lesion_row(detector, prepared, shapes[int(index)], contrast))
    return [row for row in rows if row is not None]


def _lesion_row(
    detector: Detector, prepared: PreparedScan, shape: Path, contrast: float
) -> tuple[float, float, float, float, float] | None:
    case = insert_lesion(prepared, shape, contrast)
    if not case.lesion.any():
        return None
    anomaly, inside = anomaly_map(detector, case.prepared), prepared.brain_mask
    image, truth = case.prepared.image[inside], case.lesion[inside]
    plain = np.abs(image - np.median(image))
    hit = float((anomaly[case.lesion] > detector.threshold.value).mean() >= 0.1)
    scores = average_precision(truth, anomaly[inside]), average_precision(truth, plain)
    return case.volume_ml, contrast, scores[0], scores[1], hit


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, default=21, help="held-out healthy scans")
    parser.add_argument("--shapes", type=int, default=3, help="lesion shapes per scan")
    chosen = parser.parse_args()
    started = time.monotonic()
    mslub(chosen.data)
    scans = held_out(chosen.data, chosen.cases)
    detector = load_detector("denoising")
    healthy_false_positives(detector, scans)
    inserted_lesions(detector, scans, chosen.data, chosen.shapes)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
