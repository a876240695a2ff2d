"""How bright healthy brains are, place by place, and how far a scan is from that.

The mean and the standard deviation of smoothed intensities over healthy scans in template space (white matter is 1), as
in voxelwise z-scores, kept at half the resolution of the template's grid. Networks look at shapes; this map knows where
things are, so that it also sees dark lesions which look like another tissue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..io.geometry import FloatArray, MaskArray
from .normal_level import halved, on_grid, smoothed_inside

_SMOOTHED_VOXELS = 1.0
# What a scan's own scale is uncertain by, relative to white matter.
_LEAST_DEVIATION = 0.03
_FEWEST_BRAINS = 0.5


class NormativeIntensity(NamedTuple):
    """Mean and standard deviation of healthy intensities (i/2, j/2, k/2)."""

    mean: FloatArray
    deviation: FloatArray


def normative_intensity(scans: Iterable[tuple[FloatArray, MaskArray]]) -> NormativeIntensity:
    """From images (i, j, k; even sizes) and brain masks of healthy scans on one grid."""
    count = total = squares = np.zeros(1)
    for image, mask in scans:
        values = smoothed_inside(image, mask, _SMOOTHED_VOXELS).astype(np.float64)
        count, total, squares = count + mask, total + values, squares + values**2
    brains = np.maximum(halved(count).astype(np.float64), _FEWEST_BRAINS)
    mean = halved(total) / brains
    variance = np.maximum(halved(squares) / brains - mean**2, 0.0)
    return NormativeIntensity(mean.astype(np.float32), np.sqrt(variance + _LEAST_DEVIATION**2).astype(np.float32))


def deviation_map(image: FloatArray, mask: MaskArray, normal: NormativeIntensity) -> FloatArray:
    """|z| of the smoothed image (i, j, k), 0 outside the mask."""
    mean, deviation = (on_grid(volume, image.shape) for volume in normal)
    z = (smoothed_inside(image, mask, _SMOOTHED_VOXELS) - mean) / np.maximum(deviation, _LEAST_DEVIATION)
    return np.where(mask, np.abs(z), 0.0).astype(np.float32)
