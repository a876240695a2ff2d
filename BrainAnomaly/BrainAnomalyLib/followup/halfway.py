"""Both dates of one head in the space halfway between them, each interpolated once and in the same way.

A scan that is resampled onto the other looks smoother than it, which is a change of its own; halfway between them both
are treated alike (Reuter et al. 2010, doi:10.1016/j.neuroimage.2010.07.020).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..io.geometry import Affine, FloatArray, Grid, MaskArray, apply_affine, inverse, regular_grid
from ..io.resampling import resample
from ..preparation.space.pair_registration import BrainImage, halfway

SPACING_MM = 1.0
_ROOM_MM = 4.0


class Halfway(NamedTuple):
    """The grid (isotropic, RAS mm of the halfway space) and the maps from it to both dates' RAS mm."""

    grid: Grid
    now_from_here: Affine
    before_from_here: Affine

    def of_now(self, volume: FloatArray, grid: Grid) -> FloatArray:
        """A volume of the later date, which lies on ``grid``."""
        return np.asarray(resample(volume.astype(np.float32), grid, self.grid, self.now_from_here))

    def of_before(self, volume: FloatArray, grid: Grid) -> FloatArray:
        """A volume of the earlier date, which lies on ``grid``."""
        return np.asarray(resample(volume.astype(np.float32), grid, self.grid, self.before_from_here))

    def on_now(self, volume: FloatArray, onto: Grid) -> FloatArray:
        """A volume of the halfway space on the later date's grid."""
        return np.asarray(resample(volume.astype(np.float32), self.grid, onto, inverse(self.now_from_here)))

    def on_before(self, volume: FloatArray, onto: Grid) -> FloatArray:
        """A volume of the halfway space on the earlier date's grid."""
        return np.asarray(resample(volume.astype(np.float32), self.grid, onto, inverse(self.before_from_here)))


def halfway_space(now: BrainImage, before_from_now: Affine) -> Halfway:
    """The space halfway along ``before_from_now`` (4x4, RAS mm), large enough for the later date's brain."""
    half = halfway(before_from_now)
    points = apply_affine(half, now.grid.to_world(np.argwhere(now.mask)))
    low, high = points.min(axis=0) - _ROOM_MM, points.max(axis=0) + _ROOM_MM
    i, j, k = (int(count) for count in np.ceil((high - low) / SPACING_MM) + 1)
    return Halfway(regular_grid((i, j, k), SPACING_MM, (low + high) / 2.0), inverse(half), half)


def inside_both(space: Halfway, now: BrainImage, before: BrainImage) -> MaskArray:
    """Where both dates have brain, in the halfway space."""
    first = space.of_now(now.mask.astype(np.float32), now.grid) > 0.5
    return np.asarray(first & (space.of_before(before.mask.astype(np.float32), before.grid) > 0.5))
