"""Residuals between a scan and its pseudo-healthy reconstruction, and the cleaning of anomaly maps."""

from __future__ import annotations

import numpy as np

from ..io.geometry import FloatArray, MaskArray

_MEDIAN_SIZE = 5
_EROSION_SIZE = 5
_EROSION_LEVEL = 0.95


def signed_residual(image: FloatArray, pseudo_healthy: FloatArray, brain_mask: MaskArray) -> FloatArray:
    """``image - pseudo_healthy`` inside the brain: positive where the scan is brighter than expected."""
    return np.where(brain_mask, image - pseudo_healthy, np.float32(0.0))


def median_5(volume: FloatArray) -> FloatArray:
    """5 x 5 x 5 median (Luo et al.; Baur et al.); edges are repeated."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.asarray(volume, dtype=np.float32))
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.Median(image, [_MEDIAN_SIZE // 2] * 3)))


def eroded_mask(brain_mask: MaskArray) -> MaskArray:
    """Voxels whose 5 x 5 x 5 neighborhood is more than 95 % brain (Kascenas et al., in 3D)."""
    from scipy import ndimage

    share = ndimage.uniform_filter(brain_mask.astype(np.float32), size=_EROSION_SIZE, mode="constant")
    return np.asarray(share > _EROSION_LEVEL)


def cleaned(anomaly: FloatArray, brain_mask: MaskArray) -> FloatArray:
    """The seeds' post-processing of a map: 5 x 5 x 5 median, then 0 outside the eroded brain mask."""
    from scipy import ndimage

    inside, found = eroded_mask(brain_mask), np.zeros(anomaly.shape, dtype=np.float32)
    for box in ndimage.find_objects(inside.astype(np.uint8)):
        around = tuple(slice(max(0, side.start - _MEDIAN_SIZE), side.stop + _MEDIAN_SIZE) for side in box)
        found[around] = np.where(inside[around], median_5(anomaly[around]), np.float32(0.0))
    return found
