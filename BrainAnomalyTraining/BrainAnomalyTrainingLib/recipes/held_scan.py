"""A scan in memory, as a trainer wants one."""

from __future__ import annotations

from dataclasses import dataclass

from BrainAnomalyLib.io.geometry import FloatArray, MaskArray


@dataclass(frozen=True, eq=False)
class HeldScan:
    """Intensities (i, j, k; 0 outside the brain) and the brain."""

    values: FloatArray
    brain_mask: MaskArray

    def image(self) -> FloatArray:
        """Intensities (i, j, k)."""
        return self.values

    def mask(self) -> MaskArray:
        """The brain (i, j, k)."""
        return self.brain_mask
