"""Prepared scans of a brain made of three shells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from BrainAnomalyLib.io.geometry import regular_grid
from BrainAnomalyLib.preparation.intensity.contrast import ContrastGuess
from BrainAnomalyLib.preparation.intensity.scale import IntensityScale
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality
from BrainAnomalyLib.preparation.space.template import Template

SHAPE = (20, 20, 20)


def _template() -> Template:
    """A ball in three shells: fluid inside, white matter, gray matter outside."""
    axes = np.meshgrid(*[np.arange(size) - 9.5 for size in SHAPE], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    gray, white, fluid = (radius < 9) & (radius >= 7.5), (radius < 7.5) & (radius >= 4), radius < 4
    grid = regular_grid(SHAPE, 2.0, (0.0, 0.0, 0.0))
    parts = [part.astype(np.float32) for part in (gray, white, fluid)]
    return Template(grid, parts[1], *parts, radius < 9)


TEMPLATE = _template()


def made_scan(seed: int, gray: float = 0.75, fluid: float = 0.5, contrast: str = "T1w", **changes) -> PreparedScan:
    """A ball brain whose tissues vary a little from scan to scan."""
    random = np.random.default_rng(seed)
    gray, fluid = gray * random.normal(1.0, 0.04), fluid * random.normal(1.0, 0.08)
    image = gray * TEMPLATE.gray_matter + TEMPLATE.white_matter + fluid * TEMPLATE.cerebrospinal_fluid
    image = np.where(TEMPLATE.brain_mask, image + random.normal(0.0, 0.03, SHAPE), 0.0).astype(np.float32)
    agreement, overlap = random.normal(0.5, 0.04), random.normal(0.95, 0.006)
    made = PreparedScan(
        image=image,
        brain_mask=TEMPLATE.brain_mask,
        template=TEMPLATE,
        recipe=Recipe(),
        native_grid=TEMPLATE.grid,
        native_brain_mask=TEMPLATE.brain_mask,
        native_from_template=np.eye(4),
        contrast=ContrastGuess(contrast, 0.95, gray, fluid),
        quality=RegistrationQuality(overlap, agreement, 0.9, "good", ""),
        brain_mask_method="given",
        intensity_scale=IntensityScale(0.0, 1.0),
    )
    return replace(made, **changes)


def made_map(seed: int) -> np.ndarray:
    """What healthy scans leave: about 0.7 everywhere."""
    values = np.random.default_rng(seed + 1000).gamma(20.0, 0.035, SHAPE)
    return np.where(TEMPLATE.brain_mask, values, 0.0).astype(np.float32)
