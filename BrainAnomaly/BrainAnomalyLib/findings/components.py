"""Connected components of a thresholded anomaly map, by the few voxels that are set rather than by the whole grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import MaskArray

Indices = NDArray[np.int64]
# Where more than this part of the voxels is set, labelling the whole grid is quicker than joining runs of voxels.
_DENSE = 0.1


def connected_components(mask: MaskArray, voxel_mm3: float, minimum_mm3: float) -> NDArray[np.int32]:
    """26-connected components of ``mask`` (i, j, k) of more than ``minimum_mm3``, labelled 1..n, largest first.

    Meissen et al. drop components of up to 20 voxels of 1 mm3, so a component of exactly ``minimum_mm3`` goes. Those
    of one size are in the order of their first voxels. The labels lie in memory as the mask does.
    """
    backward = not mask.flags.c_contiguous and mask.flags.f_contiguous
    stored = mask.T if backward else np.ascontiguousarray(mask)
    voxels = np.flatnonzero(stored.ravel())
    if voxels.size > _DENSE * stored.size:
        return _labelled_grid(mask, voxel_mm3, minimum_mm3)
    labels = np.zeros(stored.shape, dtype=np.int32)
    if voxels.size:
        runs = _Runs(voxels, stored.shape)
        found = runs.components()
        sizes = np.bincount(found, weights=runs.lengths).astype(np.float64)
        new_label = _by_size(sizes, runs.first_voxels(found, backward), voxel_mm3, minimum_mm3)
        labels.ravel()[voxels] = np.repeat(new_label[found], runs.lengths)
    return labels.T if backward else labels


def _labelled_grid(mask: MaskArray, voxel_mm3: float, minimum_mm3: float) -> NDArray[np.int32]:
    """The same by a look at every voxel."""
    from scipy import ndimage

    found, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(found.ravel(), minlength=count + 1)[1:].astype(np.float64)
    new_label = np.zeros(count + 1, dtype=np.int32)
    new_label[1:] = _by_size(sizes, np.arange(count), voxel_mm3, minimum_mm3)
    return np.asarray(new_label[found])


def _by_size(sizes: NDArray[np.float64], first: Indices, voxel_mm3: float, minimum_mm3: float) -> NDArray[np.int32]:
    """The new label of every component: 1 for the largest, 0 for those that are dropped."""
    order = np.lexsort((first, -sizes))
    kept = order[sizes[order] * voxel_mm3 > minimum_mm3]
    new_label = np.zeros(len(sizes), dtype=np.int32)
    new_label[kept] = np.arange(1, len(kept) + 1)
    return new_label


class _Runs:
    """Voxels of a mask as runs along its last axis; ``lengths`` in voxels, in the order of the first voxels.

    ``voxels`` are ascending indices into the flat mask of ``shape``.
    """

    def __init__(self, voxels: Indices, shape: tuple[int, ...]) -> None:
        self._shape = shape
        width = shape[-1]
        begins = np.ones(len(voxels), dtype=np.bool_)
        begins[1:] = (np.diff(voxels) != 1) | (voxels[1:] % width == 0)
        places = np.flatnonzero(begins)
        self.lengths = np.diff(places, append=len(voxels))
        self._starts = voxels[places]
        self._ends = self._starts + self.lengths - 1

    def components(self) -> NDArray[np.int32]:
        """The component of every run, numbered from 0."""
        from scipy import sparse

        pairs = [self._touching(*offset) for offset in ((0, -1), (-1, -1), (-1, 0), (-1, 1))]
        one, other = (np.concatenate(part) for part in zip(*pairs, strict=True))
        touching = sparse.coo_array((np.ones(len(one), dtype=np.bool_), (one, other)), shape=2 * self._starts.shape)
        _count, found = sparse.csgraph.connected_components(touching, directed=False)
        return np.asarray(found, dtype=np.int32)

    def first_voxels(self, found: NDArray[np.int32], backward: bool) -> Indices:
        """The smallest index of each component's voxels in a mask whose axes are in the order of (i, j, k)."""
        starts = self._starts
        if backward:
            starts = np.ravel_multi_index(np.unravel_index(starts, self._shape)[::-1], self._shape[::-1])
        first = np.full(int(found.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, found, starts)
        return first

    def _touching(self, planes: int, rows: int) -> tuple[Indices, Indices]:
        """Pairs of runs that touch, the second one so many planes and rows further than the first."""
        count, width = self._shape[-2:]
        row, begin = np.divmod(self._starts, width)
        target = row + planes * count + rows
        last = begin + self.lengths - 1
        here = np.flatnonzero((target >= 0) & ((row % count + rows >= 0) & (row % count + rows < count)))
        low = target[here] * width + np.maximum(begin[here] - 1, 0)
        high = target[here] * width + np.minimum(last[here] + 1, width - 1)
        first = np.searchsorted(self._ends, low, side="left")
        number = np.searchsorted(self._starts, high, side="right") - first
        one = np.repeat(here, number)
        offsets = np.arange(len(one)) - np.repeat(np.cumsum(number) - number, number)
        return one, np.repeat(first, number) + offsets
