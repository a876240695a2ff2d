"""Results belong to the submitted volume: linked, replaced by a second run, recut when the threshold moves."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from scene_cases import (
    SHAPE,
    TEMPLATE_FROM_WORLD,
    add_transform,
    add_volume,
    anomaly_map,
    column,
    detection_of,
    node_ids,
    oblique_affine,
    table_rows,
    to_vtk,
)

from BrainAnomalyLib.detection import DetectionOptions
from BrainAnomalyLib.errors import OptionsError, PreparationError, ScanError
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.slicer.scene import written_result
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic, DetectionNodes
from BrainAnomalyLib.slicer.scene.nodes.links import INPUT_ROLE, RESULT_KINDS
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import voxels, world_grid
from segment_mask import segment_mask


def engine_that(does_before_returning):
    """An engine that yields a real detection after something has happened to the scene."""

    def run(scan, detector_name, options, progress):
        node = run.node
        detection = detection_of(node)
        does_before_returning(node)
        return detection

    return run


def detect_while(node, happening):
    run = engine_that(happening)
    run.node = node
    return BrainAnomalySceneLogic(runEngine=run).detect(node, "tissue")


class TestResultNodes:
    def test_every_part_of_the_detection_is_in_the_scene(self, volume, logic):
        detection = detection_of(volume)
        nodes = logic.apply(detection, volume)
        for name in ("pseudo_healthy", "uncertainty", "residual"):
            np.testing.assert_array_equal(voxels(getattr(nodes, name)), getattr(detection, name))
        np.testing.assert_array_equal(voxels(nodes.anomaly_map), detection.anomaly)
        for name, part in detection.components.items():
            np.testing.assert_array_equal(voxels(nodes.components[name]), part)
        assert list(nodes.components) == sorted(detection.components)
        assert all(getattr(nodes, role) is not None for role in RESULT_KINDS)

    def test_every_kind_of_node_is_named_in_one_place(self):
        assert [field.name for field in fields(DetectionNodes)] == [*RESULT_KINDS, "components", "prior"]

    def test_volumes_lie_on_the_input(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        for node in (nodes.anomaly_map, nodes.pseudo_healthy, nodes.residual, nodes.uncertainty):
            assert world_grid(node).same_as(world_grid(volume), tolerance_mm=1e-9)

    def test_every_node_refers_to_the_input(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        assert all(node.GetNodeReference(INPUT_ROLE) is volume for node in nodes.present())

    def test_names_follow_the_input(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        assert nodes.anomaly_map.GetName() == "scan anomaly map"
        assert nodes.segmentation.GetName() == "scan anomalous regions"

    def test_input_is_left_as_it_was(self, volume, logic):
        before = voxels(volume).copy(), world_grid(volume).affine, volume.GetName()
        logic.apply(detection_of(volume), volume)
        np.testing.assert_array_equal(voxels(volume), before[0])
        np.testing.assert_array_equal(world_grid(volume).affine, before[1])
        assert volume.GetName() == before[2]

    def test_record_tells_how_the_result_was_made(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        record = logic.record(volume)
        assert (record.detector, record.package, record.threshold) == ("tissue", "ab" * 32, 3.0)
        assert record.warnings == ("Only an example; with a semicolon: and a colon.",)
        assert logic.record(nodes.segmentation) == record

    def test_result_is_refused_as_an_input(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        with pytest.raises(ScanError, match="itself a result"):
            logic.detect(nodes.anomaly_map)

    def test_results_stand_beside_the_input_in_the_subject_hierarchy(self, scene, volume, logic):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
        hierarchy.CreateItem(study, volume)
        nodes = logic.apply(detection_of(volume), volume)
        single = [node for node in nodes.present() if node not in nodes.components.values()]
        items = [hierarchy.GetItemByDataNode(node) for node in single]
        assert [hierarchy.GetItemParent(item) for item in items] == [study] * len(items)

    def test_component_maps_are_grouped_below_the_input(self, scene, volume, logic):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        own = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
        for _ in range(2):
            nodes = logic.apply(detection_of(volume), volume)
        assert nodes.components
        group = hierarchy.GetItemChildWithName(own, "Component maps")
        items = [hierarchy.GetItemByDataNode(node) for node in nodes.components.values()]
        assert {hierarchy.GetItemParent(item) for item in items} == {group}
        assert hierarchy.GetNumberOfItemChildren(own) == 1
        assert [node.GetName() for node in nodes.components.values()] == [
            f"scan {name} map" for name in nodes.components
        ]
        logic.apply(replace(detection_of(volume), components={}), volume)
        assert hierarchy.GetNumberOfItemChildren(own) == 0

    def test_slice_views_show_the_map_over_the_input(self, scene, volume, logic):
        composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        nodes = logic.apply(detection_of(volume), volume)
        assert composite.GetForegroundVolumeID() is None
        logic.showInSliceViews(volume)
        assert composite.GetBackgroundVolumeID() == volume.GetID()
        assert composite.GetForegroundVolumeID() == nodes.anomaly_map.GetID()


class TestRunAgain:
    def test_same_nodes_hold_the_new_content(self, scene, volume, logic):
        first = logic.apply(detection_of(volume), volume)
        before = node_ids(scene)
        second = logic.apply(detection_of(volume, anomaly=anomaly_map()[::-1].copy()), volume)
        assert first == second
        assert node_ids(scene) == before
        np.testing.assert_array_equal(voxels(second.anomaly_map), anomaly_map()[::-1])

    def test_stale_pseudo_healthy_volume_goes(self, scene, volume, logic):
        logic.apply(detection_of(volume, reconstructs=False), volume)
        without = node_ids(scene)
        logic.apply(detection_of(volume), volume)
        nodes = logic.apply(detection_of(volume, reconstructs=False), volume)
        assert (nodes.pseudo_healthy, nodes.uncertainty, nodes.residual) == (None, None, None)
        assert nodes.maps() == [nodes.anomaly_map]
        assert node_ids(scene) == without

    @pytest.mark.parametrize("role", list(RESULT_KINDS))
    def test_node_deleted_by_the_user_comes_back(self, scene, volume, logic, role):
        nodes = logic.apply(detection_of(volume), volume)
        count = len(node_ids(scene))
        scene.RemoveNode(getattr(nodes, role))
        assert getattr(logic.resultNodes(volume), role) is None
        nodes = logic.apply(detection_of(volume), volume)
        assert getattr(nodes, role) is not None
        assert len(node_ids(scene)) == count

    def test_renamed_nodes_are_found_and_keep_their_names(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        before = node_ids(scene)
        volume.SetName("patient one")
        nodes.anomaly_map.SetName("my map")
        logic.apply(detection_of(volume), volume)
        assert node_ids(scene) == before
        assert nodes.anomaly_map.GetName() == "my map"

    def test_two_inputs_keep_separate_results(self, scene, volume, logic):
        other = add_volume(scene, "other", affine=oblique_affine("RAS", 5.0))
        first, second = (
            logic.apply(detection_of(volume), volume),
            logic.apply(detection_of(other, threshold=5.0), other),
        )
        assert not set(first.present()) & set(second.present())
        before = table_rows(second.findings_table)
        logic.setThreshold(volume, 100.0)
        assert table_rows(second.findings_table) == before
        assert first.findings_table.GetNumberOfRows() == 0
        logic.removeResults(volume)
        assert logic.resultNodes(other) == second

    def test_clone_of_a_result_is_not_overwritten(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        clone = scene.CopyNode(nodes.findings_table)
        rows = table_rows(clone)
        logic.setThreshold(volume, 100.0)
        assert table_rows(clone) == rows
        logic.removeResults(volume)
        assert clone.GetScene() is scene

    def test_clone_of_the_input_gets_results_of_its_own(self, scene, volume, logic):
        first = logic.apply(detection_of(volume), volume)
        clone = scene.CopyNode(volume)
        assert not logic.hasResults(clone)
        second = logic.apply(detection_of(clone), clone)
        assert first.anomaly_map is not second.anomaly_map
        assert logic.resultNodes(volume) == first

    def test_removed_results_leave_nothing_behind(self, scene, volume, logic):
        before = node_ids(scene)
        logic.apply(detection_of(volume), volume)
        logic.removeResults(volume)
        assert node_ids(scene) == before


class TestWhileTheEngineRuns:
    def test_result_goes_to_the_submitted_volume(self, scene, volume):
        other = add_volume(scene, "other")
        detect_while(volume, lambda node: node.SetName("renamed"))
        logic = BrainAnomalySceneLogic()
        assert logic.hasResults(volume)
        assert not logic.hasResults(other)

    def test_input_deleted(self, scene, volume):
        before = node_ids(scene) - {volume.GetID()}
        with pytest.raises(ScanError, match="removed from the scene"):
            detect_while(volume, lambda node: (scene.RemoveNode(node.GetDisplayNode()), scene.RemoveNode(node)))
        assert node_ids(scene) <= before

    def test_scene_closed(self, scene, volume):
        with pytest.raises(ScanError, match="removed from the scene"):
            detect_while(volume, lambda node: scene.Clear(0))
        assert not node_ids(scene)

    def test_another_volume_in_its_place(self, scene, volume):
        def replace(node):
            scene.Clear(0)
            assert add_volume(scene, "scan").GetID() == "vtkMRMLScalarVolumeNode1"

        with pytest.raises(ScanError, match="removed from the scene"):
            detect_while(volume, replace)
        assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1

    def test_input_cropped(self, scene, volume):
        before = node_ids(scene)
        with pytest.raises(ScanError, match="was changed"):
            detect_while(volume, lambda node: slicer.util.updateVolumeFromArray(node, np.ones((9, 8, 7))))
        assert node_ids(scene) == before

    def test_input_moved_under_a_transform(self, scene, volume):
        transform = add_transform(scene, np.diag([-1.0, 1.0, -1.0, 1.0]))
        nodes = detect_while(volume, lambda node: node.SetAndObserveTransformNodeID(transform.GetID()))
        assert world_grid(nodes.anomaly_map).same_as(world_grid(volume))

    def test_engine_that_fails_leaves_the_earlier_result(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        before, rows = node_ids(scene), table_rows(nodes.findings_table)

        def fail(scan, detector_name, options, progress):
            raise PreparationError("No brain was found.")

        with pytest.raises(PreparationError):
            BrainAnomalySceneLogic(runEngine=fail).detect(volume)
        assert (node_ids(scene), table_rows(nodes.findings_table)) == (before, rows)

    def test_failure_while_writing_leaves_nothing_behind(self, scene, volume, logic, monkeypatch):
        before = node_ids(scene)
        monkeypatch.setattr(written_result, "write_findings", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logic.apply(detection_of(volume), volume)
        assert node_ids(scene) == before
        assert not scene.IsBatchProcessing()

    def test_engine_gets_scan_name_options_and_progress(self, volume):
        seen = {}

        def run(scan, detector_name, options, progress):
            seen.update(scan=scan, name=detector_name, options=options)
            progress("Working", 0.5)
            return detection_of(volume)

        stages, options = [], DetectionOptions(threshold=2.0)
        logic = BrainAnomalySceneLogic(runEngine=run)
        logic.detect(volume, "tissue", options, lambda *report: stages.append(report), contrast="T1w")
        assert (seen["name"], seen["options"], stages) == ("tissue", options, [("Working", 0.5)])
        assert (seen["scan"].contrast, seen["scan"].name) == ("T1w", "scan")


class TestThreshold:
    @pytest.mark.parametrize(
        ("threshold", "minimum"), [(3.2, 20.0), (5.0, 0.0), (0.1, 20.0), (3.0, 200.0), (99.0, 0.0)]
    )
    def test_segment_and_table_equal_the_engines_findings(self, volume, logic, threshold, minimum):
        detection = detection_of(volume)
        nodes = logic.apply(detection, volume)
        findings = logic.setThreshold(volume, threshold, minimum)
        expected = find(detection.anomaly, detection.scan.grid, TEMPLATE_FROM_WORLD, threshold, minimum)
        np.testing.assert_array_equal(findings.labels, expected.labels)
        np.testing.assert_array_equal(segment_mask(nodes.segmentation, SHAPE), expected.labels > 0)
        assert column(nodes.findings_table, "volume_ml") == [row.volume_ml for row in expected.table]
        centers = np.array([row.centroid_template for row in expected.table]).reshape(-1, 3)
        np.testing.assert_allclose(column(nodes.findings_table, "template_z"), centers[:, 2], atol=1e-9)

    def test_minimum_size_drops_small_regions(self, volume, logic):
        nodes = logic.apply(detection_of(volume, minimum_mm3=0.0), volume)
        assert nodes.findings_table.GetNumberOfRows() == 3
        logic.setThreshold(volume, 3.0, minimumMm3=20.0)
        assert nodes.findings_table.GetNumberOfRows() == 2

    def test_maps_are_not_touched(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        before, image_time = node_ids(scene), nodes.anomaly_map.GetImageData().GetMTime()
        logic.setThreshold(volume, 5.0)
        assert nodes.anomaly_map.GetImageData().GetMTime() == image_time
        assert node_ids(scene) == before

    def test_threshold_there_and_back_gives_the_same(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        rows, mask = table_rows(nodes.findings_table), segment_mask(nodes.segmentation, SHAPE)
        logic.setThreshold(volume, 1.0)
        logic.setThreshold(volume, 3.0)
        assert table_rows(nodes.findings_table) == rows
        np.testing.assert_array_equal(segment_mask(nodes.segmentation, SHAPE), mask)

    def test_new_run_replaces_the_cached_map(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        logic.setThreshold(volume, 5.0)
        logic.apply(detection_of(volume, anomaly=anomaly_map() * 0.0), volume)
        assert logic.setThreshold(volume, 0.5, 0.0).table == ()
        assert nodes.findings_table.GetNumberOfRows() == 0

    def test_map_edited_in_place_is_read_again(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        logic.setThreshold(volume, 5.0)
        slicer.util.arrayFromVolume(nodes.anomaly_map)[:] = 0.0
        slicer.util.arrayFromVolumeModified(nodes.anomaly_map)
        assert logic.setThreshold(volume, 5.0).table == ()

    def test_another_logic_goes_on_with_the_result(self, volume, logic):
        logic.apply(detection_of(volume), volume)
        assert len(BrainAnomalySceneLogic().setThreshold(volume, 5.0).table) == 1

    def test_any_result_node_stands_for_its_input(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        assert len(logic.setThreshold(nodes.segmentation, 5.0).table) == 1

    @pytest.mark.parametrize("role", ["segmentation", "findings_table"])
    def test_deleted_node_comes_back(self, scene, volume, logic, role):
        nodes = logic.apply(detection_of(volume), volume)
        scene.RemoveNode(getattr(nodes, role))
        findings = logic.setThreshold(volume, 5.0)
        nodes = logic.resultNodes(volume)
        np.testing.assert_array_equal(segment_mask(nodes.segmentation, SHAPE), findings.labels > 0)
        assert nodes.findings_table.GetNumberOfRows() == 1

    def test_centroids_follow_a_transform_and_template_positions_stay(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        template = np.array([column(nodes.findings_table, f"template_{axis}") for axis in "xyz"])
        world = np.array([column(nodes.findings_table, f"centroid_{axis}") for axis in "ras"])
        move = np.eye(4)
        move[:3, 3] = (10.0, 20.0, 30.0)
        transform = add_transform(scene, move)
        for node in (volume, nodes.anomaly_map, nodes.segmentation):
            node.SetAndObserveTransformNodeID(transform.GetID())
        logic.setThreshold(volume, 3.0)
        after = np.array([column(nodes.findings_table, f"template_{axis}") for axis in "xyz"])
        np.testing.assert_allclose(after, template, atol=1e-6)
        moved = np.array([column(nodes.findings_table, f"centroid_{axis}") for axis in "ras"])
        np.testing.assert_allclose(moved, world + move[:3, 3:], atol=1e-6)

    def test_without_a_map_the_user_is_told_what_to_do(self, scene, volume, logic):
        with pytest.raises(OptionsError, match="no anomaly map") as refused:
            logic.setThreshold(volume, 3.0)
        assert "Run the detection" in refused.value.remedy

    def test_hardened_transform_does_not_move_template_positions(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        before = column(nodes.findings_table, "template_x")
        turn = np.eye(4)
        turn[:3, :3] = oblique_affine("RAS", 25.0)[:3, :3] / [0.9, 1.1, 2.5]
        for node in (volume, nodes.anomaly_map):
            node.ApplyTransformMatrix(to_vtk(turn))
        logic.setThreshold(volume, 3.0)
        np.testing.assert_allclose(column(nodes.findings_table, "template_x"), before, atol=1e-6)

    def test_result_without_its_input_says_so(self, scene, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        scene.RemoveNode(volume)
        with pytest.raises(OptionsError, match="no longer in the scene"):
            logic.setThreshold(nodes.anomaly_map, 3.0)

    @pytest.mark.parametrize(("threshold", "minimum"), [(float("nan"), 20.0), (3.0, -1.0)])
    def test_impossible_values_are_refused(self, volume, logic, threshold, minimum):
        nodes = logic.apply(detection_of(volume), volume)
        with pytest.raises(OptionsError):
            logic.setThreshold(volume, threshold, minimum)
        assert nodes.findings_table.GetNumberOfRows() == 2

    def test_record_of_another_version_is_refused_in_plain_words(self, volume, logic):
        nodes = logic.apply(detection_of(volume), volume)
        nodes.anomaly_map.SetAttribute("BrainAnomaly.run", '{"threshold": 1}')
        with pytest.raises(OptionsError, match="does not say how"):
            logic.setThreshold(volume, 3.0)


def test_importing_the_door_imports_no_heavy_package():
    import subprocess
    import sys

    library = Path(written_result.__file__).parents[3]
    code = (
        f"import sys; sys.path.insert(0, {str(library)!r}); import BrainAnomalyLib.slicer.scene.logic; "
        "print([name for name in ('torch', 'monai', 'SimpleITK') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_only_scene_and_panel_import_slicer():
    library = Path(written_result.__file__).parents[2]
    for path in library.rglob("*.py"):
        if "slicer" in path.relative_to(library).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not {name.split(".")[0] for name in names} & {"slicer", "vtk", "qt", "ctk"}, path
