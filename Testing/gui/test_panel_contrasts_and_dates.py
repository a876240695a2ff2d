"""Several contrasts, an earlier date, comments and steps of a review in the panel."""

from __future__ import annotations

import csv
import json
import tempfile

import numpy as np
import pytest
import slicer
from panel_cases import (
    GRID,
    LESION_CENTER,
    add_brain,
    add_mask,
    add_volume,
    brain,
    choose_model,
    detect,
    real_detection,
    with_result,
)
from scene_cases import examined, followed_up
from test_panel_results import save_scene

from BrainAnomalyLib.output.folder import write_results
from BrainAnomalyLib.slicer.scene.nodes.placement import PRIOR
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import world_grid
from synthetic import flair_brain, grid_of

KEEP, NUMBER, PEAK, WHERE, CHANGE, PLACE = 0, 1, 3, 4, 5, 6
BEFORE_GRID = grid_of((70, 90, 80), (2.5, 2.5, 2.5), "RAS", degrees=-6.0, center=(3.0, -15.0, 6.0))


@pytest.fixture
def panel(host, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return host.open("BrainAnomaly", 400)


@pytest.fixture
def node(panel):
    """The brain with a result of three contrasts that was followed up, and the scans that belong to it."""
    node = add_brain()
    others = [add_brain(name) for name in ("T2", "T1", "before")]
    made = followed_up(examined(real_detection()), real_detection().findings.threshold)
    panel.logic.sceneLogic.apply(made, node, others[:2], others[2])
    panel.ui.inputSelector.setCurrentNode(node)
    panel.panel.results.refresh(node)
    return node


@pytest.fixture
def logic(panel):
    return panel.logic.sceneLogic


def table_texts(panel, column: int) -> list[str]:
    table = panel.ui.findingsTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def request(panel):
    return panel.panel.inputs.request(*panel.panel.models.engine_choice())


class TestChoice:
    def test_first_there_is_a_scan_and_detect_and_nothing_of_contrasts_and_dates(self, panel):
        panel.ui.inputSelector.setCurrentNode(add_brain())
        assert panel.ui.furtherGroupBox.collapsed
        assert panel.ui.priorGroupBox.collapsed
        assert not panel.ui.showPriorButton.visible
        assert panel.ui.detectButton.enabled
        assert request(panel).further == ()
        assert request(panel).prior is request(panel).prior_result is None

    def test_several_contrasts_are_one_request_with_what_each_shows(self, host, panel):
        choose_model(host, panel)
        first, second, third = (add_brain(name) for name in ("first", "second", "third"))
        panel.ui.inputSelector.setCurrentNode(first)
        assert request(panel).detector == "tissue"
        panel.ui.furtherSelector1.setCurrentNode(second)
        panel.ui.furtherSelector3.setCurrentNode(third)
        host.choose(panel.ui.furtherContrastComboBox3, "T1w")
        made = request(panel)
        assert made.node.GetName() == "first"
        assert [(one.node.GetName(), one.contrast) for one in made.further] == [("second", "unknown"), ("third", "T1w")]
        assert made.detector is made.package is None
        assert panel.ui.modelSentenceLabel.text == "3 scans together, each by the model for its contrast."

    def test_what_cannot_be_taken_is_said_above_the_button(self, panel, tmp_path):
        first, second = add_brain("first"), add_brain("second")
        panel.ui.inputSelector.setCurrentNode(first)
        said = panel.ui.modelSentenceLabel
        panel.ui.furtherSelector1.setCurrentNode(first)
        assert said.text == panel.ui.detectButton.toolTip == "'first' is chosen twice. Choose each scan once."
        assert not panel.ui.detectButton.enabled
        panel.ui.furtherSelector1.setCurrentNode(None)
        assert panel.ui.detectButton.enabled
        panel.ui.priorSelector.setCurrentNode(first)
        assert said.text.startswith("'first' is chosen twice.")
        panel.ui.priorSelector.setCurrentNode(second)
        panel.ui.priorFolderEdit.currentPath = str(tmp_path)
        assert said.text.startswith("Choose the scan of the earlier date or the folder of its result")
        panel.ui.priorSelector.setCurrentNode(None)
        assert said.text == f"The folder '{tmp_path}' of the earlier date holds no result."
        panel.ui.priorFolderEdit.currentPath = ""
        assert panel.ui.detectButton.enabled
        panel.ui.priorSelector.setCurrentNode(second)
        panel.ui.furtherSelector1.setCurrentNode(add_brain("third"))
        assert "detect in those first, with 'second' as the scan." in said.text
        assert not panel.ui.detectButton.enabled

    def test_a_result_is_offered_nowhere_and_refused_where_a_script_chooses_it(self, panel, node, logic):
        anomaly_map = logic.resultNodes(node).anomaly_map
        for name in ("furtherSelector1", "priorSelector"):
            hidden = getattr(panel.ui, name).sortFilterProxyModel().hiddenNodeIDs
            assert anomaly_map.GetID() in hidden
        panel.panel.parameters.furtherVolume1 = anomaly_map
        assert "is a result. Choose the scan it was computed from." in panel.ui.modelSentenceLabel.text

    def test_the_results_of_an_earlier_session_go_to_the_worker(self, panel, node, tmp_path):
        now = add_brain("now")
        panel.ui.inputSelector.setCurrentNode(now)
        panel.ui.furtherSelector1.setCurrentNode(add_brain("now T1"))
        panel.ui.priorSelector.setCurrentNode(node)
        assert panel.ui.detectButton.enabled
        made = request(panel)
        assert made.prior is node
        assert [one["contrast"] for one in made.prior_result.detector["contrasts"]] == ["FLAIR", "T2w", "T1w"]
        assert made.prior_result.brain_mask.mean() == pytest.approx(real_detection().brain_mask.mean(), rel=0.02)
        panel.ui.priorSelector.setCurrentNode(None)
        panel.ui.priorFolderEdit.currentPath = str(write_results(real_detection(), tmp_path / "out", pictures=False))
        assert panel.ui.detectButton.enabled
        assert request(panel).prior_result == tmp_path / "out"


class TestTable:
    def test_it_says_where_it_is_seen_and_what_changed(self, panel, node, logic):
        rows = logic.findings(node).table
        assert {row.change for row in rows} == {"new", "gone"}
        table = panel.ui.findingsTable
        assert [table.isColumnHidden(column) for column in (PEAK, WHERE, CHANGE, PLACE)] == [True, False, False, True]
        new = next(row for row in rows if row.change == "new")
        assert table_texts(panel, CHANGE)[new.id - 1] == f"new\n+{new.change_ml:.2f} mL"
        assert table_texts(panel, WHERE)[new.id - 1] == f"{new.where}\nFLAIR +, T1w -"
        assert table.rowHeight(new.id - 1) >= 2 * table.qt_object().fontMetrics().height()
        said = panel.ui.findingsLabel.text
        assert f"Since 'May': 1 new, {len(rows) - 1} gone; " in said
        assert f"{sum(row.change_ml for row in rows):+.2f} mL" in said

    def test_a_plain_result_has_its_plain_table(self, panel, node):
        with_result(panel, "plain")
        table = panel.ui.findingsTable
        assert [table.isColumnHidden(column) for column in (PEAK, WHERE, CHANGE, PLACE)] == [False, False, True, False]
        assert "Since" not in panel.ui.findingsLabel.text
        assert not panel.ui.showPriorButton.visible

    def test_it_is_sorted_by_how_much_changed(self, host, panel, node, logic):
        panel.panel.findings.onSort(CHANGE)
        amounts = {str(row.id): abs(row.change_ml) for row in logic.findings(node).table}
        shown = [amounts[number] for number in table_texts(panel, NUMBER)]
        assert shown == sorted(shown, reverse=True)


class TestViews:
    def test_both_dates_and_the_subtraction_stand_side_by_side_in_one_space(self, host, panel, node, logic):
        before = slicer.app.layoutManager().layout
        host.click(panel.ui.showPriorButton)
        names = slicer.app.layoutManager().sliceViewNames()
        widgets = [slicer.app.layoutManager().sliceWidget(name) for name in names]
        layers = [widget.mrmlSliceCompositeNode() for widget in widgets]
        nodes, earlier = logic.resultNodes(node), logic.otherScans(node)[PRIOR]
        assert earlier.GetName() == "before"
        shown = [one.GetBackgroundVolumeID() for one in layers]
        assert shown == [node.GetID(), earlier.GetID(), node.GetID()]
        assert [one.GetForegroundVolumeID() for one in layers] == [None, None, nodes.prior["difference"].GetID()]
        assert all(one.GetLinkedControl() for one in layers)
        assert panel.ui.mapComboBox.currentText == "Subtraction"
        fields = {tuple(np.round(widget.mrmlSliceNode().GetFieldOfView(), 3)) for widget in widgets}
        assert len(fields) == 1
        assert panel.ui.showPriorButton.checked
        assert not panel.ui.threeUpButton.checked
        host.click(panel.ui.threeUpButton)
        assert panel.ui.threeUpButton.checked
        assert not panel.ui.showPriorButton.checked
        host.click(panel.ui.threeUpButton)
        assert slicer.app.layoutManager().layout == before

    def test_without_the_earlier_scan_its_image_in_the_result_is_shown(self, host, panel, node, logic):
        slicer.mrmlScene.RemoveNode(logic.otherScans(node)[PRIOR])
        host.click(panel.ui.showPriorButton)
        widget = slicer.app.layoutManager().sliceWidget(slicer.app.layoutManager().sliceViewNames()[1])
        kept = logic.resultNodes(node).prior["scan"].GetID()
        assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == kept

    def test_every_contrast_has_its_evidence_among_the_maps(self, panel, node):
        box = panel.ui.mapComboBox
        names = [box.itemText(index) for index in range(box.count)]
        assert names == ["Anomaly map", "FLAIR", "T1w", "T2w", "joint", "Subtraction"]


class TestReview:
    def test_a_comment_is_typed_shown_and_stays_with_its_finding(self, host, panel, node, logic):
        edit = panel.ui.commentEdit
        panel.ui.findingsTable.setCurrentCell(0, NUMBER)
        assert edit.enabled
        host.type(edit, "vessel?")
        host.press(edit, "Return")
        number = int(table_texts(panel, NUMBER)[0])
        assert logic.comments(node) == {number: "vessel?"}
        assert table_texts(panel, WHERE)[0].endswith("\n“vessel?”")
        host.press(panel.ui.findingsTable, "Down")
        assert edit.text == ""
        host.press(panel.ui.findingsTable, "Up")
        assert edit.text == "vessel?"

    def test_steps_go_back_and_forth(self, host, panel, node, logic):
        import qt

        ui, table = panel.ui, panel.ui.findingsTable
        assert not ui.undoButton.enabled
        assert not ui.redoButton.enabled
        table.setCurrentCell(0, NUMBER)
        table.item(0, KEEP).setCheckState(qt.Qt.Unchecked)
        host.type(ui.commentEdit, "vessel")
        host.press(ui.commentEdit, "Return")
        host.click(ui.undoButton)
        assert ui.commentEdit.text == ""
        assert table.item(0, KEEP).checkState() == qt.Qt.Unchecked
        assert table.item(0, WHERE).font().strikeOut()
        host.click(ui.undoButton)
        assert table.item(0, KEEP).checkState() == qt.Qt.Checked
        assert not table.item(0, WHERE).font().strikeOut()
        assert not ui.undoButton.enabled
        host.click(ui.redoButton)
        host.click(ui.redoButton)
        assert ui.commentEdit.text == "vessel"
        assert len(logic.rejected(node)) == 1
        assert not ui.redoButton.enabled
        host.click(ui.keepAllButton)
        assert logic.rejected(node) == frozenset()
        host.click(ui.undoButton)
        assert len(logic.rejected(node)) == 1

    def test_a_new_step_ends_what_was_taken_back_and_a_new_result_everything(self, host, panel, node, logic):
        import qt

        table = panel.ui.findingsTable
        table.item(0, KEEP).setCheckState(qt.Qt.Unchecked)
        host.click(panel.ui.undoButton)
        table.item(1, KEEP).setCheckState(qt.Qt.Unchecked)
        assert not panel.ui.redoButton.enabled
        with_result(panel, "other")
        assert not panel.ui.undoButton.enabled
        panel.panel.results.refresh(node)
        assert panel.ui.undoButton.enabled
        logic.apply(real_detection(), node)
        panel.panel.results.refresh(node)
        assert not panel.ui.undoButton.enabled

    def test_exports_say_what_the_reader_said(self, host, panel, node, logic, tmp_path):
        rows = logic.findings(node).table
        logic.setComment(node, 1, 'vessel, "sure"')
        logic.setKept(node, 1, False)
        panel.ui.exportCollapsibleButton.collapsed = False
        panel.ui.exportFolderEdit.currentPath = str(tmp_path)
        for button in (panel.ui.exportCsvButton, panel.ui.exportJsonButton, panel.panel.export.formats["html"]):
            host.click(button)
        with (tmp_path / "Müller_FLAIR_findings.csv").open(encoding="utf-8", newline="") as stream:
            table = list(csv.DictReader(stream))
        assert [row["review"] for row in table] == ["rejected", *["kept"] * (len(rows) - 1)]
        assert table[0]["comment"] == 'vessel, "sure"'
        assert [row["change"] for row in table] == [row.change for row in rows]
        assert [row["contrasts"] for row in table] == [row.contrasts for row in rows]
        content = json.loads((tmp_path / "Müller_FLAIR_findings.json").read_text(encoding="utf-8"))
        first = content["findings"][0]
        assert (first["review"], first["comment"], first["change"]) == ("rejected", 'vessel, "sure"', rows[0].change)
        assert content["prior"]["name"] == "May"
        page = (tmp_path / "Müller_FLAIR_report.html").read_text(encoding="utf-8")
        assert "<td>rejected</td><td>vessel, &quot;sure&quot;</td>" in page
        assert "1 more were rejected by the reader" in page


def test_a_saved_scene_brings_all_of_it_back(host, panel, node, logic, tmp_path):
    panel.ui.furtherSelector1.setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("T2"))
    host.choose(panel.ui.furtherContrastComboBox1, "T2w")
    panel.ui.priorSelector.setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("before"))
    logic.setComment(node, 1, "vessel")
    panel.panel.results.refresh(node)
    said = [table_texts(panel, column) for column in (NUMBER, WHERE, CHANGE)]
    summary = panel.ui.findingsLabel.text
    save_scene(tmp_path / "scene.mrml")
    slicer.mrmlScene.Clear(0)
    assert panel.ui.furtherGroupBox.collapsed
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    assert [table_texts(panel, column) for column in (NUMBER, WHERE, CHANGE)] == said
    assert panel.ui.findingsLabel.text == summary
    parameters = panel.panel.parameters
    assert (parameters.furtherVolume1.GetName(), parameters.furtherContrast1) == ("T2", "T2w")
    assert parameters.priorVolume.GetName() == "before"
    assert not panel.ui.furtherGroupBox.collapsed
    assert not panel.ui.priorGroupBox.collapsed
    host.click(panel.ui.showPriorButton)
    widget = slicer.app.layoutManager().sliceWidget(slicer.app.layoutManager().sliceViewNames()[1])
    shown = slicer.mrmlScene.GetNodeByID(widget.mrmlSliceCompositeNode().GetBackgroundVolumeID())
    assert shown.GetName() == "before"


def test_a_run_with_an_earlier_scan_says_that_the_lesion_is_new_and_lays_the_dates_on_each_other(host, panel, logic):
    node = add_brain()
    earlier = add_volume(flair_brain(BEFORE_GRID, lesion=False), "earlier", BEFORE_GRID.affine)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.maskSelector.setCurrentNode(add_mask(node))
    panel.ui.priorSelector.setCurrentNode(earlier)
    choose_model(host, panel)
    detect(host, panel)
    rows = logic.findings(node).table
    added = [row for row in rows if row.change == "new"]
    assert f"Since 'earlier': {len(added)} new" in panel.ui.messageLabel.text
    assert rows[0] is added[0]
    assert np.linalg.norm(np.asarray(rows[0].centroid_ras) - LESION_CENTER) < 5.0
    # Noise of two scans leaves small changes on such a grid; nine tenths of what is new are the lesion.
    assert rows[0].change_ml > 0.9 * sum(row.change_ml for row in added)
    assert logic.otherScans(node) == {PRIOR: earlier}
    # Both lie where the head is: the transform moves by what masks and noise differ.
    moved = world_grid(earlier).affine @ np.linalg.inv(BEFORE_GRID.affine)
    np.testing.assert_allclose(moved, np.eye(4), atol=2.0)
    assert panel.ui.showPriorButton.visible


def test_scans_that_are_not_of_one_head_are_refused_by_their_names(host, panel, logic):
    node = add_brain("Müller FLAIR")
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.furtherSelector1.setCurrentNode(add_volume((brain() > 0.0).astype(np.float32), "Ömer's mask"))
    detect(host, panel)
    assert panel.ui.messageLabel.text.startswith("'Ömer's mask' has two values only")
    assert not panel.logic.hasAnomalyMap(node)


def test_the_grid_of_the_earlier_date_is_another():
    assert BEFORE_GRID.shape != GRID.shape
