"""Findings: what lies above the threshold, as labels and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Affine, FloatArray, Grid, apply_affine
from .components import connected_components
from .measures import RegionVoxels

Side = Literal["left", "right", "midline", "bilateral"]
Looks = Literal["brighter", "darker", ""]
Change = Literal["new", "growing", "stable", "shrinking", "gone", ""]
Review = Literal["kept", "rejected", ""]
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

    ``contrasts`` of an examination that show it, bright (+) or dark (-), "" for one scan. ``change`` since an earlier
    date, the volume then and the change of volume in mL and in percent of what was, None where nothing was; "" and None
    without an earlier date. ``review`` and ``comment`` are a reader's.
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
    contrasts: str = ""
    change: Change = ""
    prior_ml: float | None = None
    change_ml: float | None = None
    change_percent: float | None = None
    review: Review = ""
    comment: str = ""

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
        """Volume of all findings that no reader has rejected together in mL."""
        return sum(finding.volume_ml for finding in self.table if finding.review != "rejected")

    def kept(self) -> Findings:
        """The findings that no reader has rejected, in table and labels; they keep their numbers."""
        table = tuple(finding for finding in self.table if finding.review != "rejected")
        if len(table) == len(self.table):
            return self
        left = np.ones(
            max(int(self.labels.max(initial=0)), *(finding.id for finding in self.table)) + 1, dtype=np.bool_
        )
        left[[finding.id for finding in self.table if finding.review == "rejected"]] = False
        return replace(self, labels=np.where(left[self.labels], self.labels, 0).astype(np.int32), table=table)


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
    voxels = RegionVoxels(labels)
    values = voxels.values(anomaly)
    places = voxels.indices()
    ras = grid.to_world(voxels.mean(places))
    across = apply_affine(template_from_native, grid.to_world(places))[:, 0]
    measured = zip(
        (voxels.counts * grid.voxel_volume_mm3 / 1000.0).tolist(),
        voxels.largest(values).tolist(),
        voxels.mean(values).tolist(),
        ras.tolist(),
        apply_affine(template_from_native, ras).tolist(),
        _sides(voxels, across),
        _looks(voxels, residual),
        strict=True,
    )
    return tuple(
        Finding(index, volume, peak, mean, tuple(place), tuple(template), side, looks)
        for index, (volume, peak, mean, place, template, side, looks) in enumerate(measured, 1)
    )


def _looks(voxels: RegionVoxels, residual: FloatArray | None) -> list[Looks]:
    if residual is None:
        return [""] * len(voxels.counts)
    means = voxels.mean(voxels.values(residual))
    return ["brighter" if mean > 0.0 else "darker" if mean < 0.0 else "" for mean in means.tolist()]


def _sides(voxels: RegionVoxels, across: NDArray[np.float64]) -> list[Side]:
    """By the template x (n,) of the voxels in mm."""
    left, right, middle = voxels.mean(np.stack([across < -_FAR_MM, across > _FAR_MM, across], axis=1)).T
    both = np.minimum(left, right) >= _BILATERAL_SHARE
    middles = np.where(np.abs(middle) <= _MIDLINE_HALF_WIDTH_MM, 0.0, middle)
    named: list[Side] = ["midline" if x == 0.0 else "right" if x > 0.0 else "left" for x in middles]
    return ["bilateral" if one else side for one, side in zip(both, named, strict=True)]
