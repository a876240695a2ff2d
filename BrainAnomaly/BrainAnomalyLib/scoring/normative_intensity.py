"""How bright healthy brains are, place by place, and how far a scan is from that.

The mean and the standard deviation of smoothed intensities over healthy scans in template space (white matter is 1), as
in voxelwise z-scores, kept at half the resolution of the template's grid. Networks look at shapes; this map knows where
things are, so that it also sees dark lesions which look like another tissue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..io.geometry import FloatArray, MaskArray
from .normal_level import on_grid, smoothed_inside

SMOOTHED_VOXELS = 1.0
# What a scan's own scale is uncertain by, relative to white matter.
LEAST_DEVIATION = 0.03


NORMATIVE_MEAN, NORMATIVE_DEVIATION = "normative_mean", "normative_deviation"


class NormativeIntensity(NamedTuple):
    """Mean and standard deviation of healthy intensities (i/2, j/2, k/2)."""

    mean: FloatArray
    deviation: FloatArray


def deviation_map(image: FloatArray, mask: MaskArray, normal: NormativeIntensity) -> FloatArray:
    """|z| of the smoothed image (i, j, k), 0 outside the mask."""
    mean, deviation = (on_grid(volume, image.shape) for volume in normal)
    z = (smoothed_inside(image, mask, SMOOTHED_VOXELS) - mean) / np.maximum(deviation, LEAST_DEVIATION)
    return np.where(mask, np.abs(z), 0.0).astype(np.float32)
