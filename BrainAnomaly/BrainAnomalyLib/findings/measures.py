"""Means and peaks of many regions at once, over the voxels that belong to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Array


class RegionVoxels:
    """The voxels of all regions of ``labels`` (i, j, k; 0 background, 1 to n), in one order for every volume.

    What is computed has one row for each region; a region without voxels gets 0.
    """

    def __init__(self, labels: NDArray[np.int32]) -> None:
        self._backward = not labels.flags.c_contiguous and labels.flags.f_contiguous
        stored = self._flat(labels)
        self._places = np.flatnonzero(stored)
        self._region = stored[self._places] - 1
        self._shape = labels.shape
        self.counts = np.bincount(self._region, minlength=int(labels.max(initial=0)) if self._places.size else 0)

    def values(self, volume: Array) -> Array:
        """The values of a volume (i, j, k) at the voxels."""
        return self._flat(volume)[self._places]

    def indices(self) -> NDArray[np.int64]:
        """The voxels' indices (n, 3) along i, j, k."""
        shape = self._shape[::-1] if self._backward else self._shape
        found = np.unravel_index(self._places, shape)
        return np.stack(found[::-1] if self._backward else found, axis=1)

    def mean(self, values: Array) -> NDArray[np.float64]:
        """Mean by region of values at the voxels, (n,) or (n, columns)."""
        columns = values[:, None] if values.ndim == 1 else values
        sums = [np.bincount(self._region, one.astype(np.float64), len(self.counts)) for one in columns.T]
        means = np.stack(sums, axis=1) / np.maximum(self.counts, 1)[:, None]
        return np.asarray(means[:, 0] if values.ndim == 1 else means)

    def largest(self, values: Array) -> NDArray[np.float64]:
        """Highest by region of values (n,) at the voxels."""
        highest = np.full(len(self.counts), -np.inf)
        if self._region.size:
            # Over runs of one region first: there are far fewer of them than of voxels.
            begins = np.flatnonzero(np.diff(self._region, prepend=-1))
            np.maximum.at(highest, self._region[begins], np.maximum.reduceat(values, begins))
        return np.where(self.counts > 0, highest, 0.0)

    def _flat(self, volume: Array) -> Array:
        return np.asarray(volume.T.ravel() if self._backward else volume.ravel())
