"""The ICBM152 2009a symmetric template: skull-stripped T1w average and tissue priors, embedded as 8-bit volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...io.geometry import FloatArray, Grid, MaskArray, from_image, resample
from ...resources import resources_folder, verified
from .grids import grid_named

_VOLUMES = ("t1_brain", "gray_matter", "white_matter")


@dataclass(frozen=True, eq=False)
class Template:
    """Template volumes on one grid (i, j, k in RAS order).

    ``brain`` is the T1w average scaled to [0, 1] (0 outside the brain); the priors are probabilities in [0, 1];
    ``brain_mask`` holds cerebrum, cerebellum, brain stem and the fluid inside them.
    """

    grid: Grid
    brain: FloatArray
    gray_matter: FloatArray
    white_matter: FloatArray
    cerebrospinal_fluid: FloatArray
    brain_mask: MaskArray


@lru_cache(maxsize=4)
def load_template(grid_name: str = "template_2mm") -> Template:
    """The template on a named grid; cached. Raises PackageError when the embedded files are missing or damaged."""
    onto = grid_named(grid_name)
    brain, gray, white = (_volume(f"icbm152_{name}.nii.gz", onto) for name in _VOLUMES)
    mask = _brain_mask(gray + white)
    fluid = np.where(mask, np.clip(1.0 - gray - white, 0.0, 1.0), 0.0).astype(np.float32)
    return Template(onto, brain, gray, white, fluid, mask)


def _volume(name: str, onto: Grid) -> FloatArray:
    import SimpleITK

    array, grid = from_image(SimpleITK.ReadImage(str(verified(resources_folder() / "Template", name))))
    scaled = array.astype(np.float32) / 255.0
    return scaled if grid.same_as(onto) else resample(scaled, grid, onto)


def _brain_mask(tissue: FloatArray) -> MaskArray:
    """Tissue closed over the sulci and filled: the extent of a tight brain extraction."""
    from scipy import ndimage

    closed = ndimage.binary_closing(np.pad(tissue > 0.5, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=np.bool_)
