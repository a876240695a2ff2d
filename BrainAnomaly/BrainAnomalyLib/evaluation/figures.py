"""Figures of an evaluation: precision-recall curves and example slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Array
from .scan import EvaluatedScan
from .tables import png_of
from .voxels import average_precision, pooled, ranking

_MOST_POINTS = 2000
_MOST_EXAMPLES = 3


Curve = tuple[NDArray[np.float64], NDArray[np.float64], float]


def curve_of(scans: Sequence[EvaluatedScan]) -> Curve:
    """Recall, precision and AP, pooled over brain voxels."""
    ranked = ranking(*pooled(scans))
    found = ranked.true_positives + ranked.false_positives
    every = max(1, len(found) // _MOST_POINTS)
    recall = ranked.true_positives[::every] / max(ranked.positives, 1)
    return recall, (ranked.true_positives / np.maximum(found, 1))[::every], average_precision(ranked)


def example_scans(scans: Sequence[EvaluatedScan]) -> list[EvaluatedScan]:
    """The scans with most lesion."""
    return sorted(scans, key=lambda scan: -scan.ml(scan.truth))[:_MOST_EXAMPLES]


def curves(found: Mapping[str, Curve]) -> bytes:
    """Precision over recall of every detector as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, (recall, precision, area) in found.items():
        axes.plot(recall, precision, label=f"{name}, AP {area:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.tight_layout()
    return png_of(figure)


def examples(scans: Mapping[str, Sequence[EvaluatedScan]]) -> bytes:
    """The slice with most lesion of each scan, as PNG: image with the truth's outline, and every detector's map.

    The detectors' scans are the same ones in the same order.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(scans.values()))
    order = range(len(first))
    figure = Figure(figsize=(3.0 * (1 + len(scans)), 3.2 * len(order)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(order), 1 + len(scans), squeeze=False)
    for line, index in zip(axes, order, strict=True):
        place = int(np.argmax(first[index].truth.sum(axis=(0, 1))))
        image, truth = first[index].image, first[index].truth
        line[0].imshow(_view(image if image is not None else first[index].anomaly, place), cmap="gray")
        if truth[:, :, place].any():
            line[0].contour(_view(truth, place), levels=[0.5], colors=["#ff5555"], linewidths=1.0)
        for cell, (name, own) in zip(line[1:], scans.items(), strict=True):
            top = np.quantile(own[index].anomaly[own[index].evaluated], 0.999)
            cell.imshow(_view(own[index].anomaly, place), cmap="inferno", vmin=0.0, vmax=max(float(top), 1e-6))
            cell.set_title(name, color="w", fontsize=10)
        for cell in line:
            cell.set_axis_off()
    figure.tight_layout()
    return png_of(figure)


def _view(volume: Array, index: int) -> NDArray[np.float32]:
    return np.asarray(volume[::-1, ::-1, index].T, dtype=np.float32)
