"""The embedded maps in template space: lobes, deep nuclei, and the structures that are common at a place.

Lobes and nuclei are the nearest parcels of Desikan et al., NeuroImage 2006 (``Utilities/make_regions.py``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..io.geometry import Array, Grid, from_image
from ..preparation.space.grids import grid_named
from ..resources import resources_folder, verified

GRID = "template_2mm"
FOLDER = "Regions"
LOBES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "insula")
NUCLEI = ("caudate nucleus", "putamen", "hippocampus", "amygdala")


class Atlas(NamedTuple):
    """8-bit maps (i, j, k) on ``grid``, the 2 mm template grid.

    ``lobes`` and ``nuclei``: place in ``LOBES`` and ``NUCLEI`` from 1, everywhere; ``structures``: place in
    ``detectors.anatomy.structures.STRUCTURES``.
    """

    grid: Grid
    lobes: Array
    nuclei: Array
    structures: Array


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """The embedded maps; cached. Raises PackageError where a file is missing or damaged."""
    return Atlas(grid_named(GRID), *(_volume(name) for name in ("lobes", "deep_nuclei", "structures")))


def _volume(name: str) -> Array:
    import SimpleITK

    path = verified(resources_folder() / FOLDER, f"{name}.nii.gz")
    return np.asarray(from_image(SimpleITK.ReadImage(str(path)))[0], dtype=np.uint8)
