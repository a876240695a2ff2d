"""Findings: what lies above the threshold, as labels and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Affine, FloatArray, Grid, MaskArray, apply_affine
from .components import connected_components

Side = Literal["left", "right", "midline"]
Looks = Literal["brighter", "darker", ""]
Change = Literal["new", "growing", "stable", "shrinking", "gone", ""]
_MIDLINE_HALF_WIDTH_MM = 3.0


@dataclass(frozen=True)
class Finding:
    """One connected region above the threshold.

    Volume in mL, peak and mean in the anomaly map's unit, centroid in the scan's RAS mm and in template mm, and the
    side by the template's midline. ``looks`` brighter or darker than expected, on the mean of the region; "" where
    nothing says what to expect. ``contrasts`` of an examination that show it, bright (+) or dark (-), "" for one scan.
    ``change`` since an earlier date, the volume then and the change of volume in mL and in percent of what was, None
    where nothing was; "" and None without an earlier date.
    """

    id: int
    volume_ml: float
    peak: float
    mean: float
    centroid_ras: tuple[float, float, float]
    centroid_template: tuple[float, float, float]
    side: Side
    looks: Looks = ""
    contrasts: str = ""
    change: Change = ""
    prior_ml: float | None = None
    change_ml: float | None = None
    change_percent: float | None = None

    def to_json(self) -> dict[str, object]:
        """All entries as JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Findings:
    """Labels (i, j, k; 0 background, n = finding n) on the scan's grid and the findings, largest first."""

    labels: NDArray[np.int32]
    table: tuple[Finding, ...]
    threshold: float
    minimum_mm3: float

    @property
    def total_ml(self) -> float:
        """Volume of all findings together in mL."""
        return sum(finding.volume_ml for finding in self.table)


def find(
    anomaly: FloatArray,
    grid: Grid,
    template_from_native: Affine,
    threshold: float,
    minimum_mm3: float = 20.0,
    residual: FloatArray | None = None,
) -> Findings:
    """Regions of ``anomaly`` (i, j, k on ``grid``) above ``threshold`` and larger than ``minimum_mm3``, 26-connected.

    ``residual`` is the scan minus what is expected (i, j, k), signed, None where nothing is.

    The seeds drop components of up to 20 voxels at 1 mm (Meissen et al.); here the limit is a volume, so that it
    means the same on every grid.
    """
    labels = connected_components(anomaly > threshold, grid.voxel_volume_mm3, minimum_mm3)
    rows = find_in(labels, anomaly, grid, template_from_native, residual)
    return Findings(labels, rows, float(threshold), float(minimum_mm3))


def find_in(
    labels: NDArray[np.int32],
    anomaly: FloatArray,
    grid: Grid,
    template_from_native: Affine,
    residual: FloatArray | None = None,
) -> tuple[Finding, ...]:
    """A finding for every region of ``labels`` (i, j, k; 0 background, 1 to n); the other arguments are ``find``'s."""
    from scipy import ndimage

    rows = []
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == index
        looks: Looks = "" if residual is None else _looks(residual[box][inside])
        rows.append(_describe(index, box, inside, anomaly, grid, template_from_native, looks))
    return tuple(rows)


def _describe(
    index: int,
    box: tuple[slice, slice, slice],
    inside: MaskArray,
    anomaly: FloatArray,
    grid: Grid,
    onto: Affine,
    looks: Looks,
) -> Finding:
    values = anomaly[box][inside]
    where = np.argwhere(inside) + [side.start for side in box]
    ras = grid.to_world(where.mean(axis=0)[None])
    template = apply_affine(onto, ras)[0]
    return Finding(
        id=index,
        volume_ml=len(where) * grid.voxel_volume_mm3 / 1000.0,
        peak=float(values.max()),
        mean=float(values.mean()),
        centroid_ras=_triple(ras[0]),
        centroid_template=_triple(template),
        side=_side(float(template[0])),
        looks=looks,
    )


def _looks(residual: FloatArray) -> Looks:
    mean = float(residual.mean(dtype=np.float64))
    return "brighter" if mean > 0.0 else "darker" if mean < 0.0 else ""


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(point[0]), float(point[1]), float(point[2])


def _side(template_x: float) -> Side:
    if abs(template_x) <= _MIDLINE_HALF_WIDTH_MM:
        return "midline"
    return "right" if template_x > 0 else "left"
