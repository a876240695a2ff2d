"""Findings: what lies above the threshold, as labels and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Affine, FloatArray, Grid, MaskArray, apply_affine
from .components import connected_components

Side = Literal["left", "right", "midline", "bilateral"]
Looks = Literal["brighter", "darker", ""]
_MIDLINE_HALF_WIDTH_MM = 3.0
# A region lies on both sides where a fifth of it lies on each, this far from the midline: no cyst in the middle does.
_BILATERAL_SHARE, _FAR_MM = 0.2, 10.0


@dataclass(frozen=True)
class Finding:
    """One connected region above the threshold.

    Volume in mL, peak and mean in the anomaly map's unit, centroid in the scan's RAS mm and in template mm, and the
    side by the template's midline. ``looks`` brighter or darker than expected, on the mean of the region; "" where
    nothing says what to expect.

    ``region`` is the lobe or structure, ``tissue`` and ``place`` (McDonald criteria) say where in it, and the distances
    are mm to the nearest ventricle and cortex, 0 where they touch: ``regions.naming``. "" and None where that is not
    known.
    """

    id: int
    volume_ml: float
    peak: float
    mean: float
    centroid_ras: tuple[float, float, float]
    centroid_template: tuple[float, float, float]
    side: Side
    looks: Looks = ""
    region: str = ""
    tissue: str = ""
    place: str = ""
    ventricle_mm: float | None = None
    cortex_mm: float | None = None

    @property
    def where(self) -> str:
        """Side and region as a radiologist writes them: "left frontal lobe"; the side alone without a region."""
        if not self.region:
            return self.side
        return f"{self.region}, midline" if self.side == "midline" else f"{self.side} {self.region}"

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
    from scipy import ndimage

    labels = connected_components(anomaly > threshold, grid.voxel_volume_mm3, minimum_mm3)
    boxes = ndimage.find_objects(labels)
    rows = []
    for index, box in enumerate(boxes, 1):
        inside = labels[box] == index
        looks = "" if residual is None else _looks(residual[box][inside])
        rows.append(_describe(index, box, inside, anomaly, grid, template_from_native, looks))
    return Findings(labels, tuple(rows), float(threshold), float(minimum_mm3))


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
    across = apply_affine(onto, grid.to_world(where))[:, 0]
    return Finding(
        id=index,
        volume_ml=len(where) * grid.voxel_volume_mm3 / 1000.0,
        peak=float(values.max()),
        mean=float(values.mean()),
        centroid_ras=_triple(ras[0]),
        centroid_template=_triple(template),
        side=_side(across),
        looks=looks,
    )


def _looks(residual: FloatArray) -> Looks:
    mean = float(residual.mean(dtype=np.float64))
    return "brighter" if mean > 0.0 else "darker" if mean < 0.0 else ""


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(point[0]), float(point[1]), float(point[2])


def _side(across: NDArray[np.float64]) -> Side:
    """By the template x (n,) of a region's voxels in mm."""
    middle = float(across.mean())
    if min(np.mean(across < -_FAR_MM), np.mean(across > _FAR_MM)) >= _BILATERAL_SHARE:
        return "bilateral"
    if abs(middle) <= _MIDLINE_HALF_WIDTH_MM:
        return "midline"
    return "right" if middle > 0 else "left"
