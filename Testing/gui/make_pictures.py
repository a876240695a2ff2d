"""Draw the tutorial's pictures: both panels driven in the test host on real runs, and the slice views of the scene.

    PYTHONPATH=BrainAnomaly:BrainAnomalyTraining python Testing/gui/make_pictures.py [detection|examination|training]...

Writes docs/pictures/*.png. The scans are those of Resources/Example (a person with a chronic stroke), the earlier date
is the same FLAIR turned and shifted, the healthy scans are made from the template. No picture shows the 3D Slicer
application, and each says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING / "gui")]

import nibabel
import numpy as np
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
CONTRASTS = ("FLAIR", "T2", "T1")
# In radians: about three degrees.
EARLIER_TURN = 0.05
SLICE_VIEWS = ("Red", "Yellow", "Green")


def main(wanted: list[str]) -> None:
    """Draw the pictures of one or both panels."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAIN_ANOMALY_MODELS"] = str(Path(folder) / "Models")
        for name, draw in _DRAWN.items():
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
    _wait_for_findings(host, panel)
    host.click(panel.ui.showSlicesButton)
    host.click_cell(panel.ui.findingsTable, 0, 2)
    save(host.picture(panel.parent), "3_findings.png")
    save(side_by_side(host, SLICE_VIEWS), "4_slice_views.png")
    host.click(panel.ui.threeUpButton)
    host.click_cell(panel.ui.findingsTable, 0, 2)
    save(side_by_side(host, slicer.app.layoutManager().sliceViewNames()), "5_side_by_side.png")


def draw_examination(host: Any, folder: Path) -> None:
    """Three contrasts of one session together, then the FLAIR alone beside an earlier date."""
    import slicer

    panel = host.open("BrainAnomaly", PANEL_WIDTH)
    ui = panel.ui
    scans = {name: slicer.util.loadVolume(str(EXAMPLE.with_name(f"{name}.nii.gz"))) for name in CONTRASTS}
    ui.inputSelector.setCurrentNode(scans["FLAIR"])
    ui.furtherGroupBox.collapsed = False
    for number, name in enumerate(CONTRASTS[1:], 1):
        getattr(ui, f"furtherSelector{number}").setCurrentNode(scans[name])
    _run(host, panel)
    save(host.picture(panel.parent), "8_several_contrasts.png")
    for number in (1, 2):
        getattr(ui, f"furtherSelector{number}").setCurrentNode(None)
    ui.furtherGroupBox.collapsed, ui.priorGroupBox.collapsed = True, False
    ui.priorSelector.setCurrentNode(earlier_date(folder))
    _run(host, panel)
    host.click(ui.showPriorButton)
    host.click_cell(ui.findingsTable, 0, 2)
    save(host.picture(panel.parent), "9_earlier_date.png")
    save(side_by_side(host, slicer.app.layoutManager().sliceViewNames()), "10_two_dates.png")


def earlier_date(folder: Path) -> Any:
    """The same head in another position and 3 % brighter, as if scanned on another day: nothing has changed in it."""
    import slicer

    moved = folder / "FLAIR earlier.nii.gz"
    image = nibabel.load(EXAMPLE)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(EARLIER_TURN), -np.sin(EARLIER_TURN)], [np.sin(EARLIER_TURN), np.cos(EARLIER_TURN)]]
    turn[:3, 3] = (4.0, -3.0, 2.0)
    nibabel.save(nibabel.Nifti1Image(1.03 * image.get_fdata(dtype=np.float32), turn @ image.affine), moved)
    return slicer.util.loadVolume(str(moved))


def _run(host: Any, panel: Any) -> None:
    host.click(panel.ui.detectButton)
    _wait_for_findings(host, panel)


def _wait_for_findings(host: Any, panel: Any) -> None:
    host.wait(lambda: not panel.panel.runner.running, SECONDS, "the run to end")
    assert panel.ui.findingsTable.rowCount > 0, panel.ui.messageLabel.text


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


_DRAWN = {"detection": draw_detection, "examination": draw_examination, "training": draw_training}

if __name__ == "__main__":
    main(sys.argv[1:])
