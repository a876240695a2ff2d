"""Tables of evidence for FLAIR and T2w, from the few healthy scans of these contrasts that there are.

FLAIR: one whole head (single_healthy/synthsr_FLAIR_1mm). T2w: five heads (ds000011, 5 mm slices, and rorden_T2w). That
is no cohort: what healthy people differ in is hardly seen, and the model card says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from BrainAnomalyLib.detectors.any_contrast import AnyContrastDetector
from BrainAnomalyLib.detectors.combined import COMPONENTS, CombinedDetector, at_2_mm, table_name
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.geometry import FloatArray, MaskArray
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.evidence import LEVELS, evidence_table
from BrainAnomalyLib.volumes import Contrast, read_scan

_MOST_ML = 1.0


def healthy_files(data: Path) -> dict[Contrast, list[Path]]:
    """The healthy scans of contrasts without a cohort."""
    singles = data / "single_healthy"
    thick = sorted((data / "ds000011_t1_t2").rglob("*inplaneT2*.nii.gz"))
    return {"FLAIR": [singles / "synthsr_FLAIR_1mm.nii.gz"], "T2w": [*thick, singles / "rorden_T2w_1x1x2mm.nii.gz"]}


def evidence_tensors(network: AnyContrastDetector, data: Path) -> tuple[dict[str, torch.Tensor], dict[Contrast, float]]:
    """Tables and thresholds for a package's calibration, and the network's own thresholds by contrast.

    Every threshold leaves at most 1 mL of findings per healthy scan.
    """
    ramp = {table_name(part, "FLAIR"): LEVELS.astype(np.float32) for part in COMPONENTS}
    tensors: dict[str, FloatArray] = {}
    own: dict[Contrast, float] = {}
    for contrast, files in healthy_files(data).items():
        scans = [prepare(read_scan(file, contrast), CombinedDetector(network, ramp).recipe) for file in files]
        found = [_components(CombinedDetector(network, ramp), scan) for scan in scans]
        for name in COMPONENTS:
            tensors[table_name(name, contrast)] = evidence_table(
                np.concatenate([maps[name][mask] for maps, mask in found])
            )
        table = {**tensors, **{k: v for k, v in ramp.items() if k not in tensors}}
        detector = CombinedDetector(network, table)
        maps = [detector.score(scan, detector.reconstruct(scan)).anomaly for scan in scans]
        tensors[f"evidence_threshold_{contrast}"] = np.asarray([_threshold(maps, 1.0)], dtype=np.float32)
        small = [at_2_mm(scan) for scan in scans]
        own[contrast] = _threshold([network.score(one, network.reconstruct(one)).anomaly for one in small], 8.0)
        print(contrast, {name: value.round(3).tolist() for name, value in tensors.items()}, own, flush=True)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}, own


def _components(detector: CombinedDetector, scan: PreparedScan) -> tuple[dict[str, FloatArray], MaskArray]:
    """The two maps before they become evidence."""
    raw = detector.reconstruct(scan).raw
    tissue = detector.tissue.score(scan, None)
    assert raw is not None
    return {"network": raw, "tissue": tissue.anomaly}, tissue.evaluated


def _threshold(maps: list[FloatArray], voxel_mm3: float) -> float:
    """The least of 200 thresholds above which healthy scans have at most 1 mL of findings on average."""
    values = np.concatenate([one[one > 0] for one in maps])
    for threshold in np.quantile(values, 1.0 - np.geomspace(0.1, 1e-6, 200)):
        cut = [connected_components(one > threshold, voxel_mm3, 20.0) > 0 for one in maps]
        if np.mean([np.count_nonzero(one) for one in cut]) * voxel_mm3 / 1000.0 <= _MOST_ML:
            return float(threshold)
    return float(values.max())
