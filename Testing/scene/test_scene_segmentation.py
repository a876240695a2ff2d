"""The segmentation says where the findings are, what they are, and that no hand drew them."""

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import SHAPE, add_transform, add_volume, detection_of, oblique_affine
from vtk.util import numpy_support

from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import local_affine
from BrainAnomalyLib.slicer.scene.nodes.segmentation import SEGMENT_ID, terminology_entry
from segment_mask import segment_mask


@pytest.mark.parametrize("codes", ["RAS", "LAS", "RSP"])
def test_segment_covers_the_findings_to_the_voxel(scene, logic, codes):
    node = add_volume(scene, affine=oblique_affine(codes))
    detection = detection_of(node)
    segmentation = logic.apply(detection, node).segmentation
    np.testing.assert_array_equal(segment_mask(segmentation, SHAPE), detection.findings.labels > 0)


def test_segment_lies_on_the_voxels_of_the_input(volume, logic):
    detection = detection_of(volume)
    segmentation = logic.apply(detection, volume).segmentation
    image = segmentation.GetSegmentation().GetSegment(SEGMENT_ID).GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), local_affine(volume), atol=1e-9)


def test_exported_labelmap_equals_the_findings(scene, volume, logic):
    """The way the Segmentations module exports: the merged labelmap, resampled to the reference geometry."""
    detection = detection_of(volume)
    segmentation = logic.apply(detection, volume).segmentation
    merged = slicer.vtkOrientedImageData()
    conversion = slicer.vtkSegmentationConverter
    geometry = segmentation.GetSegmentation().GetConversionParameter(
        conversion.GetReferenceImageGeometryParameterName()
    )
    reference = slicer.vtkOrientedImageData()
    conversion.DeserializeImageGeometry(geometry, reference)
    segmentation.GenerateMergedLabelmapForAllSegments(merged, 0, reference)
    values = numpy_support.vtk_to_numpy(merged.GetPointData().GetScalars())
    mask = values.reshape(SHAPE[::-1]).transpose(2, 1, 0) > 0
    np.testing.assert_array_equal(mask, detection.findings.labels > 0)


def test_reference_volume_is_the_input(volume, logic):
    segmentation = logic.apply(detection_of(volume), volume).segmentation
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume


def test_terminology_is_read_back_by_slicer(volume, logic):
    segment = logic.apply(detection_of(volume), volume).segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    codes = [entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetRegionObject()]
    assert [(code.GetCodingSchemeDesignator(), code.GetCodeValue()) for code in codes] == [
        ("SCT", "49755003"),
        ("SCT", "52988006"),
        ("SCT", "12738006"),
    ]
    assert slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry) == terminology_entry()


def test_segment_is_marked_as_automatic(volume, logic):
    segment = logic.apply(detection_of(volume), volume).segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    assert _tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    name = _tag(segment, "DICOM.SegmentAlgorithmName")
    assert name.startswith("BrainAnomaly tissue ")
    assert len(name) <= 64


def test_segment_of_no_findings_is_there_and_empty(volume, logic):
    segmentation = logic.apply(detection_of(volume, threshold=50.0), volume).segmentation
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert not segment_mask(segmentation, SHAPE).any()


def test_changes_of_the_user_to_the_segment_stay(volume, logic):
    segmentation = logic.apply(detection_of(volume), volume).segmentation
    segment = segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    segment.SetName("Check this")
    segment.SetColor(1.0, 0.0, 1.0)
    logic.setThreshold(volume, 5.0)
    logic.apply(detection_of(volume), volume)
    segment = segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    assert segment.GetName() == "Check this"
    assert segment.GetColor() == (1.0, 0.0, 1.0)


def test_surface_follows_the_threshold(scene, volume, logic):
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
    segmentation = logic.apply(detection_of(volume), volume).segmentation
    assert segmentation.CreateClosedSurfaceRepresentation()
    before = _surface_bounds(segmentation)
    logic.setThreshold(volume, 5.0)
    after = _surface_bounds(segmentation)
    assert after[1] - after[0] < before[1] - before[0]


def test_segmentation_under_a_transform_overlays_the_input(scene, volume, logic):
    transform = add_transform(scene, np.diag([-1.0, -1.0, 1.0, 1.0]))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    detection = detection_of(volume)
    segmentation = logic.apply(detection, volume).segmentation
    assert segmentation.GetParentTransformNode() is transform
    center = np.array(segmentation.GetSegmentCenterRAS(SEGMENT_ID))
    # Slicer takes the center of the largest region.
    inside = np.argwhere(detection.findings.labels == 1)
    box = detection.scan.grid.to_world(np.array([(inside.min(axis=0) + inside.max(axis=0)) / 2.0]))[0]
    np.testing.assert_allclose(center, box, atol=2.0)


def _surface_bounds(segmentation):
    bounds = [0.0] * 6
    segmentation.GetClosedSurfaceInternalRepresentation(SEGMENT_ID).GetBounds(bounds)
    return bounds


def _tag(segment, name):
    value = vtk.reference("")
    assert segment.GetTag(name, value)
    return str(value)
