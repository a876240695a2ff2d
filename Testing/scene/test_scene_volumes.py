"""A volume node becomes a scan that lies where the user sees it, or is refused in plain words."""

import numpy as np
import pytest
import slicer
from scene_cases import SHAPE, add_transform, add_volume, oblique_affine

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import (
    local_affine,
    scan_from_node,
    voxels,
    world_grid,
    write_volume_node,
)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "RSP"])
def test_scan_has_the_voxels_and_geometry_of_the_node(scene, codes):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    node = add_volume(scene, affine=oblique_affine(codes), array=array)
    scan = scan_from_node(node, "FLAIR")
    np.testing.assert_array_equal(scan.array, array)
    np.testing.assert_allclose(scan.grid.affine, oblique_affine(codes), atol=1e-6)
    assert (scan.contrast, scan.name) == ("FLAIR", "scan")


def test_scan_does_not_share_memory_with_the_scene(volume):
    scan = scan_from_node(volume)
    before = scan.array.copy()
    slicer.util.arrayFromVolume(volume)[:] = 0.0
    np.testing.assert_array_equal(scan.array, before)


def test_every_voxel_of_a_written_volume_lies_on_its_reference(scene, volume):
    array = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    write_volume_node(node, array, volume)
    np.testing.assert_array_equal(voxels(node), array)
    np.testing.assert_array_equal(local_affine(node), local_affine(volume))


def test_linear_parent_transform_is_composed_into_the_affine(scene, volume):
    outer, inner = np.eye(4), oblique_affine("RAS", 40.0)
    inner[:3, :3] /= np.linalg.norm(inner[:3, :3], axis=0)
    outer[:3, 3] = (5.0, 6.0, 7.0)
    parent, child = add_transform(scene, outer), add_transform(scene, inner)
    child.SetAndObserveTransformNodeID(parent.GetID())
    volume.SetAndObserveTransformNodeID(child.GetID())
    np.testing.assert_allclose(scan_from_node(volume).grid.affine, outer @ inner @ oblique_affine(), atol=1e-9)


def test_result_follows_the_transform_of_its_reference(scene, volume):
    transform = add_transform(scene, np.diag([1.0, -1.0, -1.0, 1.0]))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    write_volume_node(node, np.zeros(SHAPE, dtype=np.float32), volume)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    np.testing.assert_allclose(world_grid(node).affine, world_grid(volume).affine)


def test_non_linear_transform_is_refused(scene, volume):
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    warp.SetAndObserveTransformToParent(_warp())
    volume.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(ScanError, match=r"non-linear transform 'warp'.*") as refused:
        scan_from_node(volume)
    assert "Harden" in refused.value.remedy


def test_shearing_transform_is_refused(scene, volume):
    shear = np.eye(4)
    shear[0, 1] = 0.4
    volume.SetAndObserveTransformNodeID(add_transform(scene, shear).GetID())
    with pytest.raises(ScanError, match="sheared"):
        scan_from_node(volume)


@pytest.mark.parametrize(
    ("class_name", "words"),
    [("vtkMRMLLabelMapVolumeNode", "label map"), ("vtkMRMLScalarVolumeNode", "holds no voxels")],
)
def test_other_volumes_are_refused(scene, class_name, words):
    with pytest.raises(ScanError, match=words):
        scan_from_node(scene.AddNewNodeByClass(class_name, "other"))


def test_vector_volume_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((8, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(ScanError, match=r"not a gray-value|color or vector"):
        scan_from_node(node)


def test_no_node_and_a_removed_node_are_refused(scene, volume):
    scene.RemoveNode(volume)
    for node in (None, volume):
        with pytest.raises(ScanError, match="No volume is selected"):
            scan_from_node(node)


def test_integer_volumes_are_accepted(scene):
    node = add_volume(scene)
    values = np.arange(26 * 34 * 30, dtype=np.int16).reshape(26, 34, 30)
    slicer.util.updateVolumeFromArray(node, values)
    np.testing.assert_array_equal(scan_from_node(node).array, values.transpose(2, 1, 0).astype(np.float32))


def _warp():
    import vtk

    grid = vtk.vtkImageData()
    grid.SetDimensions(4, 4, 4)
    grid.SetSpacing(20.0, 20.0, 20.0)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(grid)
    return transform
