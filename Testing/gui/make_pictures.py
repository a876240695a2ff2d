"""Draw the tutorial's pictures: both panels driven in the test host on real runs, and the slice views of the scene.

    PYTHONPATH=BrainAnomaly:BrainAnomalyTraining python Testing/gui/make_pictures.py [detection] [training]

Writes docs/pictures/*.png. The scan is the FLAIR of Resources/Example (a person with a chronic stroke), the healthy
scans are made from the template. No picture shows the 3D Slicer application, and each says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING / "gui")]

from healthy_folder import make_healthy_folder
from host import installed
from PySide6 import QtCore, QtGui

PICTURES = TESTING.parent / "docs" / "pictures"
EXAMPLE = TESTING.parent / "Resources" / "Example" / "FLAIR.nii.gz"
CAPTION = "test host: Qt 6 stand-ins for CTK widgets, views drawn by slicer-core; not the 3D Slicer application"
LARGEST_BYTES = 300_000
PANEL_WIDTH = 420
SECONDS = 1500.0
TRAINING_STEPS = 60
SLICE_VIEWS = ("Red", "Yellow", "Green")


def main(wanted: list[str]) -> None:
    """Draw the pictures of one or both panels."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAIN_ANOMALY_MODELS"] = str(Path(folder) / "Models")
        for name, draw in {"detection": draw_detection, "training": draw_training}.items():
            if not wanted or name in wanted:
                with installed() as host:
                    draw(host, Path(folder))
                    assert host.record.problems == [], host.record.problems


def draw_detection(host: Any, folder: Path) -> None:
    """The detection panel before, during and after a run on the example, with the views it leaves."""
    import slicer

    for name in SLICE_VIEWS:
        # Color legends come only into views that are there before them.
        host.slice_view(name)
    panel = host.open("BrainAnomaly", PANEL_WIDTH)
    node = slicer.util.loadVolume(str(EXAMPLE))
    panel.ui.inputSelector.setCurrentNode(node)
    save(host.picture(panel.parent), "1_choose_a_scan.png")
    host.click(panel.ui.detectButton)
    host.wait(lambda: "%" in panel.ui.progressBar.text and panel.ui.progressBar.value > 0, SECONDS, "the first stage")
    save(host.picture(panel.parent), "2_run.png")
    host.wait(lambda: not panel.panel.runner.running, SECONDS, "the run to end")
    assert panel.ui.findingsTable.rowCount > 0, panel.ui.messageLabel.text
    host.click(panel.ui.showSlicesButton)
    host.click_cell(panel.ui.findingsTable, 0, 2)
    save(host.picture(panel.parent), "3_findings.png")
    save(side_by_side(host, SLICE_VIEWS), "4_slice_views.png")
    host.click(panel.ui.threeUpButton)
    host.click_cell(panel.ui.findingsTable, 0, 2)
    save(side_by_side(host, slicer.app.layoutManager().sliceViewNames()), "5_side_by_side.png")


def draw_training(host: Any, folder: Path) -> None:
    """The training panel after the check of a small cohort, and after a short training."""
    panel = host.open("BrainAnomalyTraining", PANEL_WIDTH)
    ui, monitor = panel.ui, lambda: panel.panel.monitor
    ui.cohortPathLineEdit.currentPath = str(make_healthy_folder(folder / "healthy"))
    host.choose(ui.detectorComboBox, "Scale-space autoencoder")
    host.choose(ui.deviceComboBox, "cpu")
    ui.stepsSpinBox.value = TRAINING_STEPS
    ui.outputPathLineEdit.currentPath = str(folder)
    host.type(ui.packageNameLineEdit, "my_scanner_t1w")
    for button in (ui.checkCohortButton, ui.startButton):
        host.click(button)
        host.wait(lambda: not monitor().phase.is_alive, SECONDS, "the run to end")
        assert monitor().phase.value == "finished", ui.messageLabel.text
        if button == ui.checkCohortButton:
            host.click_cell(ui.cohortTable, 0, 1)
            save(shown(host, panel, folder), "6_cohort_check.png")
    save(shown(host, panel, folder), "7_training.png")


def shown(host: Any, panel: Any, folder: Path) -> QtGui.QImage:
    """The panel, with the folder's name shortened so that pictures do not name the machine they were made on."""
    edits = (panel.ui.cohortPathLineEdit, panel.ui.outputPathLineEdit)
    before = [edit.currentPath for edit in edits]
    for edit in edits:
        edit.blockSignals(True)
        edit.currentPath = edit.currentPath.replace(str(folder), "/data")
    panel.ui.messageLabel.text = panel.ui.messageLabel.text.replace(str(folder), "/data")
    image = host.picture(panel.parent)
    for edit, path in zip(edits, before, strict=True):
        edit.currentPath = path
        edit.blockSignals(False)
    return image


def side_by_side(host: Any, names: tuple[str, ...]) -> QtGui.QImage:
    """The named slice views in a row, each drawn twice because the color legend follows the layers."""
    views = []
    for name in names:
        host.slice_view(name).draw()
        pixels = host.slice_view(name).draw()
        height, width, _ = pixels.shape
        views.append(QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy())
    row = QtGui.QImage(sum(view.width() for view in views), views[0].height(), QtGui.QImage.Format.Format_RGB888)
    painter = QtGui.QPainter(row)
    for index, view in enumerate(views):
        painter.drawImage(index * view.width(), 0, view)
    painter.end()
    return row


def save(image: QtGui.QImage, name: str) -> None:
    """Write the picture with the caption under it, and check that it is small enough for the repository."""
    font = QtGui.QFont()
    font.setPixelSize(11)
    box = QtCore.QRect(6, 0, image.width() - 12, 200)
    flags = int(QtCore.Qt.TextFlag.TextWordWrap.value)
    needed = QtGui.QFontMetrics(font).boundingRect(box, flags, CAPTION).height() + 8
    captioned = QtGui.QImage(image.width(), image.height() + needed, QtGui.QImage.Format.Format_RGB888)
    captioned.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(captioned)
    painter.drawImage(0, 0, image)
    painter.setFont(font)
    painter.setPen(QtGui.QColor("#555555"))
    painter.drawText(box.translated(0, image.height() + 4), flags, CAPTION)
    painter.end()
    captioned.save(str(PICTURES / name), "PNG", 0)
    assert (PICTURES / name).stat().st_size <= LARGEST_BYTES, f"{name} is larger than {LARGEST_BYTES // 1000} kB"
    print(name, (PICTURES / name).stat().st_size // 1000, "kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
