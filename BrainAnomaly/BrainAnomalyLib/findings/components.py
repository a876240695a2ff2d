"""Connected components of a thresholded anomaly map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import MaskArray


def connected_components(mask: MaskArray, voxel_mm3: float, minimum_mm3: float) -> NDArray[np.int32]:
    """26-connected components of ``mask`` (i, j, k) of more than ``minimum_mm3``, labelled 1..n, largest first.

    Meissen et al. drop components of up to 20 voxels of 1 mm3, so a component of exactly ``minimum_mm3`` goes.
    """
    from scipy import ndimage

    box = _bounding_box(mask)
    labels = np.zeros(mask.shape, dtype=np.int32)
    if box is None:
        return labels
    found, count = ndimage.label(mask[box], structure=np.ones((3, 3, 3)))
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = [index for index in np.argsort(-sizes, kind="stable") if sizes[index] * voxel_mm3 > minimum_mm3]
    new_label = np.zeros(count + 1, dtype=np.int32)
    new_label[kept] = np.arange(1, len(kept) + 1)
    labels[box] = new_label[found]
    return labels


def _bounding_box(mask: MaskArray) -> tuple[slice, slice, slice] | None:
    ranges = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if used.size == 0:
            return None
        ranges.append(slice(int(used[0]), int(used[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]
