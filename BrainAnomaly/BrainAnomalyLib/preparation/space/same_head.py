"""Whether two registered scans show the same head: how well their brains' outlines and their insides agree.

Measured by Testing/benchmarks/several_contrasts.py --part pairs; the limits lie between the pairs of one person and
those of two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import PreparationError
from ...io.geometry import Affine, FloatArray, Grid, MaskArray, regular_grid
from ...io.resampling import resample
from .pair_registration import BrainImage

_SPACING_MM, _SHAPE = 2.0, (84, 104, 92)
_BINS = 32
# Where the insides are compared with: 3 mm beside the place that was found.
_BESIDE_MM = 3.0
_MOST_OUTLINE_MM, _LEAST_STANDING = 2.5, 1.05


class HeadFit(NamedTuple):
    """Of a pair: distance of the brains' outlines in mm (mean), and shared information inside over that 3 mm beside."""

    outline_mm: float
    standing: float


class _Seen(NamedTuple):
    image: FloatArray
    mask: MaskArray
    field: MaskArray


def head_fit(first: BrainImage, second: BrainImage, second_from_first: Affine) -> HeadFit:
    """How well two scans fit where ``second_from_first`` (4x4, RAS mm) puts them."""
    grid = regular_grid(_SHAPE, _SPACING_MM, first.grid.to_world(np.argwhere(first.mask)).mean(axis=0))
    one = _seen(first, grid, np.eye(4))
    other = _seen(second, grid, second_from_first)
    beside = []
    for axis in range(3):
        for step in (-_BESIDE_MM, _BESIDE_MM):
            shift = np.eye(4)
            shift[axis, 3] = step
            beside.append(_shared_information(one, _seen(second, grid, second_from_first @ shift)))
    return HeadFit(_outline_mm(one, other), _shared_information(one, other) / max(*beside, 1e-6))


def require_same_head(fit: HeadFit, first: str, second: str) -> None:
    """Nothing for a pair that fits. Raises PreparationError with the reason for scans, of these names, that do not."""
    if fit.standing < _LEAST_STANDING:
        raise PreparationError(
            f"'{second}' could not be brought into line with '{first}': inside the brain they fit as well elsewhere.",
            "Give scans of one person, and check what they show.",
        )
    if fit.outline_mm > _MOST_OUTLINE_MM:
        raise PreparationError(
            f"'{second}' does not show the head of '{first}': the brains' outlines are {fit.outline_mm:.1f} mm apart.",
            "Give scans of one person, or check their brain masks.",
        )


def _seen(brain: BrainImage, grid: Grid, brain_from_grid: Affine) -> _Seen:
    cut = brain.image.astype(np.float32, copy=False)
    everywhere = np.ones(cut.shape, dtype=np.float32)
    moved = (
        np.asarray(resample(volume, brain.grid, grid, brain_from_grid))
        for volume in (cut, brain.mask.astype(np.float32), everywhere)
    )
    image, mask, field = moved
    return _Seen(image, mask > 0.5, field > 0.5)


def _outline_mm(first: _Seen, second: _Seen) -> float:
    """Mean distance between both masks' surfaces, both ways, where both scans see."""
    from scipy import ndimage

    seen, found = first.field & second.field, []
    for one, other in ((first.mask, second.mask), (second.mask, first.mask)):
        surface = one & ~ndimage.binary_erosion(one) & seen
        if not surface.any() or not other.any():
            return float("inf")
        depth = ndimage.distance_transform_edt(other) + ndimage.distance_transform_edt(~other)
        found.append(float((depth[surface] - 1.0).mean()) * _SPACING_MM)
    return float(np.mean(found))


def _shared_information(first: _Seen, second: _Seen) -> float:
    """Symmetric uncertainty (Witten & Frank 2005) of the intensities inside both masks, 0 to 1."""
    both = first.mask & second.mask & first.field & second.field
    if np.count_nonzero(both) < 1000:
        return 0.0
    values = [np.clip(seen.image[both], *np.percentile(seen.image[both], (1.0, 99.0))) for seen in (first, second)]
    counts = np.histogram2d(*values, bins=_BINS)[0]
    joint = counts / counts.sum()
    apart = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    return 2.0 * (1.0 - _entropy(joint) / apart) if apart > 0.0 else 0.0


def _entropy(shares: FloatArray) -> float:
    some = shares[shares > 0.0]
    return float(-(some * np.log(some)).sum())
