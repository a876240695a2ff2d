"""Axial slices of stroke patients as scans that a detector of volumes takes, for measuring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyTrainingLib.recipes.stroke_slices import Slices, selected, template_slice
from family_proof import on_template

_RECIPE = Recipe(grid="template_2mm")
# Copies of a slice on either side, so that what smooths and erodes in three dimensions has something to work on.
_COPIES = 2


def load(data: Path) -> tuple[Slices, Slices]:
    """Healthy slices to calibrate with, and all slices of the test subjects; the shared data's folder."""
    folder = data / "soop_flair_2d"
    held_out = selected(folder, lambda numbers, ill: ~ill & (numbers % 5 == 1))
    return held_out, selected(folder, lambda numbers, _: numbers % 5 == 0)


def as_slab(slices: Slices, index: int) -> PreparedScan:
    """One slice, five times over, in the template's place; white matter is 1, as the preparation has it."""
    template, height = load_template("template_2mm"), template_slice()
    image, mask = np.zeros(template.grid.shape, dtype=np.float32), np.zeros(template.grid.shape, dtype=bool)
    inside = slices.brain_mask[..., index]
    white = inside & (template.white_matter[:, :, height] > 0.8)
    levels = slice(height - _COPIES, height + _COPIES + 1)
    image[:, :, levels] = (slices.image[..., index] / np.median(slices.image[..., index][white]))[..., None]
    mask[:, :, levels] = inside[..., None]
    slab = on_template(image, mask, _RECIPE)
    return replace(slab, given="FLAIR")
