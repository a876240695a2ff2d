"""One evaluated scan: a map, the truth, and what is needed to score one against the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import OptionsError
from ..io.geometry import Array, FloatArray, MaskArray

Margins = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
_NONE: Margins = ((0, 0), (0, 0), (0, 0))


@dataclass(frozen=True, eq=False)
class EvaluatedScan:
    """Everything on one grid (i, j, k); a slice is a volume with k = 1.

    ``anomaly`` is at least 0, higher is less healthy; ``truth`` marks lesions, all False for a healthy scan;
    ``evaluated`` is the brain; ``voxel_mm3`` the volume of a voxel. ``threshold`` is the one the detector itself
    advises, in the map's unit, NaN if it has none. ``spacing`` is the voxel's size along i, j, k in mm, of a cube if
    None. ``promised`` are the detector's thresholds by the healthy rate they promise, ``p_value`` its conformal p-value
    of the scan. The arrays may be a box of the scan's field of view that holds the brain and all lesions: ``margins``
    are the voxels before and after it along each axis, where the map is 0. ``brain_only`` is the brain where a protocol
    evaluates more than it. Protocols that choose slices or resample take k for the axial axis, upwards.
    """

    subject: str
    anomaly: FloatArray
    truth: MaskArray
    evaluated: MaskArray
    voxel_mm3: float
    image: FloatArray | None = None
    pseudo_healthy: FloatArray | None = None
    threshold: float = float("nan")
    group: str = ""
    spacing: tuple[float, float, float] | None = None
    promised: Mapping[float, float] = field(default_factory=dict)
    p_value: float = float("nan")
    name: str = ""
    margins: Margins = _NONE
    brain_only: MaskArray | None = None

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.anomaly, self.truth, self.evaluated)}
        if len(shapes) != 1 or self.anomaly.ndim != 3:
            raise OptionsError("Map, truth and brain mask must lie on the same grid of three axes.")
        if not np.isfinite(self.anomaly).all():
            raise OptionsError(f"The anomaly map of '{self.subject}' holds values that are not finite.")

    @property
    def brain_values(self) -> FloatArray:
        """The map's values in the brain, of which rates are parts."""
        return self.anomaly[self.evaluated if self.brain_only is None else self.brain_only]

    @property
    def healthy(self) -> bool:
        """Whether there is no lesion."""
        return not bool(self.truth.any())

    def ml(self, mask: MaskArray) -> float:
        """Volume of a mask in mL."""
        return float(np.count_nonzero(mask)) * self.voxel_mm3 / 1000.0

    @property
    def outside(self) -> int:
        """Voxels of the field of view that are not evaluated, in the arrays or in the margins."""
        sizes = [length + sum(margin) for length, margin in zip(self.anomaly.shape, self.margins, strict=True)]
        return int(np.prod(sizes)) - int(np.count_nonzero(self.evaluated))

    def changed(self, change: Callable[[Array], Any], **others: Any) -> EvaluatedScan:
        """The scan with ``change`` made to every volume, and ``others`` of its fields."""
        image, healthy, brain = self.image, self.pseudo_healthy, self.brain_only
        return replace(
            self,
            anomaly=change(self.anomaly),
            truth=change(self.truth),
            evaluated=change(self.evaluated),
            image=None if image is None else change(image),
            pseudo_healthy=None if healthy is None else change(healthy),
            brain_only=None if brain is None else change(brain),
            **others,
        )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        edge = self.voxel_mm3 ** (1.0 / 3.0)
        return self.spacing or (edge, edge, edge)


def boxed(scan: EvaluatedScan) -> EvaluatedScan:
    """The scan cut to the box around brain and lesions; the rest of its field of view becomes ``margins``."""
    box = box_of(scan.evaluated | scan.truth)
    more = margins_of(box, scan.anomaly.shape)
    (a, b, c), (d, e, f) = scan.margins, more
    return scan.changed(lambda volume: volume[box], margins=(_added(a, d), _added(b, e), _added(c, f)))


def whole(scan: EvaluatedScan) -> EvaluatedScan:
    """The scan in its whole field of view, with zeros in what were its margins."""
    return scan.changed(lambda volume: np.pad(volume, scan.margins), margins=_NONE) if scan.margins != _NONE else scan


def box_of(mask: MaskArray) -> tuple[slice, slice, slice]:
    """The smallest box that holds a mask, everything if the mask is empty."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2])
    first, second, third = (slice(int(used.min()), int(used.max()) + 1) for used in np.nonzero(mask))
    return first, second, third


def margins_of(box: tuple[slice, slice, slice], shape: tuple[int, ...]) -> Margins:
    """Voxels before and after a box along each axis of a volume."""
    first, second, third = ((part.start, length - part.stop) for part, length in zip(box, shape, strict=True))
    return first, second, third


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
