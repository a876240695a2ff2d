"""What several contrasts together are worth, against the best single one.

    python Testing/benchmarks/several_contrasts.py [--part painted|real] [--data ../shared/data] [--count 3]

- painted: heads painted in three contrasts from one label map, healthy and with lesions of multiple sclerosis: the
  correlation of the evidence in healthy heads, mL that the default threshold leaves there, and mean AP by the weights
  of FLAIR and of the joint intensities. ``pooling._CORRELATION`` comes from it.
- real: MSLUB patient19, on which no weight was chosen, and the glioma of ``tumor_four_contrasts``, with AP by weights:
  ``pooling.WEIGHTS`` were chosen on it and on painted heads. False positives are counted where each map is as sensitive
  as the best single one at its default threshold. Single contrasts are read off the examination, on the grid of the
  FLAIR.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.evaluation.voxels import average_precision, ranking
from BrainAnomalyLib.examination import pooling
from BrainAnomalyLib.examination.examination import detect_examination
from BrainAnomalyLib.examination.joint_intensity import joint_evidence
from BrainAnomalyLib.examination.pooling import DEFAULT_EVIDENCE, JOINT, map_evidence, pooled
from BrainAnomalyLib.io.volumes import read_mask, read_scan
from painted_examinations import CONTRASTS, PaintedHead, detected, label_maps, painted_heads

WEIGHTS_OF_FLAIR, WEIGHTS_OF_JOINT = (1.0, 2.0, 4.0, 8.0, 16.0), (0.0, 1.0, 3.0, 5.0)
REAL = {
    "MSLUB patient19": (
        "mslub_ms/patient19/patient19_lesion_MNI.nii.gz",
        {
            "FLAIR": "mslub_ms/patient19/patient19_FLAIR_MNI_brain.nii.gz",
            "T2w": "mslub_ms/patient19/patient19_T2_MNI_brain.nii.gz",
            "T1w": "mslub_ms/patient19/patient19_T1_MNI_brain.nii.gz",
        },
    ),
    "glioma": (
        "tumor_four_contrasts/consensus_of_five_networks.nii.gz",
        {
            name: f"tumor_four_contrasts/{file}.nii.gz"
            for name, file in zip(CONTRASTS, ("FLAIR", "T2", "T1"), strict=True)
        },
    ),
}
CHOSEN_ON = "glioma"
Parts = Mapping[str, np.ndarray]


def painted_parts(head: PaintedHead) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Evidence of each contrast and of all intensities inside the brain, and the lesions there."""
    found, mask = detected(head), head.aligned["FLAIR"].brain.mask
    parts = {name: map_evidence(one.anomaly, rates(one.detector))[mask] for name, one in found.items()}
    images, onto = [head.aligned[name].image for name in CONTRASTS], found["FLAIR"].template_from_native
    return parts | {JOINT: joint_evidence(images, mask, head.grid, onto)[mask]}, head.lesions[mask]


def rates(detector: Mapping[str, Any]) -> dict[float, float]:
    """Thresholds of a detector's map by the part of healthy voxels above them."""
    return {float(rate): value for rate, value in detector["thresholds_by_rate"].items()}


def report_painted(data: Path, count: int) -> None:
    """Print correlation, volumes in healthy heads, and AP by weights."""
    healthy, ill = [], []
    for well, sick in painted_heads(data, label_maps(data, count)):
        healthy.append(painted_parts(well)[0])
        ill.append(painted_parts(sick))
    names = [*CONTRASTS, JOINT]
    correlations = [np.corrcoef([parts[name] for name in names]) for parts in healthy]
    print(
        f"Correlation of {', '.join(names)} in {count} healthy painted heads:\n{np.mean(correlations, axis=0).round(2)}"
    )
    left = [np.count_nonzero(pooled(parts) > DEFAULT_EVIDENCE) / 1000.0 for parts in healthy]
    print(f"mL above {DEFAULT_EVIDENCE:g} in them: {np.round(left, 2)}")
    singles = {name: np.mean([ap(truth, parts[name]) for parts, truth in ill]) for name in names}
    print(f"Mean AP alone: { {name: round(float(value), 3) for name, value in singles.items()} }\n")
    report_weights(ill)


def report_weights(cases: Sequence[tuple[Parts, np.ndarray]]) -> None:
    """Print the mean AP of cases (evidence and lesions) by weights."""
    print(f"| FLAIR \\ joint | {' | '.join(f'{weight:g}' for weight in WEIGHTS_OF_JOINT)} |\n|{'---|' * 5}")
    for flair in WEIGHTS_OF_FLAIR:
        cells = [
            np.mean([ap(truth, _sum(parts, flair, joint)) for parts, truth in cases]) for joint in WEIGHTS_OF_JOINT
        ]
        print(f"| {flair:g} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)


def ap(truth: np.ndarray, values: np.ndarray) -> float:
    """Average precision."""
    return average_precision(ranking(truth, values))


def _sum(parts: Parts, flair: float, joint: float) -> np.ndarray:
    """The weighted sum that is pooled: the order of voxels is that of the pooled map."""
    weights = {**pooling.WEIGHTS, "FLAIR": flair, JOINT: joint}
    return np.asarray(sum(weights[name] * values for name, values in parts.items()))


def report_real(data: Path, names: Sequence[str]) -> None:
    """Print single contrasts and all together."""
    print(
        "| Scan | Map | AP | mL false at the same sensitivity | Dice at its default threshold |\n|---|---|---|---|---|"
    )
    for name in names:
        truth_file, files = REAL[name]
        scans = [read_scan(data / file, contrast) for contrast, file in files.items()]
        found, truth = detect_examination(scans), read_mask(data / truth_file, scans[0])
        inside, volume = found.brain_mask, found.scan.grid.voxel_volume_mm3 / 1000.0
        parts = {title: np.abs(part)[inside] for title, part in found.components.items()}
        maps, lesion = {**parts, "together": found.anomaly[inside]}, truth[inside]
        limits = default_evidence(found) | {"together": DEFAULT_EVIDENCE}
        best = max(files, key=lambda contrast: ap(lesion, maps[contrast]))
        sensitivity = np.mean(maps[best][lesion] > limits[best])
        for title in (*files, "together"):
            false = np.count_nonzero((maps[title] >= np.quantile(maps[title][lesion], 1.0 - sensitivity)) & ~lesion)
            dice = _dice(maps[title] > limits[title], lesion)
            print(
                f"| {name} | {title} | {ap(lesion, maps[title]):.4f} | {false * volume:.2f} | {dice:.3f} |", flush=True
            )
        print(f"{name}: {len(found.findings.table)} findings, {found.findings.total_ml:.1f} mL")
        if name == CHOSEN_ON:
            report_weights([(parts, lesion)])


def default_evidence(found: Detection) -> dict[str, float]:
    """Evidence of each contrast's own default threshold."""
    facts = {row["contrast"]: row["detector"] for row in found.detector["contrasts"]}
    return {name: float(map_evidence(np.float32(one["default_threshold"]), rates(one))) for name, one in facts.items()}


def _dice(marked: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * float(np.count_nonzero(marked & truth)) / float(np.count_nonzero(marked) + np.count_nonzero(truth))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=("painted", "real"), help="default: both")
    parser.add_argument("--scan", action="append", choices=tuple(REAL), help="of the real ones (default: all)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--count", type=int, default=3, help="painted heads")
    chosen = parser.parse_args()
    for part in chosen.part or ("painted", "real"):
        if part == "painted":
            report_painted(chosen.data, chosen.count)
        else:
            report_real(chosen.data, chosen.scan or tuple(REAL))


if __name__ == "__main__":
    main()
