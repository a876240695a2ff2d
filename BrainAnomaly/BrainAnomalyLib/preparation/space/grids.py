"""The named template-space grids that preparation recipes choose from (ICBM152, RAS axis order)."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import OptionsError
from ...io.geometry import Grid, Shape, regular_grid


class GridRecipe(NamedTuple):
    """Shape (i, j, k), isotropic voxel size in mm and middle in template RAS mm."""

    shape: Shape
    spacing_mm: float
    center: tuple[float, float, float]


_BRAIN_CENTER = (0.0, -17.0, 5.0)

GRIDS = {
    # Whole brain at 1 mm, and the same field of view at 2 mm (96 x 112 x 96).
    "template_1mm": GridRecipe((192, 224, 192), 1.0, _BRAIN_CENTER),
    "template_2mm": GridRecipe((96, 112, 96), 2.0, _BRAIN_CENTER),
    # Luo et al.: 160 x 192 x 96 at 1 mm. The paper gives no offset; z -30..+65 mm holds the ventricles and most of
    # the cerebrum, where its axial slices were scored.
    "luo_1mm": GridRecipe((160, 192, 96), 1.0, (0.0, -17.0, 17.5)),
}


def grid_named(name: str) -> Grid:
    """The grid of that name. Raises OptionsError for an unknown one."""
    if name not in GRIDS:
        raise OptionsError(f"There is no template grid named '{name}'.", f"Choose one of {', '.join(GRIDS)}.")
    shape, spacing_mm, center = GRIDS[name]
    return regular_grid(shape, spacing_mm, center)
