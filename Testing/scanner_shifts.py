"""Prepared healthy scans as other scanners might show them: one change each, white matter at 1 again afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from BrainAnomalyLib.geometry import FloatArray
from BrainAnomalyLib.preparation.prepared import PreparedScan


def gamma(scan: PreparedScan, exponent: float) -> PreparedScan:
    """Intensities to a power: another contrast between the tissues."""
    return _changed(scan, np.maximum(scan.image, 0.0) ** exponent)


def drift(scan: PreparedScan, strength: float, seed: int = 0) -> PreparedScan:
    """A smooth multiplicative field with three knots along each axis, exp(N(0, ``strength``)) at these."""
    coarse = np.random.default_rng(seed).standard_normal((3, 3, 3))
    field = ndimage.zoom(coarse, [size / 3 for size in scan.image.shape], order=1)
    return _changed(scan, scan.image * np.exp(strength * field))


def noise(scan: PreparedScan, sigma: float, seed: int = 0) -> PreparedScan:
    """Gaussian noise relative to white matter."""
    return _changed(scan, scan.image + sigma * np.random.default_rng(seed).standard_normal(scan.image.shape))


def blur(scan: PreparedScan, voxels: float) -> PreparedScan:
    """A Gaussian of that many voxels."""
    return _changed(scan, ndimage.gaussian_filter(scan.image, voxels))


def sharpen(scan: PreparedScan, amount: float) -> PreparedScan:
    """Detail finer than a voxel, ``amount`` times more of it."""
    return _changed(scan, scan.image + amount * (scan.image - ndimage.gaussian_filter(scan.image, 1.0)))


def ghost(scan: PreparedScan, strength: float) -> PreparedScan:
    """The brain a second time, a third of the field of view away."""
    return _changed(scan, scan.image + strength * np.roll(scan.image, scan.image.shape[1] // 3, axis=1))


def inverted(scan: PreparedScan) -> PreparedScan:
    """Dark where it was bright."""
    return _changed(scan, np.maximum(1.5 - scan.image, 0.0))


def _changed(scan: PreparedScan, image: FloatArray) -> PreparedScan:
    """White matter is 1 again after a change, as the preparation would have it."""
    sure = scan.brain_mask & (scan.template.white_matter > 0.8)
    scaled = image / max(float(np.median(image[sure])), 1e-6)
    return replace(scan, image=np.where(scan.brain_mask, scaled, 0.0).astype(np.float32))
