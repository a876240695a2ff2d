"""Every family of detectors on one protocol: size, memory, speed, proof and first scores. Writes docs/families.md.

    python Testing/benchmarks/families.py [--data ../shared/data] [--only NAME ...] [--jobs 2]

About half an hour on one core for all families. What the tests prove in seconds on brains made of the template, this
proves on real scans at 2 mm with the small presets as they are.

Each family runs in a process of its own with one thread. Trained families: the small preset learns from 8 healthy T1w
scans (ds002748), is calibrated with 4 others, and is scored on inserted lesions in 3 further ones and on the T1w scan
of MSLUB patient19. Families of slices then learn again from lesion-free FLAIR slices (SOOP) and are scored on test
subjects' slices. Training-free families are scored on the FLAIR scan of MSLUB patient19. These are scores of a minute's
training: they show that a family works, not how good it can be.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("BrainAnomaly", "BrainAnomalyTraining", "Testing")]

import numpy as np
import torch
from scipy import ndimage

from BrainAnomalyLib.detection import detect
from BrainAnomalyLib.detectors.baselines.histogram import equalize
from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.registry import detector_class_named, detector_names, load_detector, trainable_names
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.residuals import cleaned
from BrainAnomalyTrainingLib.calibrate.calibration_statistics import HealthyResidual, ResidualSums
from BrainAnomalyTrainingLib.export.package_export import preset_summary
from BrainAnomalyTrainingLib.recipes.stroke_slices import Slices, training_slices
from family_proof import HELD_OUT_SCANS, TRAINING_SCANS, prepared_healthy, prove, train_small
from inserted_lesions import insert_lesion, lesion_shapes
from soop_slices import load
from voxel_scores import average_precision, best_dice

CALIBRATION_SCANS, LESION_SCANS = 4, 3
CONTRASTS = (-0.25, 0.25)
_SHAPE_BYTES = 9000


def row(name: str, data: Path, kept: Path | None) -> dict[str, Any]:
    """All measurements of one family, as JSON values."""
    torch.set_num_threads(1)
    family = detector_class_named(name)
    found: dict[str, Any] = {"name": name, "title": family.title}
    if name not in trainable_names():
        found |= training_free(name, data)
    else:
        found |= trained(family, data, kept)
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return found


def training_free(name: str, data: Path) -> dict[str, Any]:
    """Time and scores on the FLAIR scan of MSLUB patient19, and on slices where the method is one of intensities."""
    folder = data / "mslub_ms" / "patient19"
    lesion = read_scan(folder / "patient19_lesion_MNI.nii.gz").array > 0
    started = time.process_time()
    found = detect(read_scan(folder / "patient19_FLAIR_MNI_brain.nii.gz", "FLAIR"), load_detector(name))
    seconds = time.process_time() - started
    truth, score = lesion[found.brain_mask], found.anomaly[found.brain_mask]
    scores = {"mslub_flair_ap": average_precision(truth, score), "mslub_flair_dice": best_dice(truth, score)}
    return {"seconds_per_scan": seconds, **scores, **(soop_histogram(load(data)[1]) if name == "histogram" else {})}


def soop_histogram(test: Slices) -> dict[str, float]:
    """Histogram equalization of each test slice by itself."""
    planes = [equalize(test.image[..., index], test.brain_mask[..., index]) for index in range(test.image.shape[-1])]
    return soop_scores(np.stack(planes, axis=-1), test)


def trained(family: type[LearnedDetector], data: Path, kept: Path | None) -> dict[str, Any]:
    """Proof, speed and scores of a family's small preset."""
    preset = family.presets["small"]
    proof = prove(family, kept)
    recipe = family.recipe_for(preset.config)
    scans = prepared_healthy(TRAINING_SCANS + HELD_OUT_SCANS + CALIBRATION_SCANS + LESION_SCANS, recipe, kept)
    held_out = scans[TRAINING_SCANS + HELD_OUT_SCANS :]
    rms = healthy_rms(proof.detector, held_out[:CALIBRATION_SCANS])
    steps = preset.steps if family.phases(preset.config) else 0
    return {
        "dimensions": family.dimensions,
        "source": family.source,
        "presets": {key: preset_summary(family, value) for key, value in family.presets.items()},
        "training_seconds": proof.training_seconds,
        "seconds_per_step": proof.training_seconds / steps if steps else None,
        "seconds_per_scan": proof.seconds_per_scan,
        "untrained_error": proof.untrained_error,
        "trained_error": proof.trained_error,
        "others_error": proof.others_error,
        "mean_image_error": proof.mean_image_error,
        "lesion_ratios": list(proof.lesion_ratios),
        "lesion_kept": list(proof.lesion_kept),
        "proven": bool(
            proof.trained_error < 0.5 * proof.untrained_error and min(proof.lesion_ratios) > 1.3 and proof.repeats
        ),
        **lesion_scores(proof.detector, held_out[CALIBRATION_SCANS:], rms, data),
        **mslub_t1w(proof.detector, rms, data),
        **(soop(family, data) if family.dimensions == 2 else {}),
    }


def healthy_rms(detector: LearnedDetector, scans: tuple[PreparedScan, ...]) -> np.ndarray:
    """What healthy scans leave at every voxel."""
    sums = ResidualSums()
    for scan in scans:
        raw = detector.raw_map(scan.image, scan.brain_mask, detector.reconstruct(scan))
        sums.add(HealthyResidual(raw, scan.brain_mask))
    return sums.rms()


def anomaly_map(detector: LearnedDetector, scan: PreparedScan, rms: np.ndarray) -> np.ndarray:
    """The calibrated and cleaned map of a prepared scan."""
    raw = detector.raw_map(scan.image, scan.brain_mask, detector.reconstruct(scan))
    return cleaned(raw / np.maximum(rms, detector.config.floor), scan.brain_mask)


def lesion_scores(
    detector: LearnedDetector, scans: tuple[PreparedScan, ...], rms: np.ndarray, data: Path
) -> dict[str, float]:
    """Mean AP over a real lesion shape, darker and brighter by a quarter, in each of the scans."""
    shapes = [path for path in lesion_shapes(data / "lesion_shapes_mni_1mm") if path.stat().st_size > _SHAPE_BYTES]
    scores: dict[float, list[float]] = {contrast: [] for contrast in CONTRASTS}
    for index, scan in enumerate(scans):
        for contrast in CONTRASTS:
            case = insert_lesion(scan, shapes[index], contrast)
            anomaly = anomaly_map(detector, case.prepared, rms)
            scores[contrast].append(average_precision(case.lesion[scan.brain_mask], anomaly[scan.brain_mask]))
    return {"dark_ap": float(np.mean(scores[-0.25])), "bright_ap": float(np.mean(scores[0.25]))}


def mslub_t1w(detector: LearnedDetector, rms: np.ndarray, data: Path) -> dict[str, float]:
    """AP and best Dice on the T1w scan of MSLUB patient19, whose lesions are dark in it."""
    folder = data / "mslub_ms" / "patient19"
    prepared = prepare(read_scan(folder / "patient19_T1_MNI_brain.nii.gz", "T1w"), detector.recipe)
    lesion = read_scan(folder / "patient19_lesion_MNI.nii.gz").array > 0
    inside = prepared.native_brain_mask
    truth, score = lesion[inside], prepared.to_native(anomaly_map(detector, prepared, rms))[inside]
    return {"mslub_t1w_ap": average_precision(truth, score), "mslub_t1w_dice": best_dice(truth, score)}


def soop(family: type[LearnedDetector], data: Path) -> dict[str, float]:
    """The small preset trained on lesion-free FLAIR slices, scored on the test subjects' slices."""
    calibration, test = load(data)
    training = training_slices(data / "soop_flair_2d")
    detector = train_small(family, [training.scan()])
    rms = np.sqrt(np.mean(_raw(detector, calibration) ** 2, axis=-1))
    smooth = ndimage.gaussian_filter(rms, 2.0)[..., None]
    anomaly = _raw(detector, test) / np.maximum(smooth, detector.config.floor)
    return soop_scores(ndimage.median_filter(anomaly, size=(5, 5, 1)), test)


def _raw(detector: LearnedDetector, slices: Slices) -> np.ndarray:
    return detector.raw_map(slices.image, slices.brain_mask, detector.restore_volume(slices.image, slices.brain_mask))


def soop_scores(anomaly: np.ndarray, test: Slices) -> dict[str, float]:
    """AP and best Dice over all brain pixels of the test slices together."""
    truth, score = test.lesion[test.brain_mask], anomaly[test.brain_mask]
    return {"soop_ap": average_precision(truth, score), "soop_dice": best_dice(truth, score)}


def table(rows: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    head = (
        "| family | values, paper | values, small | memory MB | s/step | s/scan | error before | after | lesion ratio "
        "dark / bright | proof | inserted AP dark / bright | MSLUB T1w AP | MSLUB FLAIR AP / Dice | SOOP AP / Dice |"
    )
    lines = [head, "|---" * 14 + "|", *map(_line, rows)]
    return f"{INTRODUCTION}\n" + "\n".join(lines) + f"\n\n{EXPLANATION}\n"


def _line(entry: dict[str, Any]) -> str:
    presets = entry.get("presets", {})
    cells = [
        f"`{entry['name']}`",
        *(f"{presets[key]['parameters']:,}" if presets else "none" for key in ("paper", "small")),
        f"{entry['memory_mb']:.0f}",
        _cell(entry, "seconds_per_step"),
        _cell(entry, "seconds_per_scan", digits=1),
        _cell(entry, "untrained_error"),
        _cell(entry, "trained_error"),
        " / ".join(f"{ratio:.1f}" for ratio in entry.get("lesion_ratios", [])) or "-",
        {True: "holds", False: "does not hold", None: "no training"}[entry.get("proven")],
        _cell(entry, "dark_ap", "bright_ap"),
        _cell(entry, "mslub_t1w_ap"),
        _cell(entry, "mslub_flair_ap", "mslub_flair_dice"),
        _cell(entry, "soop_ap", "soop_dice"),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(entry: dict[str, Any], *names: str, digits: int = 3) -> str:
    values = [entry.get(name) for name in names]
    return "-" if None in values else " / ".join(f"{value:.{digits}f}" for value in values)


INTRODUCTION = """# Families of detectors

Made by `python Testing/benchmarks/families.py`; the numbers stand in `families.json`.
For research, not for diagnosis.
"""
EXPLANATION = """- Seconds are processor time of one CPU thread. Memory: peak of the process with training. s/step and
  s/scan: small preset, training and reconstruction of one 2 mm volume; without training: from file to findings.
- Error: mean absolute difference to held-out healthy T1w scans in the brain (white matter is 1), before and after the
  small preset's training (about a minute on 8 scans). Lesion ratio: raw score inside an inserted ball of +-40 % over
  the same voxels without it. The proof holds if the error falls to less than half, the score rises by more than 1.3 in
  both balls and two runs agree to the bit. A ratio below 1 means that such a lesion is not seen after so short a
  training. The mean of the 8 scans as everyone's reconstruction has the error 0.114: where the error is larger, a
  minute was too short. `families.json` has further what part of a lesion the reconstruction follows
  (`lesion_kept`: 1 for a copy of the scan) and the error to other people's scans (`others_error`).
- `foreign_patch`: the small preset restores. As a segmenter, the published target, it is not proven: in 350 steps it
  learned how frequent anomalies are, not where.
- Inserted AP: 3 real stroke shapes at -25 / +25 % contrast in healthy scans that were not learned from.
- MSLUB patient19: voxels of the brain at 1 mm. SOOP: families of slices trained anew on lesion-free FLAIR slices;
  pixels of the brain at 2 mm, all test subjects' slices pooled. Dice is the best over thresholds, an oracle.
- These scores come from one minute of training on 8 scans. They show that a family works, not how good it can be."""


def measured(name: str, data: Path, kept: str) -> dict[str, Any]:
    """``row`` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--row", name, "--data", str(data), "--kept", kept]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(_line(found), flush=True)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare all families of detectors.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "families.md")
    parser.add_argument("--only", nargs="+", choices=detector_names(), help="measure these again, keep the others")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--row", choices=detector_names(), help=argparse.SUPPRESS)
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row:
        print(json.dumps(row(chosen.row, chosen.data, chosen.kept)))
        return
    kept = chosen.out.with_suffix(".json")
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() and chosen.only else {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        for found in pool.map(lambda name: measured(name, chosen.data, folder), chosen.only or detector_names()):
            rows[found["name"]] = found
            ordered = {name: rows[name] for name in detector_names() if name in rows}
            kept.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
            chosen.out.write_text(table(list(ordered.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
