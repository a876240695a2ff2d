"""How unusual the intensities of several registered contrasts are together, for the scan's own healthy tissue.

White matter, gray matter and fluid are one normal distribution each over all contrasts, fitted to the scan itself where
the template expects them, outliers of one pass left out of the next (Van Leemput et al. 2001, doi:10.1109/42.938237). A
voxel that no tissue explains is rare; how rare is its rank among the voxels of the same brain, so that neither unit nor
protocol matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..io.geometry import Array, FloatArray, Grid, MaskArray
from ..io.resampling import resample
from ..preparation.space.template import load_template

_PASSES = 6
# The template's tissues are blurred by what an affine registration leaves, and nothing is impossible anywhere.
_PRIOR_BLUR_MM, _LEAST_PRIOR = 1.5, 0.02
_SURE_PRIOR = 0.8
# Noise of single voxels is not what counts; a voxel further off than that is an outlier (squared, and for each
# contrast more).
_SMOOTHED_VOXELS, _OUTLIER, _OUTLIER_MORE = 0.7, 9.0, 3.0
_LEAST_VARIANCE = 1e-4
# Ranks beyond one voxel in ten thousand say no more.
_RAREST = 1e-4


def joint_evidence(
    images: Sequence[FloatArray], inside: MaskArray, grid: Grid, template_from_world: Array
) -> FloatArray:
    """-log10 of the part of the brain's voxels that fit its tissues as badly (i, j, k), 0 outside ``inside``.

    ``images`` (i, j, k; any unit) lie on ``grid``; ``template_from_world`` (4x4) maps its RAS mm to the template's.
    """
    from scipy import ndimage

    priors = _priors(inside, grid, template_from_world)
    values = np.stack([ndimage.gaussian_filter(image, _SMOOTHED_VOXELS)[inside] for image in images], axis=1)
    values = values.astype(np.float64) / np.maximum(np.median(values, axis=0), 1e-6)
    surprise = _surprise(values, priors)
    rank = np.empty(len(surprise))
    rank[np.argsort(surprise)] = (np.arange(len(surprise)) + 0.5) / len(surprise)
    found = np.zeros(inside.shape, dtype=np.float32)
    found[inside] = -np.log10(np.maximum(1.0 - rank, _RAREST))
    return found


def _priors(inside: MaskArray, grid: Grid, template_from_world: Array) -> FloatArray:
    """Probability of each tissue (tissue, voxel of ``inside``) by the template."""
    from scipy import ndimage

    template = load_template("template_2mm")
    tissues = (template.white_matter, template.gray_matter, template.cerebrospinal_fluid)
    width = _PRIOR_BLUR_MM / template.grid.spacing[0]
    blurred = (ndimage.gaussian_filter(tissue, width) for tissue in tissues)
    moved = np.stack([resample(tissue, template.grid, grid, template_from_world)[inside] for tissue in blurred])
    return np.asarray((moved + _LEAST_PRIOR) / (moved + _LEAST_PRIOR).sum(axis=0), dtype=np.float32)


def _surprise(values: Array, priors: FloatArray) -> Array:
    """Minus the logarithm of the best tissue's prior times density, for each voxel of ``values`` (voxel, contrast)."""
    shares = np.where(priors > _SURE_PRIOR, priors, 0.0).astype(np.float64)
    inliers = np.ones(len(values), dtype=np.bool_)
    limit = _OUTLIER + _OUTLIER_MORE * (values.shape[1] - 1)
    for _ in range(_PASSES):
        fits = [_fit(values, share * inliers) for share in shares]
        logs = np.stack([np.log(prior) + density for prior, (_, density) in zip(priors, fits, strict=True)])
        best = logs.max(axis=0)
        shares = np.exp(logs - best)
        shares /= shares.sum(axis=0)
        inliers = (shares * np.stack([distance for distance, _ in fits])).sum(axis=0) < limit
    return np.asarray(-best)


def _fit(values: Array, weights: Array) -> tuple[Array, Array]:
    """Squared Mahalanobis distance and log density of every voxel for the normal distribution of the weighted ones."""
    total = max(float(weights.sum()), 1e-6)
    mean = weights @ values / total
    offset = values - mean
    covariance = (weights[:, None] * offset).T @ offset / total + _LEAST_VARIANCE * np.eye(values.shape[1])
    distance = np.einsum("ij,jk,ik->i", offset, np.linalg.inv(covariance), offset)
    return distance, -0.5 * (distance + np.linalg.slogdet(covariance)[1])
