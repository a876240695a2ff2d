"""Draw the module icons: the outline of the template brain, with a bright spot, or with a rising dotted curve.

python Utilities/make_icons.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

from BrainAnomalyLib.preparation.space.template import load_template

PIXELS = 128


def icon(module: str, spot: bool) -> Path:
    """Write the PNG of one module: an axial outline on a transparent ground."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    template = load_template("template_1mm")
    brain = template.brain_mask[:, :, 112].T.astype(float)
    figure = Figure(figsize=(1, 1), dpi=PIXELS)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.contourf(brain, levels=[0.5, 2.0], colors=["#c9ccd6"])
    axes.contour(brain, levels=[0.5], colors=["#3a4664"], linewidths=3.0)
    if spot:
        axes.plot(124, 128, "o", color="#e4572e", markersize=17)
        axes.plot(124, 128, "o", color="#ffd166", markersize=7)
    else:
        x = np.linspace(55, 135, 5)
        axes.plot(x, 150 - 70 * np.exp(-(x - 55) / 30)[::-1] * 0.9, "o-", color="#2e7de4", markersize=6, linewidth=2.5)
    axes.set_aspect("equal")
    path = ROOT / module / "Resources" / "Icons" / f"{module}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=PIXELS, transparent=True)
    return path


if __name__ == "__main__":
    for name, marked in (("BrainAnomaly", True), ("BrainAnomalyTraining", False)):
        print(icon(name, marked))
