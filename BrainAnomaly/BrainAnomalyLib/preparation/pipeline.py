"""The whole preparation: the steps in order, each a function of its own module."""

from __future__ import annotations

import numpy as np

from ..errors import PreparationError
from ..geometry import FloatArray, Grid, MaskArray, resample
from ..progress import Progress, silent
from ..volumes import Scan
from .bias import correct_bias
from .brain_mask import BrainMaskMethod, find_brain
from .contrast import ContrastGuess, guess_contrast
from .intensity import intensity_scale
from .prepared import PreparedScan
from .quality import RegistrationQuality, registration_quality
from .recipe import Recipe
from .registration import Registration, register
from .template import Template, load_template

_SURE_CONTRAST = 0.7


def prepare(
    scan: Scan,
    recipe: Recipe,
    brain_mask: MaskArray | None = None,
    brain_mask_method: BrainMaskMethod = "auto",
    progress: Progress = silent,
) -> PreparedScan:
    """``scan`` in template space by ``recipe``. ``brain_mask`` (scan's grid) replaces the brain extraction.

    Raises PreparationError where no brain is found or its alignment with the template fails.
    """
    template = load_template(recipe.grid)
    progress("Finding the brain", 0.0)
    brain = find_brain(scan, brain_mask_method, brain_mask)
    progress("Correcting the intensity drift", 0.25)
    image = correct_bias(scan.array, scan.grid, brain.mask) if recipe.bias_correction else scan.array
    progress("Aligning with the template", 0.45)
    registration = register(image, scan.grid, brain.mask, recipe.registration)
    progress("Bringing the scan into template space", 0.9)
    moved, mask = _into_template(image, brain.mask, scan.grid, registration, template)
    quality = registration_quality(moved, mask, template, _field_of_view(scan.grid, registration, template))
    _require_alignment(scan, quality)
    contrast = guess_contrast(moved, mask, template)
    scale = intensity_scale(moved, mask, template, recipe.intensity)
    return PreparedScan(
        image=np.where(mask, scale.apply(moved), 0.0).astype(np.float32),
        brain_mask=mask,
        template=template,
        recipe=recipe,
        native_grid=scan.grid,
        native_brain_mask=brain.mask,
        native_from_template=registration.scan_from_template,
        contrast=contrast,
        quality=quality,
        brain_mask_method=brain.method,
        intensity_scale=scale,
        warnings=tuple(_warnings(scan, registration, quality, contrast)),
    )


def _require_alignment(scan: Scan, quality: RegistrationQuality) -> None:
    if quality.verdict == "failed":
        raise PreparationError(
            f"'{scan.name}' could not be aligned with the template brain: {quality.reason}",
            "Check that it is a brain scan and that its brain mask is right, or give a brain mask.",
        )


def _into_template(
    image: FloatArray, mask: MaskArray, grid: Grid, registration: Registration, template: Template
) -> tuple[FloatArray, MaskArray]:
    """Image and mask on the template grid; the mask keeps voxels that are more than half brain."""
    to_scan = registration.scan_from_template
    moved = resample(image, grid, template.grid, world_map=to_scan)
    inside = resample(mask.astype(np.float32), grid, template.grid, world_map=to_scan) > 0.5
    return np.where(inside, moved, 0.0).astype(np.float32), inside


def _field_of_view(grid: Grid, registration: Registration, template: Template) -> MaskArray:
    everywhere = np.ones(grid.shape, dtype=np.uint8)
    seen = resample(everywhere, grid, template.grid, registration.scan_from_template, "nearest")
    return np.asarray(seen > 0)


def _warnings(
    scan: Scan, registration: Registration, quality: RegistrationQuality, contrast: ContrastGuess
) -> list[str]:
    found = []
    if registration.header_suspect:
        found.append("The scan's orientation header seems wrong: left and right cannot be trusted.")
    if quality.verdict != "good":
        found.append(f"Alignment with the template is {quality.verdict}: {quality.reason}")
    if scan.contrast not in ("unknown", contrast.contrast) and contrast.confidence > _SURE_CONTRAST:
        found.append(f"The scan was given as {scan.contrast} but looks like {contrast.contrast}.")
    return found
