"""What a segment covers, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtk.util import numpy_support

from BrainAnomalyLib.slicer.scene.nodes.segmentation import SEGMENT_ID


def segment_mask(node: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """What the segment covers, as an (i, j, k) mask of ``shape`` on the reference volume's voxels."""
    mask = np.zeros(shape, dtype=np.bool_)
    image = (
        node.GetSegmentation()
        .GetSegment(SEGMENT_ID)
        .GetRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())
    )
    first_i, last_i, first_j, last_j, first_k, last_k = image.GetExtent()
    if image.GetPointData().GetScalars() is None or last_i < first_i:
        return mask
    size = (last_k - first_k + 1, last_j - first_j + 1, last_i - first_i + 1)
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(size)
    mask[first_i : last_i + 1, first_j : last_j + 1, first_k : last_k + 1] = values.transpose(2, 1, 0) > 0
    return mask
