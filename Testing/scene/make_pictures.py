"""Draw the pictures of the documentation: the scene that a detection leaves, in slice views drawn by slicer-core.

    PYTHONPATH=BrainAnomaly python Testing/scene/make_pictures.py [DETECTOR]

Writes Resources/Screenshots/*.png: for the denoising detector from the demonstration case (the ICBM152 T1w brain with
a synthetic lesion), for the others from a FLAIR-like brain made of the same template's tissues.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import slicer
from matplotlib.figure import Figure
from slice_rendering import SliceViews

from BrainAnomalyLib.cli.demo import demo_case
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.slicer.scene.color_table import legend_of
from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic
from BrainAnomalyLib.slicer.scene.profile_plot import NORMALITY, POSITION, RELATIVE
from BrainAnomalyLib.slicer.scene.scene_volumes import world_grid

SCREENSHOTS = Path(__file__).resolve().parents[2] / "Resources" / "Screenshots"
CAPTION = (
    "Synthetic lesion in the ICBM152 template. Slice views drawn by slicer-core, not by the application. "
    "For research, not for diagnosis."
)
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
# Letters at the left and right edge of each view, as in the application.
EDGES = {"Axial": ("R", "L"), "Sagittal": ("A", "P"), "Coronal": ("R", "L")}
# The RAS axis that each view looks along.
ACROSS = {"Axial": 2, "Sagittal": 0, "Coronal": 1}
SIZE = (460, 460)
FIELD_OF_VIEW_MM = 230.0
LESION_RAS = (28.0, -18.0, 24.0)


def main(detector: str = "denoising") -> None:
    """Run the detector on a case of its contrast and draw every picture."""
    scene = slicer.vtkMRMLScene()
    views = SliceViews(scene, SIZE)
    node = add_scan(scene, demo_case().scan if detector == "denoising" else flair_like_case())
    logic = BrainAnomalySceneLogic()
    nodes = logic.detect(node, detector, progress=lambda stage, fraction: print(f"{fraction:4.0%} {stage}"))
    center = [column(nodes.findings_table, f"centroid_{axis}")[0] for axis in "ras"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    draw_overlay(views, node, nodes, center, logic.record(node))
    if nodes.pseudo_healthy is not None:
        draw_comparison(views, node, nodes, center, logic.record(node))
    draw_profile(nodes, logic.record(node))


def flair_like_case():
    """The template's tissues in the order of FLAIR (gray above white above fluid) with a bright lesion and noise."""
    template, random = load_template("template_1mm"), np.random.default_rng(152)
    tissue = 0.95 * template.gray_matter + 0.75 * template.white_matter + 0.2 * template.cerebrospinal_fluid
    ras = template.grid.to_world(np.argwhere(np.ones(template.grid.shape, dtype=bool)))
    distance = np.linalg.norm((ras - LESION_RAS) * (1.0, 0.7, 1.1), axis=1).reshape(template.grid.shape)
    lesion = 1.0 / (1.0 + np.exp((distance - 8.0) / 2.5))
    image = tissue + 0.6 * lesion + random.normal(0.0, 0.02, tissue.shape)
    image = np.where(template.brain_mask, 600.0 * image, 0.0).astype(np.float32)
    return Scan(image, template.grid, "FLAIR", "FLAIR-like brain with a synthetic lesion")


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
    cell.set_title(title or orientation, color="white", fontsize=13)
    for letter, x in zip(EDGES[orientation], (0.02, 0.95), strict=True):
        cell.text(x, 0.06, letter, color="#9fd0ff", fontsize=13, transform=cell.transAxes)


def save(figure, name, record):
    """Caption a picture, write it, and check that it is small enough for the repository."""
    text = f"{record.title}, findings above {record.threshold:g} outlined. {CAPTION}"
    figure.text(0.01, 0.02, text, color="#bbbbbb", fontsize=9)
    path = SCREENSHOTS / name
    figure.savefig(path, dpi=100, facecolor=figure.get_facecolor())
    assert path.stat().st_size <= 300_000, f"{name} is larger than 300 kB"
    print(path.name, path.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
