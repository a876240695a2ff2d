"""Gaussian tissue mixture of the scan itself: what no expected tissue explains is abnormal.

Gray matter, white matter and fluid each have a normal distribution of intensities, fitted to the scan by expectation
maximization with the template's tissue probabilities as spatial priors. Voxels far from every tissue hardly count in
the fit, which keeps lesions from widening it (typicality weights, Van Leemput et al. 2001, 'Automated segmentation of
multiple sclerosis lesions by model outlier detection', IEEE Transactions on Medical Imaging). Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...io.geometry import FloatArray
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...preparation.space.template import Template
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration
from .tissue import weighted_quantile

Values = NDArray[np.float64]

_MAD_TO_SIGMA = 1.4826
_SMALLEST_SPREAD = 0.02
_SETTLED = 1e-4
# Quantiles of the cleaned map over the brain, mean of three healthy T1w scans of OpenNeuro ds002748.
_T1W_QUANTILES = {0.001: 2.18, 0.005: 2.02, 0.01: 1.95, 0.05: 1.71, 0.1: 1.58}
_UNMEASURED = ThresholdAdvice(3.0, "3 standard deviations, not calibrated on a cohort", {})
_THRESHOLDS: dict[Contrast, ThresholdAdvice] = {
    "T1w": ThresholdAdvice(2.02, "exceeded by 0.5 % of the brain in three healthy T1w scans", _T1W_QUANTILES)
}


@dataclass(frozen=True)
class GaussianMixtureConfig:
    """``typicality`` is the Mahalanobis distance at which a voxel counts half in the fit (3 in the paper).

    The priors are smoothed by ``prior_smoothing_mm`` (standard deviation), and no tissue's falls below
    ``prior_floor``. ``iterations`` bound the fit.
    """

    typicality: float = 3.0
    prior_smoothing_mm: float = 3.0
    prior_floor: float = 0.02
    iterations: int = 40


@dataclass(frozen=True, eq=False)
class TissueMixture:
    """Means and standard deviations (3,) of gray matter, white matter and fluid, in prepared units."""

    means: Values
    deviations: Values


class GaussianMixtureDetector(WithoutCalibration):
    """Mahalanobis distance to the tissues that the template expects at a voxel.

    d(v) = sqrt(-2 log sum_k p_k(v) exp(-(x - m_k)^2 / (2 s_k^2))): the distance to tissue k where the prior p_k is
    certain, and a soft minimum over the tissues elsewhere.
    """

    name: ClassVar[str] = "gaussian_mixture"
    title: ClassVar[str] = "Gaussian tissue mixture"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w", "T2w", "FLAIR")
    unit: ClassVar[str] = "standard deviations from the expected tissues"
    cleans_map: ClassVar[bool] = True
    package_identity: None = None

    def __init__(self, config: GaussianMixtureConfig | None = None) -> None:
        self.config = config or GaussianMixtureConfig()
        self.recipe = Recipe(grid="template_1mm")
        self.threshold = _THRESHOLDS["T1w"]

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Measured on healthy scans for T1w; 3 standard deviations for what could not be measured."""
        return _THRESHOLDS.get(contrast, _UNMEASURED)

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The mean of the tissue mixture that the template expects at each voxel."""
        inside = prepared.brain_mask
        priors = smooth_priors(prepared.template, self.config)[:, inside]
        mixture = fit_mixture(prepared.image[inside], priors, self.config)
        healthy = np.zeros_like(prepared.image)
        healthy[inside] = mixture.means @ priors
        return Reconstruction(healthy, raw=_on(prepared, mixture_distance(prepared.image[inside], priors, mixture)))

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The distance map, 0 outside the brain."""
        found = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        assert found.raw is not None
        return Score(found.raw, prepared.brain_mask)


def smooth_priors(template: Template, config: GaussianMixtureConfig) -> FloatArray:
    """Probabilities (3, i, j, k) of gray matter, white matter and fluid, summing to 1 at every voxel."""
    from scipy import ndimage

    sigma = config.prior_smoothing_mm / template.grid.spacing[0]
    tissues = (template.gray_matter, template.white_matter, template.cerebrospinal_fluid)
    priors = np.stack([ndimage.gaussian_filter(tissue, sigma) for tissue in tissues]) + config.prior_floor
    return np.asarray(priors / priors.sum(axis=0), dtype=np.float32)


def fit_mixture(values: FloatArray, priors: FloatArray, config: GaussianMixtureConfig) -> TissueMixture:
    """Expectation maximization on ``values`` (n,) with ``priors`` (3, n), from weighted medians as the start."""
    step = max(1, len(values) // 200_000)
    chosen, priors = values[::step].astype(np.float64), priors[:, ::step]
    mixture = _start(values[::step], priors)
    for _ in range(config.iterations):
        weights = _responsibilities(chosen, priors, mixture, config.typicality)
        total = np.maximum(weights.sum(axis=1), 1e-6)
        means = weights @ chosen / total
        variances = (weights * (chosen - means[:, None]) ** 2).sum(axis=1) / total
        moved = float(np.abs(means - mixture.means).max())
        mixture = TissueMixture(means, np.maximum(np.sqrt(variances), _SMALLEST_SPREAD))
        if moved < _SETTLED:
            break
    return mixture


def mixture_distance(values: FloatArray, priors: FloatArray, mixture: TissueMixture) -> FloatArray:
    """The detector's d of ``values`` (n,) under ``priors`` (3, n)."""
    exponents = -0.5 * ((values - mixture.means[:, None]) / mixture.deviations[:, None]) ** 2 + np.log(priors)
    largest = exponents.max(axis=0)
    likelihood = largest + np.log(np.exp(exponents - largest).sum(axis=0))
    return np.asarray(np.sqrt(np.maximum(-2.0 * likelihood, 0.0)), dtype=np.float32)


def _start(values: FloatArray, priors: FloatArray) -> TissueMixture:
    """Weighted medians and median absolute deviations, each voxel weighted by its prior to the fourth power."""
    weights = [prior.astype(np.float64) ** 4 for prior in priors]
    means = [weighted_quantile(values, weight, 0.5) for weight in weights]
    spreads = [
        _MAD_TO_SIGMA * weighted_quantile(np.abs(values - mean), weight, 0.5)
        for mean, weight in zip(means, weights, strict=True)
    ]
    return TissueMixture(np.array(means), np.maximum(spreads, _SMALLEST_SPREAD))


def _responsibilities(values: Values, priors: FloatArray, mixture: TissueMixture, typicality: float) -> Values:
    """Posterior of each tissue (3, n) times how typical the voxel is of it."""
    exponents = -0.5 * ((values - mixture.means[:, None]) / mixture.deviations[:, None]) ** 2
    density = np.exp(exponents) / mixture.deviations[:, None]
    joint = priors * density
    typical = np.exp(exponents) / (np.exp(exponents) + np.exp(-0.5 * typicality**2))
    return np.asarray(joint / np.maximum(joint.sum(axis=0), 1e-30) * typical)


def _on(prepared: PreparedScan, values: FloatArray) -> FloatArray:
    volume = np.zeros_like(prepared.image)
    volume[prepared.brain_mask] = values
    return volume
