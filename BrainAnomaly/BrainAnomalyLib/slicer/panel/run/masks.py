"""A brain mask of the scene on the voxels of a scan."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ....errors import ScanError
from ....io.geometry import Affine, MaskArray, inverse
from ....io.volumes import checked_mask
from ...scene.nodes.links import Node, VolumeNode
from ...scene.nodes.scene_volumes import scan_from_node, voxels, world_from_local, world_grid


def mask_on(node: Node, input_node: VolumeNode) -> MaskArray:
    """The brain (i, j, k on the voxels of ``input_node``) that a label map or segmentation node marks.

    A segmentation is sampled on the scan's voxels, all its segments together. Raises ScanError if a label map lies on
    other voxels, or if nothing is marked.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        array, grid = _segments_on(node, input_node), world_grid(input_node)
    elif node.GetImageData() is None:
        raise ScanError(f"The mask '{node.GetName()}' holds no voxels.", "Load its data first.")
    else:
        array, grid = voxels(node), world_grid(node)
    return checked_mask(array, grid, scan_from_node(input_node), node.GetName())


def _segments_on(segmentation: Node, input_node: VolumeNode) -> MaskArray:
    """All segments on the voxels of the scan, wherever both are placed by linear transforms."""
    merged = slicer.vtkOrientedImageData()
    shape = input_node.GetImageData().GetDimensions()
    geometry = _geometry(inverse(world_from_local(segmentation)) @ world_grid(input_node).affine, shape)
    whole = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    filled = segmentation.GenerateMergedLabelmapForAllSegments(merged, whole, geometry)
    scalars = merged.GetPointData().GetScalars()
    if not filled or scalars is None or merged.GetDimensions() != shape:
        return np.zeros(shape, dtype=np.bool_)
    return np.asarray(numpy_support.vtk_to_numpy(scalars).reshape(shape[::-1]).transpose(2, 1, 0) > 0)


def _geometry(affine: Affine, shape: tuple[int, int, int]) -> vtk.vtkImageData:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel())
    geometry = slicer.vtkOrientedImageData()
    geometry.SetExtent(0, shape[0] - 1, 0, shape[1] - 1, 0, shape[2] - 1)
    geometry.SetGeometryFromImageToWorldMatrix(matrix)
    return geometry
