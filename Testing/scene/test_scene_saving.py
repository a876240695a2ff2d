"""A saved and loaded scene goes on where it was: same links, same provenance, and the threshold still moves."""

import numpy as np
import pytest
import slicer
from scene_cases import COMPONENTS, SHAPE, add_volume, column, detection_of, oblique_affine, table_rows

from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.nodes.color_table import legend_of
from BrainAnomalyLib.slicer.scene.nodes.links import RESULT_KINDS, nodes_of_class
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import local_affine, voxels
from segment_mask import segment_mask


def save(scene, folder):
    """What the application's save dialog does: data of every storable node, then the scene file."""
    endings = {"vtkMRMLScalarVolumeNode": ".nrrd", "vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLTableNode": ".tsv"}
    endings["vtkMRMLColorTableNode"] = ".ctbl"
    for class_name, ending in endings.items():
        for node in nodes_of_class(scene, class_name):
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            storage.SetFileName(str(folder / (node.GetID() + ending)))
            assert storage.WriteData(node), node.GetName()
    scene.SetURL(str(folder / "scene.mrml"))
    scene.Commit()


def load(folder, into=None):
    scene = into or slicer.vtkMRMLScene()
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    scene.SetURL(str(folder / "scene.mrml"))
    scene.Import()
    return scene


@pytest.fixture(params=["RAS", "LAS"])
def volume(scene, request):
    """Right- and left-handed: Slicer's reader reverses the slices of the latter."""
    return add_volume(scene, affine=oblique_affine(request.param))


@pytest.fixture
def saved(scene, volume, logic, tmp_path):
    detection = detection_of(volume)
    logic.apply(detection, volume)
    save(scene, tmp_path)
    return detection, tmp_path


def in_order_of(array, node, affine):
    """``array`` with its slices in the order of a loaded node."""
    return array if np.allclose(local_affine(node), affine, atol=1e-4) else array[:, :, ::-1]


def test_links_and_provenance_survive(saved, logic, volume):
    loaded = load(saved[1])
    node = loaded.GetFirstNodeByName("scan")
    nodes = BrainAnomalySceneLogic().resultNodes(node)
    assert all(getattr(nodes, role) is not None for role in RESULT_KINDS)
    assert list(nodes.components) == sorted(COMPONENTS)
    assert logic.record(node) == logic.record(volume)
    expected = in_order_of(saved[0].anomaly, nodes.anomaly_map, local_affine(volume))
    np.testing.assert_array_equal(voxels(nodes.anomaly_map), expected)
    assert legend_of(nodes.anomaly_map).GetTitleText() == "Anomaly (standard\ndeviations)"


def test_threshold_moves_in_the_loaded_scene(saved, volume):
    loaded = load(saved[1])
    node = loaded.GetFirstNodeByName("scan")
    logic = BrainAnomalySceneLogic()
    findings = logic.setThreshold(node, 5.0, 0.0)
    expected = saved[0].with_threshold(5.0, 0.0).findings
    nodes = logic.resultNodes(node)
    labels = in_order_of(expected.labels, nodes.anomaly_map, local_affine(volume))
    np.testing.assert_array_equal(findings.labels, labels)
    np.testing.assert_array_equal(segment_mask(nodes.segmentation, SHAPE), labels > 0)
    for axis, letter in enumerate("xyz"):
        templates = [row.centroid_template[axis] for row in expected.table]
        np.testing.assert_allclose(column(nodes.findings_table, f"template_{letter}"), templates, atol=1e-2)


def test_run_again_replaces_in_the_loaded_scene(saved):
    loaded = load(saved[1])
    node = loaded.GetFirstNodeByName("scan")
    count = loaded.GetNumberOfNodes()
    logic = BrainAnomalySceneLogic()
    before = logic.resultNodes(node)
    assert logic.apply(detection_of(node, threshold=5.0), node) == before
    assert loaded.GetNumberOfNodes() == count


def test_scene_loaded_into_a_used_one_keeps_results_apart(saved, logic):
    """Node IDs collide and are changed by the import; the links must follow."""
    used = slicer.vtkMRMLScene()
    other = add_volume(used, "already here")
    own = logic.apply(detection_of(other, threshold=5.0), other)
    rows = table_rows(own.findings_table)
    load(saved[1], into=used)
    node = used.GetFirstNodeByName("scan")
    nodes = logic.resultNodes(node)
    assert all(getattr(nodes, role) is not None for role in RESULT_KINDS)
    assert list(nodes.components) == sorted(COMPONENTS)
    logic.setThreshold(node, 100.0)
    assert nodes.findings_table.GetNumberOfRows() == 0
    assert table_rows(own.findings_table) == rows
    assert logic.resultNodes(other) == own
