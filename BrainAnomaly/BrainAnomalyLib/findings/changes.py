"""Findings of two dates followed: what is new, growing, stable, shrinking or gone, and by how much.

A voxel has changed where the intensities of both dates differ by more than noise and the date that looks worse has an
anomaly there. What did not change belongs to both dates alike, whatever small differences of the maps do at the
threshold. So a change of volume is what has changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Affine, FloatArray, Grid, MaskArray
from .components import connected_components
from .table import Change, Finding, Findings, find_in

# All that were tried leave nothing between a scan and itself; at this reach and size a core of 3 is best on MSLUB's
# patient 03, one of 3.5 on patient 12, Testing/benchmarks/followup.py: a region has a core of so many spreads and
# reaches as far as the change is more than that; the map of the worse date is at least this part of the threshold.
CORE, REACH, LEAST_MAP = 3.0, 1.5, 0.3
# Regions of at most that many mm3 are left out, likewise.
SMALLEST_MM3 = 8.0
# A region ends where the change has fallen to this part of its peak: about where a blurred border lies.
_OF_PEAK = 0.4
# What is at most this part of what came or went is its rim.
_RIM = 0.25


@dataclass(frozen=True, eq=False)
class PriorDate:
    """The earlier date on the scan's grid (i, j, k): its anomaly map, how much more abnormal the later date is
    (``growth``, in spreads of what did not change, below 0 for less), the scan itself on the scale of this one, and the
    ``difference`` of both intensities, later minus earlier, in multiples of the brain's median.
    ``name`` of the earlier scan; ``smallest_ml``, the size that a region must exceed to count as a change; and
    ``before_from_now``, the rigid 4x4 map from this scan's RAS mm to the earlier one's.
    """

    name: str
    scan: FloatArray
    anomaly: FloatArray
    growth: FloatArray
    difference: FloatArray
    smallest_ml: float
    before_from_now: Affine


def followed(
    anomaly: FloatArray,
    prior: PriorDate,
    grid: Grid,
    template_from_native: Affine,
    threshold: float,
    minimum_mm3: float = 20.0,
    residual: FloatArray | None = None,
) -> Findings:
    """Regions of ``anomaly`` (i, j, k on ``grid``) above ``threshold`` and regions that changed, each with its change.

    The labels hold what a finding covers at either date. Everything else is as in ``findings.table.find``.
    """
    both = (anomaly > threshold) & (prior.anomaly > threshold)
    grown, shrunk = (part & ~both for part in changed(anomaly, prior, grid, threshold))
    same = (anomaly > threshold) | ((anomaly + prior.anomaly) / 2.0 > threshold)
    same = both | (same & ~(grown | shrunk))
    labels = _labels(same, grown | shrunk, grid, minimum_mm3)
    found = find_in(labels, np.maximum(anomaly, prior.anomaly), grid, template_from_native, residual)
    volumes = [_volumes(labels, part, len(found), grid) for part in (same, grown, shrunk)]
    rows = [_row(row, *(float(part[row.id]) for part in volumes)) for row in found]
    return Findings(labels, tuple(rows), float(threshold), float(minimum_mm3))


def change_summary(table: Sequence[Finding], since: str) -> str:
    """How many findings changed since the date of that name and by how much in all, rejected ones left out."""
    rows = [row for row in table if row.review != "rejected"]
    changes = [row.change for row in rows]
    counts = ", ".join(f"{changes.count(name)} {name}" for name in get_args(Change) if name and name in changes)
    if not counts:
        return f"Since '{since}': nothing found."
    before, more = sum(row.prior_ml or 0.0 for row in rows), sum(row.change_ml or 0.0 for row in rows)
    share = f" ({100.0 * more / before:+.0f} %)" if before > 0.0 else ""
    return f"Since '{since}': {counts}; {more:+.2f} mL{share} in all."


def changed(
    anomaly: FloatArray,
    prior: PriorDate,
    grid: Grid,
    threshold: float,
    core: float = CORE,
    reach: float = REACH,
    smallest_ml: float | None = None,
) -> tuple[MaskArray, MaskArray]:
    """Where the later date is more abnormal than ``prior``, and where it is less (both i, j, k on ``grid``)."""
    marked, before = anomaly > threshold, prior.anomaly > threshold
    how = grid, prior.smallest_ml if smallest_ml is None else smallest_ml, core, reach
    more = changed_regions(prior.growth, anomaly > LEAST_MAP * threshold, *how, marked & ~before)
    less = changed_regions(-prior.growth, prior.anomaly > LEAST_MAP * threshold, *how, before & ~marked)
    return more, less & ~more


def changed_regions(
    growth: FloatArray,
    allowed: MaskArray,
    grid: Grid,
    smallest_ml: float,
    core: float = CORE,
    reach: float = REACH,
    marked: MaskArray | None = None,
) -> MaskArray:
    """Where ``growth`` (i, j, k) is above ``reach`` around a ``core``, in ``allowed`` voxels, by more than a size.

    A region ends where the change falls to a part of its peak, or where the voxels end that are ``marked``.
    """
    from scipy import ndimage

    labels = connected_components((growth > reach) & allowed, grid.voxel_volume_mm3, 1000.0 * smallest_ml)
    count = int(labels.max(initial=0))
    if count == 0:
        return labels > 0
    peaks = np.concatenate([[0.0], ndimage.maximum(growth, labels, np.arange(1, count + 1))])
    real = (peaks > core)[labels]
    strong = growth > _OF_PEAK * peaks[labels]
    return np.asarray(real & (strong if marked is None else strong | marked))


def _labels(same: MaskArray, changed: MaskArray, grid: Grid, minimum_mm3: float) -> NDArray[np.int32]:
    """Components of both together that are large enough or hold a change, largest first."""
    labels = connected_components(same | changed, grid.voxel_volume_mm3, 0.0)
    sizes = np.bincount(labels.ravel()) * grid.voxel_volume_mm3
    kept = (sizes > minimum_mm3) | np.isin(np.arange(len(sizes)), np.unique(labels[changed]))
    kept[0] = False
    numbers = np.zeros(len(sizes), dtype=np.int32)
    numbers[kept] = np.arange(1, int(kept.sum()) + 1)
    return np.asarray(numbers[labels])


def _volumes(labels: NDArray[np.int32], part: MaskArray, count: int, grid: Grid) -> NDArray[np.float64]:
    """mL of a part in each label."""
    return np.asarray(np.bincount(labels[part], minlength=count + 1) * grid.voxel_volume_mm3 / 1000.0)


def _row(row: Finding, common: float, more: float, less: float) -> Finding:
    """A finding with its volumes: what is common to both dates, what came and what went, in mL."""
    change = _change(common, more, less)
    now, before = common + more, common + less
    if change == "new":
        before = less
    if change == "gone":
        now = more
    percent = 100.0 * (now - before) / before if before > 0.0 else None
    return replace(row, volume_ml=now, change=change, prior_ml=before, change_ml=now - before, change_percent=percent)


def _change(common: float, more: float, less: float) -> Change:
    """A rim that the maps of both dates call alike makes a lesion neither old nor lasting."""
    if more == less == 0.0:
        return "stable"
    if common + less < _RIM * more:
        return "new"
    if common + more < _RIM * less:
        return "gone"
    return "growing" if more >= less else "shrinking"
