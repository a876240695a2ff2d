"""Pictures of a finished detection: axial slices of the scan, its reconstruction, the map and the findings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Array, FloatArray, inverse
from ..io.resampling import resample
from ..preparation.space.grids import grid_named

if TYPE_CHECKING:
    from ..detection import Detection

_ROWS = 4


def overview(detection: Detection, path: Path, named: bool = True) -> None:
    """Write a PNG with the slices that hold the most findings, or evenly spread ones if there are none.

    ``named`` puts the scan's name above it.

    Slices are axial in template space, seen from below as radiologists do (the patient's right on the left).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(detection)
    slices = _chosen_slices(panels["Findings"], panels["Scan"])
    brightest = brightest_of(panels["Scan"])
    figure = Figure(figsize=(3.0 * len(panels), 3.3 * len(slices)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(slices), len(panels), squeeze=False)
    for row, index in zip(axes, slices, strict=True):
        for cell, title in zip(row, panels, strict=True):
            _draw(cell, title, panels, index, detection.findings.threshold, brightest)
    name = f"{detection.scan.name}: " if named else ""
    title = f"{name}{detection.detector['title']}. For research, not for diagnosis."
    figure.suptitle(title, color="w")
    figure.tight_layout()
    figure.savefig(path, dpi=80, facecolor="black")


def _panels(detection: Detection) -> dict[str, Array]:
    """Title to volume on the 1 mm template grid."""
    volumes = {"Scan": np.where(detection.brain_mask, detection.scan.array, 0.0)}
    if detection.pseudo_healthy is not None:
        volumes["Pseudo-healthy"] = detection.pseudo_healthy
    volumes["Anomaly map"] = detection.anomaly
    moved: dict[str, Array] = {name: on_template(volume, detection) for name, volume in volumes.items()}
    moved["Findings"] = on_template(detection.findings.kept().labels > 0, detection) > 0.5
    return moved


def on_template(volume: Array, detection: Detection) -> FloatArray:
    """A volume of the detection's grid (i, j, k) on the 1 mm template grid, linearly interpolated."""
    onto = grid_named("template_1mm")
    moved = inverse(detection.template_from_native)
    return resample(volume.astype(np.float32), detection.scan.grid, onto, world_map=moved)


def brightest_of(scan: Array) -> float:
    """The value of a scan, 0 outside its brain, that pictures show as white."""
    shown = scan[scan > 0]
    return float(np.percentile(shown, 99.5)) if shown.size else 1.0


def _chosen_slices(findings: Array, scan: Array) -> list[int]:
    area = findings.sum(axis=(0, 1))
    if not area.any():
        used = np.flatnonzero((scan != 0).any(axis=(0, 1)))
        return [int(used[int(len(used) * share)]) for share in (0.3, 0.45, 0.6, 0.75)]
    chosen: list[int] = []
    for index in np.argsort(-area, kind="stable"):
        if area[index] and all(abs(int(index) - other) >= 10 for other in chosen):
            chosen.append(int(index))
    return sorted(chosen[:_ROWS])


def _draw(cell: Any, title: str, panels: dict[str, Array], index: int, threshold: float, brightest: float) -> None:
    scan = _view(panels["Scan"], index)
    cell.set_axis_off()
    cell.set_title(title, color="w", fontsize=10)
    if title == "Anomaly map":
        cell.imshow(_view(panels[title], index), cmap="inferno", vmin=0.0, vmax=1.5 * threshold)
        return
    cell.imshow(
        _view(panels[title], index) if title == "Pseudo-healthy" else scan, cmap="gray", vmin=0.0, vmax=brightest
    )
    if title == "Findings" and _view(panels[title], index).any():
        cell.contour(_view(panels[title], index), levels=[0.5], colors=["#ff5555"], linewidths=1.0)


def _view(volume: Array, index: int) -> NDArray[Any]:
    """One axial slice with anterior up and the patient's right on the viewer's left."""
    return np.asarray(volume[::-1, ::-1, index].T)
