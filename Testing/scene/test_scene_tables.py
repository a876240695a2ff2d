"""Findings table and slice profile plot."""

import numpy as np
import slicer
import vtk
from scene_cases import column, detection_of

from BrainAnomalyLib.slicer.scene.profile_plot import MEAN, NORMALITY, POSITION, RELATIVE


def test_findings_table_holds_every_finding_with_its_types(volume, logic):
    detection = detection_of(volume)
    table = logic.apply(detection, volume).findings_table
    assert column(table, "id") == [finding.id for finding in detection.findings.table] == [1, 2]
    assert column(table, "volume_ml") == [finding.volume_ml for finding in detection.findings.table]
    assert column(table, "side") == [finding.side for finding in detection.findings.table]
    assert column(table, "looks") == [finding.looks for finding in detection.findings.table]
    assert set(column(table, "region")) <= {"thalamus", "pallidum"}
    assert column(table, "tissue") == ["deep gray matter"] * 2
    centroids = np.stack([column(table, f"centroid_{axis}") for axis in "ras"], axis=1)
    np.testing.assert_allclose(centroids, [finding.centroid_ras for finding in detection.findings.table])
    positions = np.stack([column(table, f"template_{axis}") for axis in "xyz"], axis=1)
    np.testing.assert_allclose(positions, [finding.centroid_template for finding in detection.findings.table])
    assert table.GetColumnType("id") == vtk.VTK_INT
    assert table.GetColumnType("peak") == vtk.VTK_DOUBLE
    assert table.GetColumnType("side") == vtk.VTK_STRING


def test_regions_follow_the_threshold_by_the_structures_of_the_scan(volume, logic):
    detection = detection_of(volume)
    logic.apply(detection, volume)
    cut = logic.setThreshold(volume, 4.0)
    expected = detection.with_threshold(4.0, 20.0).findings.table
    assert [(row.id, row.region) for row in cut.table] == [(row.id, row.region) for row in expected]
    assert {row.region for row in cut.table} <= {"thalamus", "pallidum"}
    kept = logic.detection(volume)
    np.testing.assert_array_equal(kept.structures, detection.structures)
    assert kept.structures_source == "a test"


def test_columns_have_titles_units_and_descriptions(volume, logic):
    table = logic.apply(detection_of(volume), volume).findings_table
    assert table.GetUseColumnTitleAsColumnHeader()
    assert table.GetColumnTitle("volume_ml") == "Volume (mL)"
    assert table.GetColumnUnitLabel("centroid_r") == "mm"
    assert all(table.GetColumnDescription(table.GetColumnName(index)) for index in range(table.GetNumberOfColumns()))


def test_table_without_findings_keeps_its_columns(volume, logic):
    table = logic.apply(detection_of(volume, threshold=50.0), volume).findings_table
    assert (table.GetNumberOfRows(), table.GetNumberOfColumns()) == (0, 22)
    assert table.GetColumnType("volume_ml") == vtk.VTK_DOUBLE


def test_profile_table_holds_the_profile(volume, logic):
    detection = detection_of(volume)
    table = logic.apply(detection, volume).profile_table
    np.testing.assert_allclose(column(table, POSITION), detection.profile.position_mm)
    np.testing.assert_allclose(column(table, NORMALITY), detection.profile.normality)
    np.testing.assert_allclose(column(table, MEAN), detection.profile.mean_anomaly)
    np.testing.assert_allclose(column(table, RELATIVE), detection.profile.mean_anomaly / 3.0)


def test_chart_plots_normality_and_mean_anomaly_over_template_z(volume, logic):
    nodes = logic.apply(detection_of(volume), volume)
    chart = nodes.profile_chart
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    assert series == [nodes.normality_series, nodes.mean_anomaly_series]
    assert [node.GetTableNode() for node in series] == [nodes.profile_table] * 2
    assert [node.GetXColumnName() for node in series] == [POSITION] * 2
    assert [node.GetYColumnName() for node in series] == [NORMALITY, RELATIVE]
    assert all(node.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter for node in series)


def test_the_chart_has_a_short_title_and_room_for_its_legend(volume, logic):
    nodes = logic.apply(detection_of(volume), volume)
    chart = nodes.profile_chart
    assert chart.GetTitle() == "Slice profile"
    low, high = chart.GetYAxisRange()
    highest = max(max(column(nodes.profile_table, name)) for name in (NORMALITY, RELATIVE))
    assert not chart.GetYAxisRangeAuto()
    assert (low, high) == (0.0, 1.4 * highest)


def test_every_unit_of_a_detector_has_words_and_a_definition():
    from BrainAnomalyLib.detectors.registry import detector_class_named, detector_names
    from BrainAnomalyLib.examination.pooling import UNIT
    from BrainAnomalyLib.slicer.scene.unit_words import short_unit, unit_meaning

    units = {detector_class_named(name).unit for name in detector_names()}
    for unit in (*units, UNIT):
        assert len(short_unit(unit)) <= len("× healthy"), unit
        assert unit_meaning(unit) != f"In {unit}."
    assert short_unit("parsecs") == "parsecs"
    assert unit_meaning("parsecs") == "In parsecs."
    assert short_unit("the square root of what was counted") == "own unit"
    assert unit_meaning("the square root of what was counted") == "In the square root of what was counted."


def test_a_second_run_does_not_add_series(volume, logic):
    for _ in range(3):
        nodes = logic.apply(detection_of(volume), volume)
    assert nodes.profile_chart.GetNumberOfPlotSeriesNodes() == 2
