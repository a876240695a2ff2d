"""One number, or a few, for a whole scan: how anomalous its map is, and what it looks like as a whole.

Scores of the map answer 'is something in this brain unlike healthy brains'; features answer 'is this scan unlike the
scans the detector knows', which is another question (Heer et al. 2021, 'The OOD blind spot of unsupervised anomaly
detection', MIDL): no map is to be trusted where the answer is yes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Array, FloatArray, MaskArray
from ..preparation.prepared import PreparedScan

Vector = NDArray[np.float64]

QUANTILES = 32
TOP_SHARE = 0.001
SCORE_NAMES = ("mean_anomaly", "max_anomaly", "top_anomaly")
QUANTILE_NAMES = tuple(f"intensity_quantile_{index:02d}" for index in range(QUANTILES))
FEATURE_NAMES = (
    *QUANTILE_NAMES,
    *("log_gray_to_white", "log_fluid_to_white", "tissue_agreement", "mask_overlap", "log_brain_ml"),
    "log_median_anomaly",
)
_SMALLEST = 1e-3


def scan_scores(anomaly: FloatArray, brain_mask: MaskArray) -> dict[str, float]:
    """Scores of a cleaned anomaly map (i, j, k) over its brain, in the map's unit, higher for less healthy.

    ``mean_anomaly``, ``max_anomaly``, and ``top_anomaly``, the mean of the highest 0.1 %; all 0 without a brain.
    """
    values = anomaly[brain_mask].astype(np.float64)
    if values.size == 0:
        return dict.fromkeys(SCORE_NAMES, 0.0)
    count = max(1, round(values.size * TOP_SHARE))
    top = np.partition(values, values.size - count)[values.size - count :]
    return {"mean_anomaly": float(values.mean()), "max_anomaly": float(values.max()), "top_anomaly": float(top.mean())}


def scan_features(prepared: PreparedScan, anomaly: FloatArray) -> Vector:
    """What a prepared scan looks like as a whole, in the order of FEATURE_NAMES.

    Quantiles of the brain's prepared intensities at the middles of 32 equal shares; logarithms of the ratios of gray
    matter and fluid to white matter (medians weighted by the template's priors); agreement of the tissues and of the
    outline with the template (``preparation.quality``); logarithm of the brain's size in template space (mL), which
    alignment makes nearly equal, and of the median of the cleaned anomaly map, which lesions of less than half of the
    brain leave as it is.
    """
    image, mask = prepared.image, prepared.brain_mask
    gray, fluid = tissue_ratios(prepared)
    brain_ml = prepared.template.grid.volume_ml(mask)
    median = float(np.median(anomaly[mask])) if mask.any() else 0.0
    measured = (np.log(gray), np.log(fluid), prepared.quality.tissue_agreement, prepared.quality.mask_overlap)
    logarithms = np.log([max(brain_ml, _SMALLEST), max(median, _SMALLEST)])
    return np.concatenate([intensity_quantiles(image, mask), measured, logarithms])


def intensity_quantiles(image: FloatArray, brain_mask: MaskArray) -> Vector:
    """Quantiles of the brain's intensities at (q + 1/2) / 32, rising; zeros without a brain."""
    values = image[brain_mask]
    shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return np.asarray(np.quantile(values, shares) if values.size else np.zeros(QUANTILES), dtype=np.float64)


def tissue_ratios(prepared: PreparedScan) -> tuple[float, float]:
    """Median intensity of gray matter and of fluid over that of white matter, weighted by the template's priors."""
    template, image, mask = prepared.template, prepared.image, prepared.brain_mask
    priors = (template.gray_matter, template.cerebrospinal_fluid, template.white_matter)
    gray, fluid, white = (max(_tissue_median(image, mask, prior), _SMALLEST) for prior in priors)
    return gray / white, fluid / white


def weighted_median(values: Array, weights: Array) -> float:
    """The smallest value at which at least half of the weight is reached."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order], dtype=np.float64)
    return float(values[order][np.searchsorted(reached, reached[-1] / 2.0)])


def _tissue_median(image: FloatArray, brain_mask: MaskArray, prior: FloatArray) -> float:
    likely = brain_mask & (prior > 0.5)
    return weighted_median(image[likely], prior[likely]) if likely.any() else 0.0


class Shrunk(NamedTuple):
    """Mean (d,) and well-conditioned covariance (d, d) of observations, and the weight of the shrinkage target."""

    mean: Vector
    covariance: Vector
    shrinkage: float


def shrunk_covariance(observations: Array) -> Shrunk:
    """Mean and covariance of (n, d) observations, shrunk towards a multiple of the identity.

    The weight minimizes the expected squared error (Ledoit & Wolf 2004, 'A well-conditioned estimator for
    large-dimensional covariance matrices', J. Multivariate Analysis 88, section 3.3, with 1/n covariances).
    """
    rows = np.asarray(observations, dtype=np.float64)
    count, dimensions = rows.shape
    centered = rows - rows.mean(axis=0)
    sample = centered.T @ centered / count
    target = np.trace(sample) / dimensions * np.eye(dimensions)
    distance = np.sum((sample - target) ** 2)
    noise = (np.sum(np.sum(centered**2, axis=1) ** 2) / count - np.sum(sample**2)) / count
    weight = float(np.clip(noise / distance, 0.0, 1.0)) if distance > 0 else 1.0
    return Shrunk(rows.mean(axis=0), (1.0 - weight) * sample + weight * target, weight)


def mahalanobis(point: Array, estimate: Shrunk) -> float:
    """Mahalanobis distance of a point (d,) to the mean; 0 where the covariance is 0 and the point is the mean."""
    difference = np.asarray(point, dtype=np.float64) - estimate.mean
    solved = np.linalg.lstsq(estimate.covariance, difference, rcond=None)[0]
    return float(np.sqrt(max(float(difference @ solved), 0.0)))


def leave_one_out_distances(observations: Array) -> Vector:
    """Mahalanobis distance of each of (n, d) observations to all the others, shape (n,); n must be at least 3."""
    rows = np.asarray(observations, dtype=np.float64)
    return np.asarray(
        [mahalanobis(row, shrunk_covariance(np.delete(rows, index, axis=0))) for index, row in enumerate(rows)]
    )


def quantile_distance(first: Array, second: Array) -> float:
    """Wasserstein-1 distance of two histograms given by their quantiles, in the intensities' unit."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(first, second))
