"""What the combined detectors need of an any-contrast package: tables of evidence, thresholds, the T1w guard.

    python Testing/calibrate_combined.py PACKAGE [--data ../shared/data] [--cache CACHE]

T1w: the calibration part of the shared cohort (``cohort.split_subjects``), two scanners. Its default threshold
leaves a quarter of a millilitre, not a whole one: on a scanner never seen there is about four times as much. How high
a map is at a place in healthy brains comes from every fourth scan of the training part, how bright a voxel is from all
of them. FLAIR: one whole head
(single_healthy/synthsr_FLAIR_1mm). T2w: five heads (ds000011, 5 mm slices, and rorden_T2w). These two are no cohorts:
what healthy people differ in is hardly seen, and the model card says so. Rewrites the package's calibration and hashes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.detectors.shipped.any_contrast import AnyContrastDetector
from BrainAnomalyLib.detectors.shipped.combined import (
    COVERAGE,
    LEVEL_PREFIX,
    NORMATIVE_DEVIATION,
    NORMATIVE_MEAN,
    PREFIX,
    THRESHOLDS,
    CombinedDetector,
    CombinedT1wDetector,
    at_2_mm,
    table_name,
)
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.io.geometry import FloatArray
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.packages.read import read_package, write_hashes
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.evidence import LEVELS, evidence_table
from BrainAnomalyLib.scoring.normal_level import normal_level
from BrainAnomalyLib.scoring.normative_intensity import normative_intensity
from BrainAnomalyTrainingLib.calibrate.calibration import CohortCalibrator
from BrainAnomalyTrainingLib.cohort.cohort import shared_t1w_cohort, split_subjects
from cached_scans import cached_scans

# Millilitres of findings that a default threshold leaves per healthy scan; where scanners are known, a quarter of it.
_MOST_ML, _KNOWN_SCANNERS_ML = 1.0, 0.25
_TENSORS = "calibration.safetensors"
_EVERY = 4
Tables = dict[str, FloatArray]
Reconstructed = list[tuple[PreparedScan, Reconstruction]]


def healthy_files(data: Path) -> dict[Contrast, list[Path]]:
    """The healthy scans of contrasts without a cohort."""
    singles = data / "single_healthy"
    thick = sorted((data / "ds000011_t1_t2").rglob("*inplaneT2*.nii.gz"))
    return {"FLAIR": [singles / "synthsr_FLAIR_1mm.nii.gz"], "T2w": [*thick, singles / "rorden_T2w_1x1x2mm.nii.gz"]}


def few_scans(network: AnyContrastDetector, data: Path) -> tuple[Tables, dict[Contrast, float]]:
    """FLAIR and T2w: tables, thresholds of the combined map, and the network's own thresholds.

    Every threshold leaves at most 1 mL of findings per healthy scan.
    """
    tables: Tables = {}
    own: dict[Contrast, float] = {}
    for contrast, files in healthy_files(data).items():
        recipe = CombinedDetector(network, {}).recipe
        scans = [prepare(read_scan(file, contrast), recipe) for file in files]
        found = _reconstructed(CombinedDetector(network, {}), scans)
        made = _tables(found, contrast)
        detector = CombinedDetector(network, {**_of_flair(made, contrast), **made})
        maps = [detector.score(*pair).anomaly for pair in found]
        made[f"evidence_threshold_{contrast}"] = np.asarray([_threshold(maps, 1.0)], dtype=np.float32)
        small = [at_2_mm(scan) for scan in scans]
        own[contrast] = _threshold([network.score(one, network.reconstruct(one)).anomaly for one in small], 8.0)
        tables |= made
    return tables, own


def t1w_cohort(network: AnyContrastDetector, data: Path, cache: Path) -> Tables:
    """T1w: levels, tables, thresholds by healthy rate, guard and slice means."""
    split = split_subjects(shared_t1w_cohort(data))
    training, fewer, held_out = (
        (scan for _, scan in cached_scans(part, cache))
        for part in (split.training, split.training[::_EVERY], split.calibration)
    )
    tables = _normative(training)
    tables |= _normal_levels(CombinedT1wDetector(network, tables), fewer)
    scans = list(held_out)
    reconstructed = _reconstructed(CombinedT1wDetector(network, tables), scans)
    tables |= _tables(reconstructed, "T1w", CombinedT1wDetector(network, tables).levelled)
    detector = CombinedT1wDetector(network, tables)
    with tempfile.TemporaryDirectory() as scratch:
        calibrator = CohortCalibrator(Path(scratch))
        for scan, reconstruction in reconstructed:
            calibrator.add(scan, detector.score(scan, reconstruction).anomaly)
        outcome = calibrator.finish(("T1w",), most_ml=_KNOWN_SCANNERS_ML)
    stated = outcome.calibration
    rows = [(0.0, stated.entries()["default_threshold"]), *sorted(stated.quantiles.items())]
    tables[THRESHOLDS] = np.asarray(rows, dtype=np.float32)
    print(json.dumps(stated.entries(), indent=1))
    return {**tables, **{PREFIX + name: value for name, value in outcome.tensors().items()}}


def _normative(scans: Iterable[PreparedScan]) -> Tables:
    """How bright healthy brains are at a place."""
    found = normative_intensity((scan.image, scan.brain_mask) for scan in scans)
    return {NORMATIVE_MEAN: found.mean, NORMATIVE_DEVIATION: found.deviation}


def _normal_levels(detector: CombinedT1wDetector, scans: Iterable[PreparedScan]) -> Tables:
    """How high every component is at a place in healthy brains, and how many of these have brain there."""
    found = normal_level((detector.reconstruct(scan).parts, scan.brain_mask) for scan in scans)
    return {COVERAGE: found.coverage, **{LEVEL_PREFIX + name: level for name, level in found.levels.items()}}


def _reconstructed(detector: CombinedDetector, scans: Sequence[PreparedScan]) -> Reconstructed:
    """Every scan with its components' maps, NaN where the anatomical map does not speak."""
    found = []
    for scan in scans:
        made, inside = detector.reconstruct(scan), detector.evaluated(scan)
        print(f"{len(found) + 1} of {len(scans)}", file=sys.stderr, flush=True)
        parts = {name: np.where(inside, part, np.nan).astype(np.float32) for name, part in made.parts.items()}
        found.append((scan, replace(made, parts=parts)))
    return found


def _tables(
    found: Reconstructed,
    contrast: Contrast,
    levelled: Callable[[str, FloatArray], FloatArray] = lambda name, values: values,
) -> Tables:
    """Every component's healthy quantiles."""
    values: dict[str, list[FloatArray]] = {}
    for _, reconstruction in found:
        for name, part in reconstruction.parts.items():
            values.setdefault(name, []).append(levelled(name, part)[np.isfinite(part)])
    return {table_name(name, contrast): evidence_table(np.concatenate(every)) for name, every in values.items()}


def _of_flair(tables: Tables, contrast: Contrast) -> Tables:
    """The same tables under the names of FLAIR, which a detector wants whatever the contrast."""
    return {key.replace(f"_{contrast}", "_FLAIR"): value for key, value in tables.items()}


def _threshold(maps: list[FloatArray], voxel_mm3: float) -> float:
    """The least of 200 thresholds above which healthy scans have at most 1 mL of findings on average."""
    values = np.concatenate([one[one > 0] for one in maps])
    for threshold in np.quantile(values, 1.0 - np.geomspace(0.1, 1e-6, 200)):
        cut = [connected_components(one > threshold, voxel_mm3, 20.0) > 0 for one in maps]
        if np.mean([np.count_nonzero(one) for one in cut]) * voxel_mm3 / 1000.0 <= _MOST_ML:
            return float(threshold)
    return float(values.max())


def calibrate(folder: Path, data: Path, cache: Path) -> None:
    """Put everything into the package."""
    network = AnyContrastDetector.from_package(read_package(folder), "cpu")
    assert isinstance(network, AnyContrastDetector)
    few, own = few_scans(network, data)
    made = {**few, **t1w_cohort(network, data, cache)}
    kept = {
        name: value
        for name, value in load_file(folder / _TENSORS).items()
        if not name.startswith(("evidence_", PREFIX))
    }
    added = {name: torch.from_numpy(np.ascontiguousarray(value, dtype=_kind(value))) for name, value in made.items()}
    save_file({**kept, **added}, folder / _TENSORS)
    metadata = folder / "configs" / "metadata.json"
    content: dict[str, Any] = json.loads(metadata.read_text(encoding="utf-8"))
    content["config"] |= {"flair_threshold": own["FLAIR"], "t2w_threshold": own["T2w"]}
    metadata.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")
    write_hashes(folder)
    levels = {name: np.round(value, 3).tolist() for name, value in few.items()}
    print(json.dumps({"levels": LEVELS.tolist(), **levels, "own": own}, indent=1))


def _kind(values: FloatArray) -> type[np.floating[Any]]:
    """Half precision for volumes."""
    return np.float16 if values.ndim == 3 else np.float32


def main() -> None:
    """Calibrate the package of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="prepared scans are kept here (default: prepared anew)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        calibrate(chosen.package, chosen.data, chosen.cache or Path(scratch))


if __name__ == "__main__":
    main()
