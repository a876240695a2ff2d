"""Draw the pictures of the documentation: the scenes that detections leave, in slice views drawn by slicer-core.

    PYTHONPATH=BrainAnomaly python Testing/scene/make_pictures.py

Writes Resources/Screenshots/*.png and docs/pictures/three_contrasts.png from the scans of Resources/Example, each by
the detector that the program chooses for its contrast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from matplotlib.figure import Figure
from slice_rendering import SliceViews

from BrainAnomalyLib.detectors.registry import detector_for
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.nodes.color_table import legend_of
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import world_grid
from BrainAnomalyLib.slicer.scene.profile_plot import NORMALITY, POSITION, RELATIVE

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
THREE_CONTRASTS = ROOT / "docs" / "pictures" / "three_contrasts.png"
EXAMPLE = {"T1w": "T1.nii.gz", "T2w": "T2.nii.gz", "FLAIR": "FLAIR.nii.gz"}
CAPTION = (
    "A person with a chronic stroke (C-STAR, MIT license). Slice views drawn by slicer-core, not by the application. "
    "For research, not for diagnosis."
)
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
# Letters at the left and right edge of each view, as in the application.
EDGES = {"Axial": ("R", "L"), "Sagittal": ("A", "P"), "Coronal": ("R", "L")}
# The RAS axis that each view looks along.
ACROSS = {"Axial": 2, "Sagittal": 0, "Coronal": 1}
SIZE = (460, 460)
FIELD_OF_VIEW_MM = 205.0


def main() -> None:
    """Run each contrast's detector on its scan and draw every picture."""
    scene = slicer.vtkMRMLScene()
    views = SliceViews(scene, SIZE)
    logic = BrainAnomalySceneLogic()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for contrast, name in EXAMPLE.items():
        node = add_scan(scene, read_scan(ROOT / "Resources" / "Example" / name, contrast))
        nodes = logic.detect(node, detector_for(contrast), progress=lambda stage, part: print(f"{part:4.0%} {stage}"))
        record = logic.record(node)
        print(contrast, record.warnings)
        center = highest(nodes.anomaly_map)
        pictures[contrast] = scan_and_map(views, node, nodes, center)
    draw_three_contrasts(pictures)
    nodes.segmentation.GetDisplayNode().SetVisibility(True)
    draw_overlay(views, node, nodes, center, record)
    draw_comparison(views, node, nodes, center, record)
    draw_profile(nodes, record)


def highest(volume):
    """RAS mm of the map's highest voxel."""
    array = slicer.util.arrayFromVolume(volume)
    k, j, i = np.unravel_index(int(np.argmax(array)), array.shape)
    return [float(value) for value in world_grid(volume).to_world(np.asarray([[i, j, k]]))[0]]


def scan_and_map(views, node, nodes, center):
    """The axial slice of the finding: the scan, and the map with the outlined findings over it."""
    found = []
    for foreground in (None, nodes.anomaly_map):
        nodes.segmentation.GetDisplayNode().SetVisibility(foreground is not None)
        views.show(node, foreground)
        found.append(view_with_legend(views, nodes, "Axial", center, shown=False))
    nodes.segmentation.GetDisplayNode().SetVisibility(False)
    return found


def draw_three_contrasts(pictures):
    """One column for each contrast, the scan above its map."""
    figure = Figure(figsize=(len(pictures) * 3.0, 6.6), facecolor="black")
    place = {"left": 0.0, "right": 1.0, "bottom": 0.05, "top": 0.95, "wspace": 0.01, "hspace": 0.01}
    cells = figure.subplots(2, len(pictures), gridspec_kw=place)
    for column_of_cells, (contrast, both) in zip(cells.T, pictures.items(), strict=True):
        for cell, picture, title in zip(column_of_cells, both, (contrast, ""), strict=True):
            draw_view(cell, picture, "Axial", title)
    figure.text(0.01, 0.015, CAPTION, color="#bbbbbb", fontsize=7)
    write(figure, THREE_CONTRASTS)


def add_scan(scene, scan):
    """A volume node with the scan's voxels and geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scan.name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(scan.array.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(scan.grid.affine))
    node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    brain = scan.array[scan.array > 0]
    display.SetWindowLevelMinMax(0.0, 1.1 * float(np.percentile(brain, 99.0)))
    return node


def column(table, name):
    """Values of one column of a table node."""
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(index) for index in range(array.GetNumberOfValues())]


def draw_overlay(views, node, nodes, center, record):
    """Three directions through the largest finding, heat map and outline over the scan, with the color legend."""
    views.show(node, nodes.anomaly_map)
    figure = new_figure(3)
    for cell, orientation in zip(figure.axes, ORIENTATIONS, strict=True):
        picture = view_with_legend(views, nodes, orientation, center, shown=orientation == "Coronal")
        draw_view(cell, picture, orientation)
    save(figure, "detection_overlay.png", record)


def draw_comparison(views, node, nodes, center, record):
    """Scan, pseudo-healthy reconstruction, and anomaly map over the scan, in the axial slice of the finding."""
    layers = {
        "Scan": (node, None),
        "Pseudo-healthy": (nodes.pseudo_healthy, None),
        "Anomaly map": (node, nodes.anomaly_map),
    }
    figure = new_figure(3)
    for cell, (title, (background, foreground)) in zip(figure.axes, layers.items(), strict=True):
        nodes.segmentation.GetDisplayNode().SetVisibility(foreground is not None)
        views.show(background, foreground)
        picture = view_with_legend(views, nodes, "Axial", center, shown=foreground is not None)
        draw_view(cell, picture, "Axial", title)
    nodes.segmentation.GetDisplayNode().SetVisibility(True)
    save(figure, "pseudo_healthy.png", record)


def view_with_legend(views, nodes, orientation, finding, shown):
    """The slice through the finding, centered on the volume; drawn twice because the legend follows the layers."""
    center = list(world_grid(nodes.anomaly_map).center)
    across = ACROSS[orientation]
    center[across] = finding[across]
    views.picture(orientation, center, FIELD_OF_VIEW_MM)
    views.show_legend_only_in(legend_of(nodes.anomaly_map), *([orientation] if shown else []))
    return views.picture(orientation, center, FIELD_OF_VIEW_MM)


def draw_profile(nodes, record):
    """The slice profile as its chart shows it."""
    figure = Figure(figsize=(7.0, 3.2), facecolor="white")
    cell = figure.subplots()
    series = {NORMALITY: nodes.normality_series, RELATIVE: nodes.mean_anomaly_series}
    for name, node in series.items():
        title = nodes.profile_table.GetColumnTitle(name)
        cell.plot(
            column(nodes.profile_table, POSITION), column(nodes.profile_table, name), color=node.GetColor(), label=title
        )
    cell.set_xlabel(nodes.profile_chart.GetXAxisTitle())
    cell.set_title(f"Slice profile: {record.title}")
    cell.grid(alpha=0.3)
    cell.legend()
    figure.tight_layout()
    figure.savefig(SCREENSHOTS / "slice_profile.png", dpi=90)


def new_figure(columns):
    """A black figure with one cell per view."""
    figure = Figure(figsize=(columns * 4.2, 4.2 + 0.8), facecolor="black")
    place = {"left": 0.0, "right": 1.0, "bottom": 0.08, "top": 0.92, "wspace": 0.01}
    figure.subplots(1, columns, gridspec_kw=place)
    return figure


def draw_view(cell, picture, orientation, title=None):
    """One slice view with its direction and edge letters."""
    cell.imshow(picture, interpolation="nearest")
    cell.set_axis_off()
    cell.set_title(orientation if title is None else title, color="white", fontsize=13)
    for letter, x in zip(EDGES[orientation], (0.02, 0.95), strict=True):
        cell.text(x, 0.06, letter, color="#9fd0ff", fontsize=13, transform=cell.transAxes)


def save(figure, name, record):
    """Caption a picture and write it."""
    text = f"{record.title}, findings above {record.threshold:.2f} outlined.\n{CAPTION}"
    figure.text(0.01, 0.015, text, color="#bbbbbb", fontsize=9)
    write(figure, SCREENSHOTS / name)


def write(figure, path):
    """Write a picture and check that it is small enough for the repository."""
    figure.savefig(path, dpi=100, facecolor=figure.get_facecolor())
    assert path.stat().st_size <= 400_000, f"{path.name} is larger than 400 kB"
    print(path.name, path.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
