"""How large brains are, fluid between the gyri included."""

from __future__ import annotations

from ...io.geometry import Grid, MaskArray

_SMALLEST_BRAIN_ML = 300.0
_LARGEST_BRAIN_ML = 2300.0
# The 172 healthy adults that the models learned from (IXI by DLMUSE, ds002748 as stripped) have 1121 to 1793 mL.
_ADULT_ML = (1000.0, 2000.0)


def size_of_a_brain(mask: MaskArray, grid: Grid) -> bool:
    """Whether a mask has the volume of any brain, a slab's or a child's included."""
    return _SMALLEST_BRAIN_ML < grid.volume_ml(mask) < _LARGEST_BRAIN_ML


def size_warning(mask: MaskArray, grid: Grid) -> str:
    """A sentence for the user where a brain mask is smaller or larger than an adult's brain; empty where it is not."""
    volume = grid.volume_ml(mask)
    if _ADULT_ML[0] <= volume <= _ADULT_ML[1]:
        return ""
    return (
        f"The brain measures {volume:.0f} mL; an adult's has {_ADULT_ML[0]:.0f} to {_ADULT_ML[1]:.0f} mL. Look at the "
        "brain mask. The models know whole brains of adults only: a child's, or part of one, may be marked wrongly."
    )
