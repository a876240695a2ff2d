"""What the anatomy model reaches: its threshold on healthy scans, then scans with known lesions.

    python Testing/benchmarks/anatomy.py [--data ../shared/data] [--part healthy] [--part lesions] [--detector choice]

``healthy`` prints for each contrast the least threshold that leaves 1 mL of findings per healthy scan in the mean:
T1w heads of IXI, ds002748 and ds000011, T2w heads of ds000011 and rorden, one FLAIR head. Some of IXI and ds002748 lent
their gray values to the training of the structure network.
``lesions`` prints AP and Dice at the default threshold for MSLUB patient19 and the glioma of ``tumor_four_contrasts``
(voxels inside the brain), on which nothing was chosen, and how much of a lesion's contrast the pseudo-healthy scan
takes away: one minus what is left of the difference between the lesion's median and that of the rest of the brain.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import SimpleITK

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from sklearn.metrics import average_precision_score

from BrainAnomalyLib.detection import Detection, detect
from BrainAnomalyLib.evaluation.voxels import dice
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.io.geometry import from_image
from BrainAnomalyLib.io.volumes import Contrast, read_scan

_MOST_ML, _SMALLEST_MM3 = 1.0, 20.0
_THRESHOLDS = np.arange(0.1, 3.01, 0.05)


def healthy_files(data: Path) -> dict[Contrast, list[Path]]:
    """Healthy scans by contrast."""
    ixi = sorted((data / "ixi_t1_2mm").rglob("*_T1.nii.gz"))[::20]
    stripped = sorted((data / "ds002748_t1_brain_2mm").glob("*_T1w.nii.gz"))[:20:4]
    heads = sorted((data / "ds000011_t1_t2").rglob("*_T1w.nii.gz"))
    thick = sorted((data / "ds000011_t1_t2").rglob("*inplaneT2.nii.gz"))
    singles = data / "single_healthy"
    return {
        "T1w": [*ixi, *stripped, *heads],
        "T2w": [*thick, singles / "rorden_T2w_1x1x2mm.nii.gz"],
        "FLAIR": [singles / "synthsr_FLAIR_1mm.nii.gz"],
    }


def found_ml(detection: Detection, threshold: float) -> float:
    """Volume of the findings at a threshold."""
    voxel = detection.scan.grid.voxel_volume_mm3
    labels = connected_components(detection.anomaly > threshold, voxel, _SMALLEST_MM3)
    return float(np.count_nonzero(labels) * voxel / 1000.0)


def healthy(data: Path) -> None:
    """The table of healthy scans and the threshold."""
    curves: dict[str, list[list[float]]] = {}
    for contrast, files in healthy_files(data).items():
        for file in files:
            detection = detect(read_scan(file, contrast), "anatomy")
            curve = [found_ml(detection, threshold) for threshold in _THRESHOLDS]
            curves.setdefault(contrast, []).append(curve)
            shown = ", ".join(f"{curve[index]:.2f}" for index in range(0, len(curve), 5))
            print(f"| {contrast} | {file.name} | {shown} |", flush=True)
    means = {contrast: np.mean(rows, axis=0) for contrast, rows in curves.items()}
    print("Means at", ", ".join(f"{t:.2f}" for t in _THRESHOLDS[::5]))
    for contrast, mean in means.items():
        print(contrast, ", ".join(f"{value:.2f}" for value in mean[::5]))
        print(f"Threshold: {_THRESHOLDS[int(np.argmax(mean <= _MOST_ML))]:.2f}")


def lesions(data: Path, detector: str | None) -> None:
    """The table of scans with known lesions."""
    sclerosis, glioma = data / "mslub_ms" / "patient19", data / "tumor_four_contrasts"
    truth, tumor = sclerosis / "patient19_lesion_MNI.nii.gz", glioma / "consensus_of_five_networks.nii.gz"
    cases: tuple[tuple[str, Path, Path, Contrast], ...] = (
        ("MSLUB patient19", sclerosis / "patient19_FLAIR_MNI_brain.nii.gz", truth, "FLAIR"),
        ("MSLUB patient19", sclerosis / "patient19_T2_MNI_brain.nii.gz", truth, "T2w"),
        ("MSLUB patient19", sclerosis / "patient19_T1_MNI_brain.nii.gz", truth, "T1w"),
        ("glioma", glioma / "FLAIR.nii.gz", tumor, "FLAIR"),
        ("glioma", glioma / "T2.nii.gz", tumor, "T2w"),
        ("glioma", glioma / "T1.nii.gz", tumor, "T1w"),
    )
    print("| Scan | Contrast | AP | Dice at the default threshold | mL found | contrast removed |")
    print("|---|---|---|---|---|---|")
    for name, file, labels, contrast in cases:
        detection = detect(read_scan(file, contrast), detector)
        mask = from_image(SimpleITK.ReadImage(str(labels)))[0] > 0
        inside = detection.brain_mask
        ap = average_precision_score(mask[inside], detection.anomaly[inside])
        found = detection.findings.labels > 0
        volume = detection.scan.grid.volume_ml(found)
        row = f"{ap:.3f} | {dice(found[inside], mask[inside]):.3f} | {volume:.1f} | {removed(detection, mask):.2f}"
        print(f"| {name} | {contrast} | {row} |", flush=True)


def removed(detection: Detection, lesion: np.ndarray) -> float:
    """How much of the lesion's contrast to the rest of the brain's median the pseudo-healthy scan takes away."""
    assert detection.pseudo_healthy is not None
    assert detection.residual is not None
    scan = detection.pseudo_healthy + detection.residual
    rest = float(np.median(scan[detection.brain_mask & ~lesion]))
    inside = lesion & detection.brain_mask
    before, after = (float(np.median(image[inside])) - rest for image in (scan, detection.pseudo_healthy))
    return 1.0 - after / before


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--part", action="append", choices=("healthy", "lesions"))
    parser.add_argument("--detector", default="anatomy", help="of the lesions' part; 'choice': what the program takes")
    chosen = parser.parse_args()
    detector = None if chosen.detector == "choice" else chosen.detector
    for part in chosen.part or ("healthy", "lesions"):
        if part == "healthy":
            healthy(chosen.data)
        else:
            lesions(chosen.data, detector)


if __name__ == "__main__":
    main()
