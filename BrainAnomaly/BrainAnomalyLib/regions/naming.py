"""The region of every finding, from the structures that belong at its voxels and from the lobes of the template.

Places are those of the McDonald criteria (Thompson et al., Lancet Neurology 2018): periventricular lesions touch a
ventricle, juxtacortical ones touch or lie in the cortex, infratentorial ones lie in brainstem or cerebellum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..detectors.anatomy.structures import NAMES, OUTSIDE, index_of
from ..findings.table import Finding, Findings
from ..io.geometry import Affine, Array, Grid, MaskArray, inverse
from ..io.resampling import resample
from .atlas import LOBES, NUCLEI, load_atlas

WHITE_MATTER, CORTEX, DEEP_GRAY = "white matter", "cortex", "deep gray matter"
VENTRICLE_BORDER, OUTSIDE_TISSUE = "ventricle border", "outside"
PERIVENTRICULAR, JUXTACORTICAL = "periventricular", "juxtacortical/cortical"
INFRATENTORIAL, DEEP_WHITE_MATTER = "infratentorial", "deep white matter"
PLACES = (PERIVENTRICULAR, JUXTACORTICAL, INFRATENTORIAL, DEEP_WHITE_MATTER)
CEREBELLUM, BRAINSTEM, VENTRICLES = "cerebellum", "brainstem", "ventricles"
DEEP = ("thalamus", "striatum", "pallidum", "hippocampus and amygdala")
# What may be named as a region, besides the general names of ``DEEP``.
REGIONS = (*LOBES, *NUCLEI, "thalamus", "pallidum", BRAINSTEM, CEREBELLUM, VENTRICLES)
_CEREBRUM = "cerebrum"
# The part of the brain and the tissue of every structure, in the order of ``STRUCTURES``.
_OF_STRUCTURES = {
    "outside": (_CEREBRUM, OUTSIDE_TISSUE),
    "white matter": (_CEREBRUM, WHITE_MATTER),
    "cortex": (_CEREBRUM, CORTEX),
    **{name: (name, DEEP_GRAY) for name in DEEP},
    "ventricle": (VENTRICLES, VENTRICLE_BORDER),
    "outer fluid": (_CEREBRUM, OUTSIDE_TISSUE),
    "brainstem": (BRAINSTEM, BRAINSTEM),
    "cerebellar white matter": (CEREBELLUM, WHITE_MATTER),
    "cerebellar cortex": (CEREBELLUM, CORTEX),
    "choroid plexus and vessels": (_CEREBRUM, OUTSIDE_TISSUE),
}
# Names in alphabetical order, and which of them each structure has.
(_PART_NAMES, _PARTS), (_TISSUE_NAMES, _TISSUES) = (
    np.unique([_OF_STRUCTURES[name][place] for name in NAMES], return_inverse=True) for place in range(2)
)
# Structures that are named apart by the nearest of these nuclei.
_APART = {"striatum": NUCLEI[:2], "hippocampus and amygdala": NUCLEI[2:]}
# Two voxels touch where no more than this lies between them: structures are known on a grid of 2 mm.
# Testing/benchmarks/regions.py --part training.
TOUCHES_MM = 1.0
# Neighbors among which the nearest voxel is looked for: its center need not be the nearest.
_NEIGHBORS = 8
# Some points of a finding tell how far to look from the others.
_SOME_POINTS = 16


def with_regions(
    findings: Findings, grid: Grid, template_from_native: Affine, structures: Array | None = None
) -> Findings:
    """``Regions`` of a scan for once."""
    return Regions(grid, template_from_native, structures).named(findings) if findings.table else findings


class Regions:
    """Names the regions of a scan's findings, at any threshold.

    ``structures`` (i, j, k on ``grid``, RAS mm) are places in ``STRUCTURES``; None takes those that are common in the
    template.
    """

    def __init__(self, grid: Grid, template_from_native: Affine, structures: Array | None = None) -> None:
        known = structures_on(grid, template_from_native) if structures is None else structures
        trees = (_tree(known == index_of(name), grid) for name in ("ventricle", "cortex"))
        self._scan = _Scan(known, grid, template_from_native, *trees)

    def named(self, findings: Findings) -> Findings:
        """The findings (labels on the scan's grid) with the names of their regions."""
        parts = _voxels(findings, self._scan)
        rows = [_named(finding, own, self._scan) for finding, own in zip(findings.table, parts, strict=True)]
        return replace(findings, table=tuple(rows))


def structures_on(grid: Grid, template_from_native: Affine, structures: Array | None = None) -> Array:
    """Structures (i, j, k on the 2 mm template grid, or the template's own) on a scan's grid, by the nearest voxel."""
    atlas = load_atlas()
    found = (atlas.structures if structures is None else structures).astype(np.uint8)
    return resample(found, atlas.grid, grid, template_from_native, "nearest", float(OUTSIDE))


class _Scan(NamedTuple):
    """What names need of a scan: its structures (i, j, k on ``grid``), the map to the template, and the voxel centers
    (n, 3) of ventricles and cortex in RAS mm as trees, None for what it does not show."""

    structures: Array
    grid: Grid
    template_from_native: Affine
    ventricle: Any
    cortex: Any


def _tree(mask: MaskArray, grid: Grid) -> Any:
    from scipy.spatial import KDTree

    where = np.argwhere(mask)
    return KDTree(grid.to_world(where)) if len(where) else None


class _Voxels(NamedTuple):
    """The voxels of a finding: ``where`` (n, 3), their structures, lobes and nuclei (n,), and the RAS mm of those that
    touch others (m, 3)."""

    where: NDArray[np.int64]
    structures: Array
    lobes: Array
    nuclei: Array
    rim: NDArray[np.float64]


def _voxels(findings: Findings, scan: _Scan) -> Iterator[_Voxels]:
    """Those of every finding of the table, looked up for all at once."""
    labels = np.ascontiguousarray(findings.labels)
    flat = np.flatnonzero(labels)
    flat = flat[np.argsort(labels.ravel()[flat], kind="stable")]
    ids = labels.ravel()[flat]
    where = np.stack(np.unravel_index(flat, labels.shape), axis=1)
    index = inverse(load_atlas().grid.affine) @ scan.template_from_native @ scan.grid.affine
    places = np.rint(where @ index[:3, :3].T + index[:3, 3]).astype(int)
    places = np.clip(places, 0, np.asarray(load_atlas().lobes.shape) - 1)
    own, rim = scan.structures[tuple(where.T)], _on_rim(labels, flat, where)
    lobes, nuclei = (volume[tuple(places.T)] for volume in (load_atlas().lobes, load_atlas().nuclei))
    for finding in findings.table:
        part = slice(*np.searchsorted(ids, (finding.id, finding.id + 1)))
        edge = scan.grid.to_world(where[part][rim[part]])
        yield _Voxels(where[part], own[part], lobes[part], nuclei[part], edge)


def _on_rim(labels: Array, flat: Array, where: NDArray[np.int64]) -> MaskArray:
    """Which voxels, by their places in memory and on the grid, have a neighbor of another label or none."""
    values = labels.ravel()
    own, found = values[flat], np.zeros(len(flat), dtype=np.bool_)
    for axis, size in enumerate(labels.shape):
        step = int(np.prod(labels.shape[axis + 1 :]))
        for away, edge in ((-step, 0), (step, size - 1)):
            outermost = where[:, axis] == edge
            found |= outermost | (values[np.where(outermost, flat, flat + away)] != own)
    return found


def _named(finding: Finding, voxels: _Voxels, scan: _Scan) -> Finding:
    own = voxels.structures
    touched, trees = (index_of("ventricle") in own, index_of("cortex") in own), (scan.ventricle, scan.cortex)
    gaps = (
        0.0 if touches else _gap_mm(voxels.rim, tree, scan.grid) for touches, tree in zip(touched, trees, strict=True)
    )
    ventricle_mm, cortex_mm = gaps
    belongs = _belongs(own, voxels.where, scan)
    part = _most(_PARTS[belongs.region])
    inside_part = _PARTS[belongs.region] == part
    region = _region(str(_PART_NAMES[part]), voxels.lobes[inside_part], voxels.nuclei[inside_part])
    tissue = str(_TISSUE_NAMES[_most(_TISSUES[belongs.tissue[inside_part]])])
    place = ", ".join(_places(region, tissue, ventricle_mm, cortex_mm))
    return replace(finding, region=region, tissue=tissue, place=place, ventricle_mm=ventricle_mm, cortex_mm=cortex_mm)


def _most(values: Array) -> int:
    return int(np.bincount(values).argmax())


class _Belongs(NamedTuple):
    """The structures (n,) that a finding's voxels count as: for its region, and for its tissue."""

    region: Array
    tissue: Array


def _belongs(own: Array, where: NDArray[np.int64], scan: _Scan) -> _Belongs:
    """Fluid counts as the nearest tissue, for a region all but the inner part of a ventricle, for a tissue all fluid
    that is no further than ``_BORDER_MM`` from it, but for a ventricle."""
    from scipy import ndimage

    if not _IS_FLUID[own].any():
        return _Belongs(own, own)
    low, high = where.min(axis=0) - _REACH, where.max(axis=0) + _REACH + 1
    box = tuple(slice(max(0, a), min(size, b)) for a, b, size in zip(low, high, scan.structures.shape, strict=True))
    tissue = ~_IS_FLUID[scan.structures[box]]
    if not tissue.any():
        return _Belongs(own, own)
    away, nearest = ndimage.distance_transform_edt(~tissue, sampling=scan.grid.spacing, return_indices=True)
    voxels = tuple((where - [side.start for side in box]).T)
    inner, beside = away[voxels] > _BORDER_MM, scan.structures[box][tuple(nearest)][voxels]
    ventricle = own == index_of("ventricle")
    return _Belongs(np.where(inner & ventricle, own, beside), np.where(inner | ventricle, own, beside))


# Voxels about a finding among which the nearest structure is looked for; how far the border of a ventricle or sulcus
# reaches into it: one and a half voxels of the structures' grid.
_REACH, _BORDER_MM = 12, 3.0
_IS_FLUID = np.isin(NAMES, ("outside", "outer fluid", "choroid plexus and vessels", "ventricle"))


def _region(part: str, lobes: Array, nuclei: Array) -> str:
    """The lobe or nucleus in which most voxels (n,) of a part lie, or the part itself."""
    if part == _CEREBRUM:
        return LOBES[_most(lobes) - 1]
    if part in _APART:
        nucleus = NUCLEI[_most(nuclei) - 1]
        return nucleus if nucleus in _APART[part] else part
    return part


def _places(region: str, tissue: str, ventricle_mm: float | None, cortex_mm: float | None) -> list[str]:
    """McDonald places; none for deep gray matter and what lies outside."""
    if region in (CEREBELLUM, BRAINSTEM):
        return [INFRATENTORIAL]
    if tissue == VENTRICLE_BORDER:
        return [PERIVENTRICULAR]
    if tissue not in (WHITE_MATTER, CORTEX):
        return []
    found = [PERIVENTRICULAR] if ventricle_mm is not None and ventricle_mm <= TOUCHES_MM else []
    found += [JUXTACORTICAL] if tissue == CORTEX or (cortex_mm is not None and cortex_mm <= TOUCHES_MM) else []
    return found or [DEEP_WHITE_MATTER]


def _gap_mm(points: NDArray[np.float64], tree: Any, grid: Grid) -> float | None:
    """mm between the nearest two voxels of a finding and of a tree, 0 where they touch; None without a tree."""
    if tree is None:
        return None
    reach = tree.query(points[:: max(1, len(points) // _SOME_POINTS)])[0].min() + np.linalg.norm(grid.spacing)
    away, _ = tree.query(points, distance_upper_bound=reach * (1.0 + 1e-9))
    # Voxels are boxes: the nearest need not have the nearest center.
    near = points[away <= away.min() + np.linalg.norm(grid.spacing)]
    _, nearest = tree.query(near, k=[*range(1, min(_NEIGHBORS, tree.n) + 1)])
    along = np.abs((tree.data[nearest] - near[:, None]) @ grid.direction) - np.asarray(grid.spacing)
    return round(float(np.linalg.norm(np.maximum(along, 0.0), axis=-1).min()), 2)
