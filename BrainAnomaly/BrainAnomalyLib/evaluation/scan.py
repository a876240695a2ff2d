"""One evaluated scan: a map, the truth, and what is needed to score one against the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import OptionsError
from ..io.geometry import FloatArray, MaskArray


@dataclass(frozen=True, eq=False)
class EvaluatedScan:
    """Everything on one grid (i, j, k); a slice is a volume with k = 1.

    ``anomaly`` is at least 0, higher is less healthy; ``truth`` marks lesions, all False for a healthy scan;
    ``evaluated`` is the brain; ``voxel_mm3`` the volume of a voxel. ``threshold`` is the one the detector itself
    advises, in the map's unit, NaN if it has none. ``spacing`` is the voxel's size along i, j, k in mm, of a cube if
    None. ``promised`` are the detector's thresholds by the healthy rate they promise, ``p_value`` its conformal p-value
    of the scan. Protocols that choose slices or resample take k for the axial axis, upwards.
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

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.anomaly, self.truth, self.evaluated)}
        if len(shapes) != 1 or self.anomaly.ndim != 3:
            raise OptionsError("Map, truth and brain mask must lie on the same grid of three axes.")
        if not np.isfinite(self.anomaly).all():
            raise OptionsError(f"The anomaly map of '{self.subject}' holds values that are not finite.")

    @property
    def healthy(self) -> bool:
        """Whether there is no lesion."""
        return not bool(self.truth.any())

    def ml(self, mask: MaskArray) -> float:
        """Volume of a mask in mL."""
        return float(np.count_nonzero(mask)) * self.voxel_mm3 / 1000.0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        edge = self.voxel_mm3 ** (1.0 / 3.0)
        return self.spacing or (edge, edge, edge)
