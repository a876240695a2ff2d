"""Key pictures of a finding: three planes of the scan with its outline, and of the pseudo-healthy scan below."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..io.geometry import Array, MaskArray
from .overview import brightest_of, on_template

if TYPE_CHECKING:
    from ..detection import Detection
    from ..findings.table import Finding

# The largest ones; the table holds all.
MOST_PICTURES = 12
_PLANES = ("sagittal", "coronal", "axial")
_SIZE_INCHES, _DPI = 2.2, 110
# Voxels of 1 mm about the brain.
_ROOM = 4


class KeyPicture(NamedTuple):
    """A PNG of one finding; ``planes`` says in words which rows it has."""

    finding: Finding
    png: bytes
    planes: str


def key_pictures(detection: Detection, most: int = MOST_PICTURES) -> list[KeyPicture]:
    """One picture for each of the largest findings, in the order of the table.

    Planes are those of the template through the finding's largest cross-section; the patient's right is on the left of
    axial and coronal planes, the front on the left of sagittal ones.
    """
    table = sorted(detection.findings.kept().table, key=lambda finding: -finding.volume_ml)[:most]
    if not table:
        return []
    volumes = {"scan": on_template(np.where(detection.brain_mask, detection.scan.array, 0.0), detection)}
    if detection.pseudo_healthy is not None:
        volumes["pseudo-healthy"] = on_template(detection.pseudo_healthy, detection)
    brightest = brightest_of(volumes["scan"])
    words = "scan with the finding's outline" + ("; below, the pseudo-healthy scan" if len(volumes) > 1 else "")
    return [KeyPicture(finding, _png(finding, detection, volumes, brightest), words) for finding in table]


def _png(finding: Finding, detection: Detection, volumes: dict[str, Array], brightest: float) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inside = on_template(detection.findings.labels == finding.id, detection) > 0.25
    place = _largest_sections(inside, finding, detection)
    figure = Figure(figsize=(3 * _SIZE_INCHES, len(volumes) * _SIZE_INCHES), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(volumes), 3, squeeze=False)
    box = _box(volumes["scan"])
    for row, (name, volume) in zip(axes, volumes.items(), strict=True):
        for cell, axis in zip(row, (2, 1, 0), strict=True):
            _draw(cell, _plane(volume, axis, place[axis], box), brightest, _PLANES[axis])
            outline = _plane(inside, axis, place[axis], box)
            if name == "scan" and outline.any():
                cell.contour(outline, levels=[0.5], colors=["#ff5555"], linewidths=1.0)
    figure.subplots_adjust(0.0, 0.0, 1.0, 1.0, 0.01, 0.01)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=_DPI, facecolor="black", format="png")
    return stream.getvalue()


def _largest_sections(inside: MaskArray, finding: Finding, detection: Detection) -> list[int]:
    """Along each axis of the 1 mm template grid where the finding is widest, or its center where none of it is left."""
    from ..preparation.space.grids import grid_named

    center = grid_named("template_1mm").to_index(np.asarray(finding.centroid_template)[None])[0]
    found = []
    for axis, size in enumerate(inside.shape):
        area = inside.sum(axis=tuple(other for other in range(3) if other != axis))
        found.append(int(area.argmax()) if area.any() else int(np.clip(round(center[axis]), 0, size - 1)))
    return found


def _box(scan: Array) -> tuple[slice, slice, slice]:
    """Where the brain lies, with some room; all if there is none."""
    ranges = []
    for axis in range(3):
        used = np.flatnonzero((scan != 0).any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append(slice(max(0, used[0] - _ROOM), used[-1] + _ROOM + 1) if used.size else slice(None))
    return ranges[0], ranges[1], ranges[2]


def _plane(volume: Array, axis: int, index: int, box: tuple[slice, slice, slice]) -> Array:
    """One plane as radiologists see it: the patient's right, or front, on the viewer's left, and up."""
    plane = np.take(volume, index, axis=axis)[tuple(part for other, part in enumerate(box) if other != axis)]
    return np.asarray(plane[::-1, ::-1].T)


def _draw(cell: Any, plane: Array, brightest: float, title: str) -> None:
    cell.set_axis_off()
    cell.imshow(plane, cmap="gray", vmin=0.0, vmax=brightest)
    cell.text(0.02, 0.97, title, color="#cccccc", fontsize=7, transform=cell.transAxes, va="top")
