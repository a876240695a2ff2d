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
# Of a panel, and of the lines above them, in inches.
_WIDTH, _HEIGHT, _HEADING = 3.0, 3.4, 0.6


def overview(detection: Detection, path: Path, named: bool = True) -> None:
    """Write a PNG with the slices that hold the most findings, or evenly spread ones if there are none.

    ``named`` puts the scan's name above it.

    Slices are axial in template space, seen from below as radiologists do (the patient's right on the left).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    findings = on_template(detection.findings.kept().labels > 0, detection) > 0.5
    slices = _chosen_slices(findings, detection)
    panels = {**_panels(detection, slices), "Findings": [findings[:, :, index] for index in slices]}
    figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT * len(slices) + _HEADING), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(slices), len(panels), squeeze=False)
    brightest = brightest_of(np.where(detection.brain_mask, detection.scan.array, 0.0))
    for place, row in enumerate(axes):
        for cell, title in zip(row, panels, strict=True):
            _draw(cell, title, {name: views[place] for name, views in panels.items()}, detection, brightest)
    for cell, title in zip(axes[0], panels, strict=True):
        cell.set_title(title, color="w", fontsize=10)
    name = f"{detection.scan.name}: " if named else ""
    title = f"{name}{detection.detector['title']}. For research, not for diagnosis."
    figure.suptitle(title, color="w", y=1.0 - 0.3 * _HEADING / figure.get_figheight(), va="center")
    top = 1.0 - _HEADING / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.02, hspace=0.02)
    figure.savefig(path, dpi=80, facecolor="black")


def _panels(detection: Detection, slices: list[int]) -> dict[str, list[Array]]:
    """Title to the axial slices (i, j) of the 1 mm template grid."""
    volumes = {"Scan": np.where(detection.brain_mask, detection.scan.array, 0.0).astype(np.float32)}
    if detection.pseudo_healthy is not None:
        volumes["Pseudo-healthy"] = detection.pseudo_healthy
    volumes["Anomaly map"] = detection.anomaly
    return {name: [_slice(volume, detection, index) for index in slices] for name, volume in volumes.items()}


def _slice(volume: FloatArray, detection: Detection, index: int) -> FloatArray:
    """One axial slice (i, j) of the 1 mm template grid."""
    whole = grid_named("template_1mm")
    onto = whole.part((slice(0, whole.shape[0]), slice(0, whole.shape[1]), slice(index, index + 1)))
    moved = inverse(detection.template_from_native)
    return np.asarray(resample(volume, detection.scan.grid, onto, world_map=moved)[:, :, 0])


def on_template(volume: Array, detection: Detection) -> FloatArray:
    """A volume of the detection's grid (i, j, k) on the 1 mm template grid, linearly interpolated."""
    onto = grid_named("template_1mm")
    moved = inverse(detection.template_from_native)
    return resample(volume.astype(np.float32), detection.scan.grid, onto, world_map=moved)


def brightest_of(scan: Array) -> float:
    """The value of a scan, 0 outside its brain, that pictures show as white."""
    shown = scan[scan > 0]
    return float(np.percentile(shown, 99.5)) if shown.size else 1.0


def _chosen_slices(findings: Array, detection: Detection) -> list[int]:
    area = findings.sum(axis=(0, 1))
    if not area.any():
        used = np.flatnonzero((on_template(detection.brain_mask, detection) > 0.5).any(axis=(0, 1)))
        return [int(used[int(len(used) * share)]) for share in (0.3, 0.45, 0.6, 0.75)]
    chosen: list[int] = []
    for index in np.argsort(-area, kind="stable"):
        if area[index] and all(abs(int(index) - other) >= 10 for other in chosen):
            chosen.append(int(index))
    return sorted(chosen[:_ROWS])


def _draw(cell: Any, title: str, views: dict[str, Array], detection: Detection, brightest: float) -> None:
    cell.set_axis_off()
    if title == "Anomaly map":
        cell.imshow(_view(views[title]), cmap="inferno", vmin=0.0, vmax=1.5 * detection.findings.threshold)
        return
    cell.imshow(_view(views[title if title == "Pseudo-healthy" else "Scan"]), cmap="gray", vmin=0.0, vmax=brightest)
    if title == "Findings" and views[title].any():
        cell.contour(_view(views[title]), levels=[0.5], colors=["#ff5555"], linewidths=1.0)


def _view(plane: Array) -> NDArray[Any]:
    """An axial slice (i, j) with anterior up and the patient's right on the viewer's left."""
    return np.asarray(plane[::-1, ::-1].T)
