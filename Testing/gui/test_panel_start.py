"""Both panels as a whole: their width, the first start, what may be chosen, what is said, and that nothing survives."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from panel_cases import add_brain, add_mask, real_detection, slice_centers, with_result
from scene_cases import examined, followed_up

WIDEST = 400
LONG_NAME = "sub-01_ses-20240101_acq-3D_run-02_FLAIR_space-MNI152_desc-brain_extracted"
LONG_PATH = "/data/a folder with a long name/and one inside it/that nobody would choose/for an export"


@pytest.fixture
def panel(host):
    return host.open("BrainAnomaly", WIDEST)


def open_all(host, panel) -> None:
    """Open every section of a panel."""
    for widget in vars(panel.ui).values():
        if widget.className() in ("ctkCollapsibleButton", "ctkCollapsibleGroupBox"):
            widget.collapsed = False
    host.process_events()


def assert_fits(host, panel) -> None:
    """The panel is not forced to be wider, and what scrolls up and down does not scroll sideways."""
    host.process_events()
    area = panel.ui.scrollArea.qt_object()
    assert host.narrowest(panel.parent) <= WIDEST
    visible = area.minimumSize().width() - area.verticalScrollBar().sizeHint().width()
    assert area.widget().minimumSizeHint().width() <= visible
    for name in ("findingsTable", "modelsTable", "cohortTable"):
        table = getattr(panel.ui, name, None)
        if table is not None and table.visible:
            assert table.qt_object().horizontalScrollBar().maximum() == 0, name


class TestWidth:
    def test_the_detection_panel_before_and_during_a_run(self, host, panel):
        assert_fits(host, panel)
        open_all(host, panel)
        assert_fits(host, panel)
        node = add_brain(LONG_NAME)
        panel.ui.inputSelector.setCurrentNode(node)
        add_mask(node, f"{LONG_NAME} mask")
        assert_fits(host, panel)
        from BrainAnomalyLib.slicer.panel.run.detection_runner import RunProgress

        panel.panel.run.showRunning()
        panel.panel.onProgress(RunProgress("Correcting the intensity drift", 0.4, 4000.0))
        assert_fits(host, panel)

    def test_the_detection_panel_with_a_result_an_export_and_every_model(self, host, panel):
        made = real_detection()
        warnings = ("This scan looks unlike the healthy scans the model has seen. " * 3,)
        unit = {
            **made.detector,
            "unit": "multiples of the healthy residual",
            "title": "A long title " * 6,
        }
        with_result(panel, LONG_NAME, replace(made, warnings=warnings, detector=unit))
        open_all(host, panel)
        host.show(panel, WIDEST)
        assert_fits(host, panel)
        panel.ui.exportFolderEdit.currentPath = LONG_PATH
        host.click(panel.ui.exportNiftiButton)
        assert LONG_PATH in panel.ui.messageLabel.text
        assert_fits(host, panel)
        for row in range(panel.ui.modelsTable.rowCount):
            panel.ui.modelComboBox.currentIndex = row + 1
            panel.ui.modelsTable.setCurrentCell(row, 0)
            assert_fits(host, panel)
        host.click(panel.ui.verifyModelButton)
        assert "SHA-256" in panel.ui.manageLabel.text
        assert_fits(host, panel)

    def test_the_detection_panel_with_several_contrasts_and_an_earlier_date(self, host, panel):
        made = followed_up(examined(real_detection()))
        node = with_result(panel, LONG_NAME, made)
        for number in (1, 2, 3):
            getattr(panel.ui, f"furtherSelector{number}").setCurrentNode(add_brain(f"{LONG_NAME} {number}"))
            host.choose(getattr(panel.ui, f"furtherContrastComboBox{number}"), "FLAIR")
        panel.ui.priorFolderEdit.currentPath = LONG_PATH
        panel.logic.sceneLogic.setComment(node, 1, "A comment that is longer than any line of a table. " * 3)
        panel.panel.results.refresh(node)
        open_all(host, panel)
        host.show(panel, WIDEST)
        assert_fits(host, panel)
        assert LONG_PATH in panel.ui.modelSentenceLabel.text
        panel.ui.priorSelector.setCurrentNode(add_brain(f"{LONG_NAME} earlier"))
        panel.ui.priorFolderEdit.currentPath = ""
        assert "Several contrasts are compared with" in panel.ui.modelSentenceLabel.text
        assert_fits(host, panel)

    def test_the_training_panel(self, host, tmp_path):
        panel = host.open("BrainAnomalyTraining", WIDEST)
        from BrainAnomalyTrainingLib.slicer.pictures import show_picture

        assert_fits(host, panel)
        open_all(host, panel)
        scan = {"subject": "sub-0123", "contrast": "T1w", "spacing_mm": [0.9, 0.9, 1.2], "brain_ml": 1432.1}
        good = {**scan, "status": "ready", "registration": "doubtful"}
        bad = {"subject": "sub-0124", "status": "skipped", "reason": "The scan has the same value everywhere. " * 3}
        panel.panel._cohort.show({"a": good, "b": bad}, Path(LONG_PATH))
        panel.ui.cohortTable.setCurrentCell(0, 1)
        for label in (panel.ui.thumbnailLabel, panel.ui.exampleLabel):
            picture = panel.parent.qt_object().grab().toImage().scaled(900, 700)
            path = str(tmp_path / "picture.png")
            picture.save(path)
            assert show_picture(label, Path(path), "")
        host.show(panel, WIDEST)
        assert panel.ui.thumbnailLabel.height > 200
        assert_fits(host, panel)
        assert panel.ui.thumbnailCaption.text == "sub-0123: T1w, 0.9 × 0.9 × 1.2 mm."
        for name in ("messageLabel", "cohortSummaryLabel", "calibrationLabel", "stageLabel", "exampleCaption"):
            label = getattr(panel.ui, name)
            label.text, label.visible = f"Written to {LONG_PATH}: a sentence that needs several lines. " * 3, True
        for name in ("cohortPathLineEdit", "outputPathLineEdit", "calibratePathLineEdit"):
            getattr(panel.ui, name).currentPath = LONG_PATH
        for index in range(panel.ui.detectorComboBox.count):
            panel.ui.detectorComboBox.currentIndex = index
            assert_fits(host, panel)

    def test_detect_and_the_status_line_do_not_scroll(self, panel):
        inside = set(panel.ui.scrollContents.findChildren("QWidget"))
        for name in ("inputSelector", "detectButton", "progressBar", "stageLabel", "messageLabel"):
            assert getattr(panel.ui, name) not in inside
        assert panel.ui.resultsCollapsibleButton in inside


class TestFirstStart:
    def test_an_empty_scene_shows_three_steps_and_an_example_that_is_there(self, host, panel):
        assert panel.ui.startBox.visible
        assert [line[:2] for line in panel.ui.startLabel.text.splitlines()] == ["1.", "2.", "3."]
        host.click(panel.ui.exampleButton)
        node = panel.panel.parameters.inputVolume
        assert node.GetName() == "Example FLAIR"
        assert panel.ui.detectButton.enabled
        assert "Press 'Detect anomalies'" in panel.ui.messageLabel.text
        assert not panel.ui.startBox.visible
        slicer.mrmlScene.RemoveNode(node)
        assert panel.ui.startBox.visible

    def test_the_model_is_folded_and_said_in_a_sentence(self, host, panel):
        assert panel.ui.modelCollapsibleButton.collapsed
        assert panel.ui.modelSentenceLabel.text == "Model: by the contrast that the scan shows."
        host.choose(panel.ui.contrastComboBox, "T1w")
        assert panel.ui.modelSentenceLabel.text == "Model: Combined, as it suits T1w."
        panel.ui.modelComboBox.currentIndex = 1
        title = panel.panel.models.chosen().title
        assert panel.ui.modelSentenceLabel.text == f"Model: {title}."
        assert "0 bytes" not in panel.ui.modelDescriptionLabel.text
        assert "not measured" not in panel.ui.modelDescriptionLabel.text


class TestChoices:
    def test_no_result_is_offered_as_a_scan_or_a_mask(self, host, panel):
        node = add_brain()
        parts = {"tissue": real_detection().anomaly}
        panel.logic.sceneLogic.apply(replace(real_detection(), components=parts), node)
        mask = add_mask(node)
        for selector in (panel.ui.inputSelector, panel.ui.furtherSelector1):
            assert [selector.nodeFromIndex(index) for index in range(selector.nodeCount())] == [node]
        masks = panel.ui.maskSelector
        assert [masks.nodeFromIndex(index) for index in range(masks.nodeCount())] == [mask]
        copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "the reader's own")
        copy.Copy(panel.logic.resultNodes(node).anomaly_map)
        copy.RemoveNodeReferenceIDs("BrainAnomaly.input")
        assert panel.ui.inputSelector.nodeCount() == 2

    def test_the_results_follow_the_chosen_scan(self, host, panel):
        node = with_result(panel)
        other = add_brain("another scan")
        panel.ui.inputSelector.setCurrentNode(other)
        assert panel.panel.results.node is None
        assert panel.ui.resultLabel.text == "There is no result of 'another scan' yet."
        assert panel.ui.findingsTable.rowCount == 0
        assert not panel.ui.thresholdSpinBox.enabled
        assert not panel.ui.exportNiftiButton.enabled
        host.choose(panel.ui.resultComboBox, node.GetName())
        assert panel.ui.findingsTable.rowCount == 1
        panel.ui.inputSelector.setCurrentNode(node)
        assert panel.panel.results.node is node

    def test_a_refusal_names_the_volume(self, panel):
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Müller T2")
        panel.ui.inputSelector.setCurrentNode(empty)
        assert panel.ui.detectButton.toolTip == "'Müller T2' holds no voxels. Load its data first."


class TestStatusLine:
    def ended(self, panel, detection=None):
        """A run as the runner tells it, on a scan of its own."""
        node = add_brain()
        panel.ui.inputSelector.setCurrentNode(node)
        panel.logic.sceneLogic.apply(detection or real_detection(), node)
        panel.panel.onRunEnded(node, "done", "", "")
        return node

    def test_a_finished_run_says_what_was_found_and_shows_the_largest(self, panel):
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0.0, 0.0, -60.0)
        node = self.ended(panel)
        (finding,) = panel.logic.sceneLogic.findings(node).table
        assert panel.ui.messageLabel.text == f"1 finding, {finding.volume_ml:.2f} mL. The largest is shown."
        assert panel.ui.messageLabel.styleSheet == ""
        assert panel.ui.findingsTable.currentRow() == 0
        for axis in range(3):
            assert any(abs(row[axis] - finding.centroid_ras[axis]) < 2.6 for row in slice_centers())

    def test_warnings_are_pointed_to_and_failures_have_their_color(self, panel):
        node = self.ended(panel, replace(real_detection(), warnings=("The scan is noisy.",)))
        assert panel.ui.messageLabel.text.endswith("Read the warnings below.")
        assert panel.ui.messageLabel.styleSheet == ""
        panel.panel.onRunEnded(node, "failed", "'second' holds no brain.", "")
        assert panel.ui.messageLabel.text == "'second' holds no brain."
        assert "color" in panel.ui.messageLabel.styleSheet

    def test_the_next_action_clears_it(self, host, panel, tmp_path):
        self.ended(panel)
        panel.ui.exportFolderEdit.currentPath = str(tmp_path)
        actions = {
            "threshold": lambda: setattr(panel.ui.thresholdSpinBox, "value", 2.5),
            "size": lambda: setattr(panel.ui.minimumSizeSpinBox, "value", 30.0),
            "views": lambda: host.click(panel.ui.showSlicesButton),
            "table": lambda: host.click(panel.ui.exportCsvButton),
            "scan": lambda: panel.ui.inputSelector.setCurrentNode(add_brain("new")),
        }
        for name, act in actions.items():
            panel.panel.messages.say("The scene was closed; the detection was stopped.", warns=True)
            act()
            assert panel.ui.messageLabel.text == "", name
            assert not panel.ui.messageLabel.visible


class TestReload:
    def test_nothing_of_the_detection_panel_survives_its_cleanup(self, host, panel):
        node = with_result(panel)
        host.click(panel.ui.profilePlotButton)
        host.click(panel.ui.threeUpButton)
        inner = panel.panel
        parts = (inner, inner.runner, inner.views, inner.threshold, inner.findings, inner.profile, inner.export)
        living = [weakref.ref(part) for part in (*parts, inner.models, inner.manager, inner.inputs, inner.messages)]
        inner = parts = None
        host.close_panels()
        gc.collect()
        assert [reference() for reference in living] == [None] * len(living)
        assert panel.logic.hasAnomalyMap(node)

    def test_nothing_of_the_training_panel_survives_its_cleanup(self, host):
        panel = host.open("BrainAnomalyTraining")
        inner = panel.panel
        living = [weakref.ref(part) for part in (inner, inner._settings, inner._cohort, inner._run, inner._messages)]
        inner = None
        host.close_panels()
        gc.collect()
        assert [reference() for reference in living] == [None] * len(living)


@pytest.mark.parametrize("name", ["BrainAnomaly", "BrainAnomalyTraining"])
def test_opening_a_panel_leaves_no_timer_running(host, name):
    import qt

    panel = host.open(name)
    host.process_events()
    timers = [one for one in vars(panel.panel).values() if isinstance(one, qt.QTimer)]
    runner = getattr(panel.panel, "runner", None)
    timers += [runner._timer] if runner is not None else []
    assert timers
    assert not any(timer.active for timer in timers)
    assert np.all([timer.interval > 0 for timer in timers])
