"""What a scanner and a brain extraction make of a painted slab: thick slices, bias, noise, ghosts, masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, index_of
from BrainAnomalyLib.io.geometry import FloatArray, MaskArray

from .anatomies import Random, smooth_noise

# Slices of up to 6.5 mm; a full width at half maximum is 2.355 deviations.
_MOST_SLICE_MM, _WIDTH, _SPACING_MM = 6.5, 2.355, 2.0
_MOST_BIAS, _MOST_NOISE = 0.3, 0.06
_WIDE_MASK, _LEFT_TISSUE = 0.25, 0.5


def acquired(image: FloatArray, soft: FloatArray, random: Random) -> tuple[FloatArray, MaskArray]:
    """The slab (i, j, k) as acquired, 0 outside the brain mask, and that mask."""
    mask = _mask(soft, random)
    if random.random() < _LEFT_TISSUE:
        image = image + soft[OUTSIDE] * _tissue_outside(image, random)
    scale = max(float(np.ptp(image[mask])), 1e-6) if mask.any() else 1.0
    image = ndimage.gaussian_filter(image, _blur(random))
    if random.random() < 0.7:
        field = smooth_noise(image.shape, random.uniform(15.0, 40.0), random)
        image = image * np.exp(random.uniform(0.0, _MOST_BIAS) * field)
    if random.random() < 0.08:
        ghost = np.roll(image, int(random.integers(8, 50)), int(random.integers(2)))
        image = image + random.uniform(0.02, 0.12) * ghost
    if random.random() < 0.7:
        noise = random.standard_normal(image.shape, dtype=np.float32)
        image = image + random.uniform(0.0, _MOST_NOISE) * scale * noise
    return np.where(mask, image, 0.0).astype(np.float32), mask


def _blur(random: Random) -> list[float]:
    """Deviations in voxels along i, j, k: a small one everywhere, and thick slices along one axis."""
    deviations = list(random.uniform(0.0, 0.55, 3))
    if random.random() < 0.5:
        axis = int(random.choice([0, 1, 2, 2]))
        deviations[axis] = random.uniform(1.0, _MOST_SLICE_MM) / _WIDTH / _SPACING_MM
    return deviations


def _mask(soft: FloatArray, random: Random) -> MaskArray:
    """Brain masks too tight, about right, or wide, with a border of their own."""
    solid = 1.0 - soft[OUTSIDE] - soft[index_of("outer fluid")] * random.uniform(0.0, 1.0)
    smooth = ndimage.gaussian_filter(solid, random.uniform(0.5, 2.5))
    level = random.uniform(0.05, 0.25) if random.random() < _WIDE_MASK else random.uniform(0.25, 0.6)
    wobble = 0.1 * random.random() * smooth_noise(solid.shape, random.uniform(2.0, 6.0), random)
    return np.asarray(smooth + wobble > level)


def _tissue_outside(image: FloatArray, random: Random) -> FloatArray:
    """Skull, skin or nothing about the brain: patches of any brightness."""
    high = float(np.percentile(image, 99))
    patches = smooth_noise(image.shape, random.uniform(0.8, 4.0), random)
    return np.asarray(np.clip(high * (random.uniform(0.0, 1.0) + 0.4 * patches), 0.0, None), dtype=np.float32)
