"""False positives on healthy scans, thresholds limited by them, and whether promises are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Array
from .scan import EvaluatedScan

RATES = (0.001, 0.005, 0.01, 0.05, 0.1)


def rate_thresholds(scans: Sequence[EvaluatedScan], rates: Sequence[float] = RATES) -> dict[float, float]:
    """t = Q_{1 - rate} of the healthy brain voxels, pooled: thresholds with that part of healthy voxels above."""
    values = np.concatenate([scan.brain_values for scan in scans])
    return {rate: float(np.quantile(values, 1.0 - rate)) for rate in rates}


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval (Clopper & Pearson 1934); counts may be effective ones and need not be whole."""
    from scipy import stats

    tail = (1.0 - confidence) / 2.0
    low = stats.beta.ppf(tail, successes, trials - successes + 1.0) if successes > 0 else 0.0
    high = stats.beta.ppf(1.0 - tail, successes + 1.0, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def uniformity(p_values: Array) -> float:
    """Kolmogorov-Smirnov distance of p-values of healthy scans to U(0, 1)."""
    from scipy import stats

    return float(stats.kstest(np.asarray(p_values, dtype=np.float64), "uniform").statistic)


@dataclass(frozen=True)
class ReconstructionHealth:
    """How healthy tissue outside lesions is reconstructed, and how much more lesions stand out in the map than it."""

    l1: float
    psnr: float
    ssim: float
    lesion_contrast: float


def reconstruction_health(scan: EvaluatedScan) -> ReconstructionHealth | None:
    """None where there is no reconstruction. PSNR and SSIM relative to the 99th percentile of the healthy tissue."""
    if scan.image is None or scan.pseudo_healthy is None:
        return None
    healthy = scan.evaluated & ~scan.truth
    difference = (scan.image - scan.pseudo_healthy).astype(np.float64)
    peak = float(np.percentile(scan.image[healthy], 99.0))
    mean_square = float(np.mean(difference[healthy] ** 2))
    lesion, rest = (scan.anomaly[m].mean() if m.any() else np.nan for m in (scan.truth & scan.evaluated, healthy))
    return ReconstructionHealth(
        l1=float(np.abs(difference[healthy]).mean()),
        psnr=float(10.0 * np.log10(peak**2 / max(mean_square, 1e-12))),
        ssim=float(_ssim(scan.image, scan.pseudo_healthy, peak)[healthy].mean()),
        lesion_contrast=float(lesion / max(float(rest), 1e-9)),
    )


def _ssim(first: Array, second: Array, peak: float, width: int = 7) -> NDArray[np.float64]:
    """Structural similarity at each voxel in a window of 7 voxels (Wang et al. 2004; K1 = .01, K2 = .03)."""
    from scipy import ndimage

    size = [min(width, length) for length in first.shape]
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y, xx, yy, xy = (ndimage.uniform_filter(part, size) for part in (x, y, x * x, y * y, x * y))
    low, high = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    covariance, spread = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    top = (2.0 * mean_x * mean_y + low) * (2.0 * covariance + high)
    return np.asarray(top / ((mean_x**2 + mean_y**2 + low) * (spread + high)))
