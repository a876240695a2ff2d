"""Rows about healthy scans, promised and realised rates, calibration, and the reconstruction of healthy tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..findings.components import connected_components
from .bootstrap import Estimate, PooledCounts, estimate_mean, estimate_ratio
from .healthy import clopper_pearson, reconstruction_health, uniformity
from .protocols import EvaluationProtocol
from .rows import Row, common_threshold, plain
from .scan import EvaluatedScan
from .voxels import found_mask

Vector = NDArray[np.float64]
LIMIT_ML = 1.0
_LEVEL = 0.05
_DEFAULT = "package default"
_CALIBRATION_BINS = 20


def healthy_rows(scans: Sequence[EvaluatedScan], protocol: EvaluationProtocol, bootstrap: int) -> list[Row]:
    """What healthy scans get at the detector's own threshold, and whether its promises are kept."""
    known = [scan for scan in scans if not np.isnan(scan.threshold)]
    rows = _findings(known, protocol, bootstrap) if known else []
    return rows + _promises(scans, bootstrap) + _p_values(scans)


def _findings(scans: Sequence[EvaluatedScan], protocol: EvaluationProtocol, bootstrap: int) -> list[Row]:
    masks = [found_mask(scan, scan.threshold, protocol.minimum_mm3(scan)) for scan in scans]
    volumes = [scan.ml(mask) for scan, mask in zip(scans, masks, strict=True)]
    numbers = [int(connected_components(m, s.voxel_mm3, 0.0).max(initial=0)) for s, m in zip(scans, masks, strict=True)]
    above = [float(np.mean(scan.brain_values > scan.threshold)) for scan in scans]
    ones, subjects = [1.0] * len(scans), [scan.subject for scan in scans]
    estimates = {
        "healthy scans: mL of findings": estimate_ratio(volumes, ones, subjects, bootstrap),
        "healthy scans: findings": estimate_ratio(numbers, ones, subjects, bootstrap),
        f"healthy scans with more than {LIMIT_ML:g} mL (Clopper-Pearson)": _share(
            sum(volume > LIMIT_ML for volume in volumes), scans
        ),
        "healthy scans: part of the brain above": estimate_ratio(above, ones, subjects, bootstrap),
    }
    at = common_threshold([scan.threshold for scan in scans])
    return [Row(name, estimate, at, _DEFAULT, len(scans)) for name, estimate in estimates.items()]


def _share(count: int, scans: Sequence[EvaluatedScan]) -> Estimate:
    low, high = clopper_pearson(count, len(scans))
    return Estimate(count / len(scans), low, high, len({scan.subject for scan in scans}))


def _promises(scans: Sequence[EvaluatedScan], bootstrap: int) -> list[Row]:
    """The realised rate at every threshold that promises one, over the scans whose detector promises it."""
    rows = []
    for rate in sorted({rate for scan in scans for rate in scan.promised}):
        known = [scan for scan in scans if rate in scan.promised]
        above = [float(np.mean(scan.brain_values > scan.promised[rate])) for scan in known]
        subjects = [scan.subject for scan in known]
        estimate = estimate_ratio(above, [1.0] * len(known), subjects, bootstrap)
        at = common_threshold([scan.promised[rate] for scan in known])
        rows.append(Row(f"healthy voxels above, promised {rate:.1%}", estimate, at, "package, by rate", len(known)))
    return rows


def _p_values(scans: Sequence[EvaluatedScan]) -> list[Row]:
    known = [scan for scan in scans if not np.isnan(scan.p_value)]
    if not known:
        return []
    values = np.asarray([scan.p_value for scan in known])
    share = _share(int(np.count_nonzero(values <= _LEVEL)), known)
    return [
        Row("p-values of healthy scans: distance to uniform (KS)", plain(uniformity(values), known), scans=len(known)),
        Row(f"healthy scans with p <= {_LEVEL:g} (Clopper-Pearson)", share, scans=len(known)),
    ]


def reconstruction_rows(scans: Sequence[EvaluatedScan], bootstrap: int) -> list[Row]:
    """How healthy tissue is reconstructed; nothing for detectors that score directly."""
    seen = [health for scan in scans if (health := reconstruction_health(scan)) is not None]
    names = {
        "l1": "healthy tissue: L1",
        "psnr": "healthy tissue: PSNR (dB)",
        "ssim": "healthy tissue: SSIM",
        "lesion_contrast": "map in lesions over map in healthy brain",
    }
    means = {text: estimate_mean([getattr(one, name) for one in seen], bootstrap) for name, text in names.items()}
    return [Row(text, estimate, scans=len(seen)) for text, estimate in means.items()] if seen else []


def calibration_rows(scans: Sequence[EvaluatedScan]) -> list[Row]:
    """ECE, MCE and Brier score of lesion probabilities: isotonic in the score, each half of the subjects by the other.

    Scores are binned (``PooledCounts``). Nothing for fewer than two subjects with lesions.
    """
    counts = PooledCounts(scans)
    if np.count_nonzero(counts.lesion.sum(axis=1)) < 2:
        return []
    order = np.argsort(-counts.lesion.sum(axis=1), kind="stable")
    folds = np.zeros(len(order), dtype=np.int64)
    folds[order[1::2]] = 1
    cells = np.concatenate([_cross_fitted(counts, folds == side) for side in (0, 1)])
    values = dict(zip(("ECE", "MCE", "Brier score"), _errors(cells), strict=True))
    return [Row(f"lesion probability: {name}", plain(value, scans), scans=len(scans)) for name, value in values.items()]


def _cross_fitted(counts: PooledCounts, judged: NDArray[np.bool_]) -> Vector:
    """(bins, 3): probability from the other subjects, lesion voxels and healthy voxels of the judged ones."""
    lesion, healthy = counts.lesion[~judged].sum(axis=0), counts.healthy[~judged].sum(axis=0)
    probability = falling_fit(lesion / np.maximum(lesion + healthy, 1.0), lesion + healthy)
    return np.stack([probability, counts.lesion[judged].sum(axis=0), counts.healthy[judged].sum(axis=0)], axis=1)


def falling_fit(values: Vector, weights: Vector) -> Vector:
    """The closest values (weighted squares) that never rise, by pooling adjacent violators (Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, np.maximum(weights, 1e-12), strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (one, first, few), (other, second, more) = blocks[-2], blocks[-1]
            mean = (one * first + other * second) / (first + second)
            blocks[-2:] = [(mean, first + second, few + more)]
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def _errors(cells: Vector) -> tuple[float, float, float]:
    """ECE, MCE and Brier score of (probability, lesion voxels, healthy voxels)."""
    probability, lesion, healthy = cells.T
    total = float((lesion + healthy).sum())
    place = np.minimum((probability * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    sums = [np.bincount(place, part) for part in (lesion + healthy, lesion, probability * (lesion + healthy))]
    gaps = np.abs(sums[1] - sums[2])
    brier = float((lesion * (1.0 - probability) ** 2 + healthy * probability**2).sum() / total)
    used = sums[0] > 0
    return float(gaps.sum() / total), float((gaps[used] / sums[0][used]).max(initial=0.0)), brier
