"""The findings as a segmentation node that says what it is: SNOMED CT codes, AUTOMATIC, and who made it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from ....io.geometry import Affine, MaskArray
from .links import SegmentationNode, VolumeNode, mark_companion
from .scene_volumes import local_affine

# One segment holds all findings: their number changes with the threshold, and a segment that the user has hidden,
# recolored or exported must keep its identity while the threshold moves. The table tells the findings apart.
SEGMENT_ID = "AnomalousRegion"
SEGMENT_NAME = "Anomalous region"
# Cyan stands out from gray anatomy and from the heat colors.
_COLOR = (0.0, 0.9, 1.0)
_ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
_ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmName"
# DICOM limits SegmentAlgorithmName (LO) to 64 characters.
_LONGEST_NAME = 64

_CATEGORY = ("SCT", "49755003", "Morphologically Altered Structure")
# What an unsupervised detector finds is of unknown kind. "Mass", "Neoplasm" and "Edema" would each claim a diagnosis;
# "Lesion", the root of SNOMED CT's morphologic abnormalities of tissue, claims none.
_TYPE = ("SCT", "52988006", "Lesion")
_REGION = ("SCT", "12738006", "Brain")
_TYPE_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_NOTHING = ("", "", "")


def terminology_entry() -> str:
    """Slicer's serialized form: contexts and (scheme, code, meaning) triples joined by ~ and ^."""
    triples = [_CATEGORY, _TYPE, _NOTHING], [_REGION, _NOTHING]
    types, regions = ("~".join("^".join(triple) for triple in group) for group in triples)
    return "~".join((_TYPE_CONTEXT, types, _REGION_CONTEXT, regions))


def write_segmentation(node: SegmentationNode, mask: MaskArray, reference: VolumeNode, algorithm_name: str) -> None:
    """Fill ``node`` with one segment that covers ``mask`` (i, j, k on the voxels of ``reference``)."""
    _prepare(node, reference)
    segment = _ensured_segment(node)
    segment.SetTag(_ALGORITHM_NAME_TAG, algorithm_name[:_LONGEST_NAME])
    write_mask(node, mask, reference)


def write_mask(node: SegmentationNode, mask: MaskArray, reference: VolumeNode) -> None:
    """Replace what the segment covers and leave everything else about it as it is."""
    segment = _ensured_segment(node)
    image = _labelmap(mask, local_affine(reference))
    with slicer.util.NodeModify(node):
        segmentation = node.GetSegmentation()
        had_surface = segmentation.ContainsRepresentation(_closed_surface())
        segment.AddRepresentation(_binary_labelmap(), image)
        if had_surface:
            segmentation.CreateRepresentation(_closed_surface(), True)


def _prepare(node: SegmentationNode, reference: VolumeNode) -> None:
    """Transform first: the reference geometry is expressed in the segmentation's own frame."""
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    node.GetSegmentation().SetSourceRepresentationName(_binary_labelmap())
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        # An outline lets the heat map show through.
        node.GetDisplayNode().SetVisibility2DFill(False)
    mark_companion(node.GetDisplayNode())


def _ensured_segment(node: SegmentationNode) -> Any:
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(SEGMENT_ID) is None:
        segmentation.AddSegment(_new_segment(), SEGMENT_ID)
    return segmentation.GetSegment(SEGMENT_ID)


def _new_segment() -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(SEGMENT_NAME)
    segment.SetColor(*_COLOR)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry())
    segment.SetTag(_ALGORITHM_TYPE_TAG, "AUTOMATIC")
    segment.AddRepresentation(_binary_labelmap(), _labelmap(np.zeros((1, 1, 1), dtype=np.bool_), np.eye(4)))
    return segment


def _labelmap(mask: MaskArray, affine: Affine) -> Any:
    """An oriented image of the bounding box of ``mask``; its extent tells where the box lies in the whole grid."""
    image = slicer.vtkOrientedImageData()
    box = _bounding_box(mask)
    image.SetExtent(*(limit for side in box for limit in (side.start, side.stop - 1)))
    inside = np.ascontiguousarray(mask[box].transpose(2, 1, 0)).view(np.uint8)
    scalars = numpy_support.numpy_to_vtk(inside.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def _bounding_box(mask: MaskArray) -> tuple[slice, slice, slice]:
    """The smallest box that holds the mask; the first voxel if it is empty, since VTK images have at least one."""
    return _span(mask, (1, 2)), _span(mask, (0, 2)), _span(mask, (0, 1))


def _span(mask: MaskArray, others: tuple[int, int]) -> slice:
    used: NDArray[np.intp] = np.flatnonzero(mask.any(axis=others))
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)


def _binary_labelmap() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def _closed_surface() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())
