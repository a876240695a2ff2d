"""Correction of the smooth intensity drift across the field of view (N4, Tustison et al. 2010)."""

from __future__ import annotations

import numpy as np

from ...io.geometry import FloatArray, Grid, MaskArray, from_image, isotropic_grid, to_image
from ...io.resampling import resample

_WORKING_SPACING_MM = 4.0
_ITERATIONS = (30, 20, 10)
_LARGEST_GAIN = 4.0


def correct_bias(image: FloatArray, grid: Grid, brain_mask: MaskArray) -> FloatArray:
    """``image`` (i, j, k) divided by its N4 bias field, estimated inside ``brain_mask`` at 4 mm.

    The median inside the mask is kept; the field is limited to a factor of 4 either way.
    """
    coarse = isotropic_grid(grid, max(_WORKING_SPACING_MM, max(grid.spacing)))
    field = _log_field(resample(image, grid, coarse), resample(brain_mask, grid, coarse), coarse)
    limit = np.log(_LARGEST_GAIN)
    gain = np.exp(np.clip(resample(field, coarse, grid), -limit, limit))
    corrected = image / gain
    scale = np.median(image[brain_mask]) / max(float(np.median(corrected[brain_mask])), 1e-6)
    return np.asarray(corrected * scale, dtype=np.float32)


def _log_field(image: FloatArray, mask: MaskArray, grid: Grid) -> FloatArray:
    import SimpleITK

    positive = np.maximum(image, np.percentile(image[mask], 1.0) * 0.1 + 1e-3)
    filter_ = SimpleITK.N4BiasFieldCorrectionImageFilter()
    filter_.SetMaximumNumberOfIterations(_ITERATIONS)
    source = to_image(positive.astype(np.float32), grid)
    filter_.Execute(source, to_image(mask, grid))
    return np.asarray(from_image(filter_.GetLogBiasFieldAsImage(source))[0], dtype=np.float32)
