"""Whether two registered scans show the same head: how much their insides know of each other, here and beside.

Outlines tell nothing: two dates of one person lay 4.0 mm apart where masks differ, two persons 3.4 mm. Folds do: what
one scan tells of the other falls 3 mm beside the right place, and hardly for another person's.
Measured by Testing/benchmarks/pairs.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import PreparationError
from ...io.geometry import Affine, FloatArray, Grid, MaskArray, regular_grid
from ...io.resampling import resample
from .pair_registration import BrainImage, nearest_rigid, register_pair

_SPACING_MM, _SHAPE = 2.0, (84, 104, 92)
_BINS = 32
# Where the insides are compared with: 3 mm beside the place that was found.
_BESIDE_MM = 3.0
# Between the least for one person (0.036) and the most for two (0.011), Testing/benchmarks/pairs.py.
LEAST_SURPLUS = 0.02


class _Seen(NamedTuple):
    image: FloatArray
    mask: MaskArray
    field: MaskArray


def registered_heads(first: BrainImage, second: BrainImage, by_template: Affine) -> Affine:
    """The rigid 4x4 map from the first scan's RAS mm to the second's; ``by_template`` is the template's guess of it."""
    center = first.grid.to_world(np.argwhere(first.mask)).mean(axis=0)
    return register_pair(first, second, [np.eye(4), nearest_rigid(by_template, center)])


def surplus(first: BrainImage, second: BrainImage, second_from_first: Affine) -> float:
    """How much more two scans tell of each other inside the brain where ``second_from_first`` (4x4, RAS mm) puts them
    than on average 3 mm beside: differences of a symmetric uncertainty of 0 to 1, about 0 for two persons."""
    grid = regular_grid(_SHAPE, _SPACING_MM, first.grid.to_world(np.argwhere(first.mask)).mean(axis=0))
    one, beside = _seen(first, grid, np.eye(4)), []
    for axis in range(3):
        for step in (-_BESIDE_MM, _BESIDE_MM):
            shift = np.eye(4)
            shift[axis, 3] = step
            beside.append(_shared_information(one, _seen(second, grid, second_from_first @ shift)))
    return _shared_information(one, _seen(second, grid, second_from_first)) - float(np.mean(beside))


def require_same_head(found: float, first: str, second: str) -> None:
    """Nothing for a pair of that ``surplus``. Raises PreparationError for scans, of these names, that do not fit."""
    if found < LEAST_SURPLUS:
        raise PreparationError(
            f"'{second}' does not fit '{first}': it shows another head, or could not be brought into line with it.",
            "Give scans of one person, and look whether both show the whole brain.",
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


def _shared_information(first: _Seen, second: _Seen) -> float:
    """Symmetric uncertainty (Witten & Frank 2005) of the intensities inside both masks, 0 to 1."""
    both = first.mask & second.mask & first.field & second.field
    if np.count_nonzero(both) < 1000:
        return 0.0
    one, other = (np.clip(seen.image[both], *np.percentile(seen.image[both], (1.0, 99.0))) for seen in (first, second))
    counts = np.histogram2d(one, other, bins=_BINS)[0]
    joint = counts / counts.sum()
    apart = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    return 2.0 * (1.0 - _entropy(joint) / apart) if apart > 0.0 else 0.0


def _entropy(shares: FloatArray) -> float:
    some = shares[shares > 0.0]
    return float(-(some * np.log(some)).sum())
