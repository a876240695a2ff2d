"""The healthy structures that the anatomy model knows: the one list of them, with the labels of other vocabularies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...io.geometry import Array


class Structure(NamedTuple):
    """A structure's name and its labels in FreeSurfer's numbering (both sides; lesions count as what they lie in)."""

    name: str
    freesurfer: tuple[int, ...]


OUTSIDE = 0
# FreeSurfer's FreeSurferColorLUT; 25 and 57 are lesions of white matter, 24 is the fluid about the brain.
STRUCTURES = (
    Structure("outside", ()),
    Structure("white matter", (2, 41, 25, 57, 77, 85, 251, 252, 253, 254, 255)),
    Structure("cortex", (3, 42)),
    Structure("thalamus", (10, 49)),
    Structure("striatum", (11, 12, 26, 50, 51, 58)),
    Structure("pallidum", (13, 52)),
    Structure("hippocampus and amygdala", (17, 18, 53, 54)),
    Structure("ventricle", (4, 5, 14, 15, 43, 44, 72)),
    Structure("outer fluid", (24,)),
    Structure("brainstem", (16, 28, 60)),
    Structure("cerebellar white matter", (7, 46)),
    Structure("cerebellar cortex", (8, 47)),
    Structure("choroid plexus and vessels", (30, 31, 62, 63, 136, 137, 163, 164)),
)
NAMES = tuple(structure.name for structure in STRUCTURES)


def index_of(name: str) -> int:
    """Place of a structure in ``STRUCTURES``. Raises ValueError for an unknown one."""
    return NAMES.index(name)


def from_freesurfer(labels: Array) -> Array:
    """A label map (any shape) in FreeSurfer's numbers as places in ``STRUCTURES`` (uint8); unknown ones are outside."""
    table = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
    for place, structure in enumerate(STRUCTURES):
        table[[label for label in structure.freesurfer if label < len(table)]] = place
    return np.asarray(table[labels.astype(np.int64)])
