"""A prepared scan on the networks' grid of 2 mm, and their maps back on the scan's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..io.geometry import FloatArray
from ..io.resampling import resample
from ..preparation.prepared import PreparedScan
from ..preparation.space.template import load_template
from .evidence_detector import within

_LEAST_SHARE = 1e-3


def at_2_mm(prepared: PreparedScan) -> PreparedScan:
    """A scan prepared at 1 mm on the network's grid.

    Voxels are means of the brain alone (normalized convolution, Knutsson & Westin 1993): what lies outside is no dark
    tissue, and the brain's rim keeps its brightness.
    """
    template = load_template("template_2mm")
    grids = prepared.template.grid, template.grid
    share = resample(prepared.brain_mask.astype(np.float32), *grids)
    values = np.asarray(resample(prepared.image, *grids) / np.maximum(share, _LEAST_SHARE), dtype=np.float32)
    return replace(
        prepared,
        image=within(values, share > 0.5),
        brain_mask=share > 0.5,
        template=template,
        recipe=replace(prepared.recipe, grid="template_2mm"),
    )


def onto(volume: FloatArray, small: PreparedScan, prepared: PreparedScan) -> FloatArray:
    """A volume of the network's grid on the scan's own, 0 outside the brain."""
    if small is prepared:
        return within(volume, prepared.brain_mask)
    return within(resample(volume.astype(np.float32), small.template.grid, prepared.template.grid), prepared.brain_mask)
