"""Slice-wise metrics of Luo et al. (Appendix E1 and Table 2), with both conventions of the positive class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings.slice_profile import normality_scores
from .scan import EvaluatedScan
from .voxels import COMPONENT_MM3, auroc, average_precision, found_mask, ranking, trapezoid_auprc


@dataclass(frozen=True)
class SliceMetrics:
    """``auprc_normal`` takes the normal slice as positive, by trapezoids, as Luo's code does; ``ap_abnormal`` is the
    average precision of abnormal slices; ``prevalence`` is their part, the AP of chance."""

    slices: int
    prevalence: float
    auroc: float
    auprc_normal: float
    ap_abnormal: float


def slice_metrics(scans: Sequence[EvaluatedScan]) -> SliceMetrics:
    """Axial slices (k) with brain, pooled over scans, by 1 - s(u)."""
    pairs = [slice_scores(scan) for scan in scans]
    abnormal, normality = (np.concatenate(part) for part in zip(*pairs, strict=True))
    ranked = ranking(abnormal, 1.0 - normality)
    return SliceMetrics(
        slices=len(abnormal),
        prevalence=float(abnormal.mean()),
        auroc=auroc(ranked),
        auprc_normal=trapezoid_auprc(ranking(~abnormal, normality)),
        ap_abnormal=average_precision(ranked),
    )


def slice_counts(
    scan: EvaluatedScan, threshold: float, minimum_mm3: float = COMPONENT_MM3
) -> tuple[int, int, int, int]:
    """Slices hit, slices with a lesion, slices without a lesion and without a finding, slices without a lesion."""
    found, truth = found_mask(scan, threshold, minimum_mm3), scan.truth & scan.evaluated
    ill, seen, marked = (part.any(axis=(0, 1)) for part in (truth, scan.evaluated, found))
    hit = (found & truth).any(axis=(0, 1))
    return int(hit.sum()), int(ill.sum()), int((seen & ~ill & ~marked).sum()), int((seen & ~ill).sum())


def slice_scores(scan: EvaluatedScan) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(whether there is a lesion, Luo's s(u)) of every axial slice with brain; e(u) is the sum of the map over it."""
    seen = np.asarray(scan.evaluated.any(axis=(0, 1)))
    if not seen.any():
        return np.zeros(0, dtype=bool), np.zeros(0)
    errors = np.where(scan.evaluated, scan.anomaly, 0.0).sum(axis=(0, 1), dtype=np.float64)[seen]
    ill = np.asarray((scan.truth & scan.evaluated).any(axis=(0, 1)))
    return ill[seen], normality_scores(errors)


def as_ranked_scan(scan: EvaluatedScan, normal: bool = False) -> EvaluatedScan:
    """The slices of a scan as the voxels of a small one: abnormal by 1 - s(u), or normal by s(u), for resampling."""
    abnormal, normality = slice_scores(scan)
    scores = (normality if normal else 1.0 - normality).astype(np.float32)[:, None, None]
    truth = (~abnormal if normal else abnormal)[:, None, None]
    return EvaluatedScan(scan.subject, scores, truth, np.ones_like(truth), 1.0)
