"""Where in the brain findings lie: the part of subjects with a finding at each place of the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, ScanError
from ..io.geometry import FloatArray
from ..io.volumes import read_array
from ..output.folder import RESEARCH_USE
from ..preparation.space.grids import grid_named
from ..preparation.space.template import load_template

GRID = "template_2mm"
_ROWS, _COLUMNS = 3, 7
# The axes across each axis.
_OTHERS = ((1, 2), (0, 2), (0, 1))


def frequency_map(out: Path, scans: Any) -> FloatArray:
    """The part of subjects (0 to 1; i, j, k on the template's 2 mm grid) with a finding.

    A subject's scans are averaged. Raises OutputError where the findings of a scan are gone.
    """
    total = np.zeros(grid_named(GRID).shape, dtype=np.float64)
    subjects = scans.groupby("subject", sort=True)["in_template"]
    for _, names in subjects:
        total += sum(mask_of(out, name) for name in names) / len(names)
    return (total / max(1, len(subjects))).astype(np.float32)


def masks_at(out: Path, scans: Any, places: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Subjects (in order) by the voxels ``places`` of the template's grid: the part of their scans with a finding."""
    subjects = scans.groupby("subject", sort=True)["in_template"]
    rows = [sum(mask_of(out, name)[places] for name in names) / len(names) for _, names in subjects]
    return np.asarray(rows, dtype=np.float32)


def mask_of(out: Path, name: str) -> NDArray[np.float32]:
    """The findings of a scan as 0 and 1 on the template's grid. Raises OutputError."""
    try:
        array, grid = read_array(out / name)
    except ScanError as error:
        raise OutputError(f"The findings '{name}' cannot be read.", "Run the cohort again.") from error
    if not grid.same_as(grid_named(GRID)):
        raise OutputError(f"The findings '{name}' lie on another grid.", "Run the cohort again.")
    return (array > 0).astype(np.float32)


def draw_map(values: FloatArray, path: Path, title: str, unit: str, signed: bool = False) -> None:
    """Axial slices of a map (i, j, k on the template's 2 mm grid) over the template, the right side on the left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    template = load_template(GRID)
    box = tuple(slice(*(np.flatnonzero(template.brain_mask.any(axis=axes))[[0, -1]] + (-1, 2))) for axes in _OTHERS)
    brain, shown = template.brain[box], values[box]
    most = float(np.abs(values).max()) or 1.0
    figure = Figure(figsize=(13.0, 7.2), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        _ROWS, _COLUMNS, gridspec_kw={"left": 0.01, "right": 0.9, "top": 0.91, "bottom": 0.01, "wspace": 0.03}
    ).ravel()
    colors: Any = None
    for cell, index in zip(axes, np.linspace(5, brain.shape[2] - 3, len(axes)).astype(int), strict=True):
        cell.set_axis_off()
        cell.imshow(_view(brain, index), cmap="gray", vmin=0.0, vmax=1.0)
        over = np.ma.masked_equal(_view(shown, index), 0.0)
        colors = cell.imshow(over, cmap="coolwarm" if signed else "hot", vmin=-most if signed else 0.0, vmax=most)
        height = template.grid.affine[2, 3] + template.grid.affine[2, 2] * (index + box[2].start)
        cell.set_title(f"z = {height:.0f} mm", color="w", fontsize=8)
    bar = figure.colorbar(colors, ax=list(axes), fraction=0.02)
    bar.set_label(unit, color="w")
    bar.ax.tick_params(colors="w")
    figure.suptitle(f"{title}. {RESEARCH_USE}", color="w", fontsize=10)
    figure.savefig(path, dpi=90, facecolor="black")


def _view(volume: FloatArray, index: int) -> FloatArray:
    """One axial slice with anterior up and the patient's right on the viewer's left."""
    return np.asarray(volume[::-1, ::-1, index].T)
