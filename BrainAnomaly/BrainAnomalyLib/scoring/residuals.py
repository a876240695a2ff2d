"""Residuals between a scan and its pseudo-healthy reconstruction, and the cleaning of anomaly maps."""

from __future__ import annotations

import numpy as np

from ..io.geometry import FloatArray, MaskArray

_MEDIAN_SIZE = 5
_EROSION_SIZE = 5
_EROSION_LEVEL = 0.95


def signed_residual(image: FloatArray, pseudo_healthy: FloatArray, brain_mask: MaskArray) -> FloatArray:
    """``image - pseudo_healthy`` inside the brain: positive where the scan is brighter than expected."""
    return np.where(brain_mask, image - pseudo_healthy, 0.0).astype(np.float32)


def median_5(volume: FloatArray) -> FloatArray:
    """5 x 5 x 5 median (Luo et al.; Baur et al.)."""
    from scipy import ndimage

    return np.asarray(ndimage.median_filter(volume, size=_MEDIAN_SIZE), dtype=np.float32)


def eroded_mask(brain_mask: MaskArray) -> MaskArray:
    """Voxels whose 5 x 5 x 5 neighborhood is more than 95 % brain (Kascenas et al., in 3D)."""
    from scipy import ndimage

    share = ndimage.uniform_filter(brain_mask.astype(np.float32), size=_EROSION_SIZE, mode="constant")
    return np.asarray(share > _EROSION_LEVEL)


def cleaned(anomaly: FloatArray, brain_mask: MaskArray) -> FloatArray:
    """The seeds' post-processing of a map: 5 x 5 x 5 median, then 0 outside the eroded brain mask."""
    return np.where(eroded_mask(brain_mask), median_5(anomaly), 0.0).astype(np.float32)
