"""The whole preparation: the steps in order, each a function of its own module."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import OptionsError, PreparationError
from ..io.geometry import FloatArray, Grid, MaskArray
from ..io.resampling import resample
from ..io.volumes import Scan
from ..progress import Progress, part, silent
from .brain.mask import BrainMask, find_brain
from .brain.methods import AUTOMATIC
from .brain.size import size_warning
from .brain.stripped import background_value
from .intensity.artifacts import artifact_warnings
from .intensity.bias import correct_bias
from .intensity.contrast import ContrastGuess, guess_contrast
from .intensity.scale import intensity_scale, lowest_value, without_ringing
from .prepared import PreparedScan
from .recipe import Recipe
from .space.quality import RegistrationQuality, registration_quality
from .space.registration import Registration, register
from .space.template import Template, load_template

_SURE_CONTRAST = 0.7
# What ``auto`` itself comes to, and a mask by the user.
_OWN_METHODS = ("network", "registration", "stripped", "given")


@dataclass(frozen=True, eq=False)
class AlignedScan:
    """A scan with its brain found and its place in the template known, still on its own grid.

    ``lifted`` is the scan with its ``lowest`` value and its background at 0, ``image`` that, bias-corrected if the
    recipe it was aligned by asks for it.
    """

    scan: Scan
    image: FloatArray
    brain: BrainMask
    registration: Registration
    bias_corrected: bool
    lifted: Scan
    lowest: float


def prepare(
    scan: Scan,
    recipe: Recipe,
    brain_mask: MaskArray | None = None,
    brain_mask_method: str | None = None,
    progress: Progress = silent,
) -> PreparedScan:
    """``scan`` in template space by ``recipe``. ``brain_mask`` (scan's grid) replaces the brain extraction.

    Raises PreparationError where no brain is found or its alignment with the template fails.
    """
    aligned = align(scan, recipe, brain_mask, brain_mask_method, part(progress, 0.0, 0.85))
    progress("Bringing the scan into template space", 0.85)
    return into_template(aligned, recipe)


def align(
    scan: Scan,
    recipe: Recipe,
    brain_mask: MaskArray | None = None,
    brain_mask_method: str | None = None,
    progress: Progress = silent,
) -> AlignedScan:
    """The steps that do not depend on the template grid; the brain is found as the recipe says unless told otherwise.

    Raises PreparationError, OptionsError for an unknown method.
    """
    if ((scan.array == scan.array.min()) | (scan.array == scan.array.max())).all():
        message = f"'{scan.name}' has two values only: it is a mask, not a scan."
        raise PreparationError(message, "Give the scan itself.")
    progress("Finding the brain", 0.0)
    seen = replace(scan, array=without_ringing(scan.array, background_value(scan.array)))
    brain = find_brain(seen, brain_mask_method or recipe.brain, brain_mask)
    progress("Correcting the intensity drift", 0.3)
    lowest = lowest_value(seen.array, brain.mask)
    lifted = _lifted(seen, lowest)
    image = correct_bias(lifted.array, scan.grid, brain.mask) if recipe.bias_correction else lifted.array
    progress("Aligning with the template", 0.5)
    registration = register(image, scan.grid, brain.mask, recipe.registration)
    return AlignedScan(scan, image, brain, registration, recipe.bias_correction, lifted, lowest)


class Aligner:
    """Aligns one scan as recipes ask for it, once for all recipes that ask for the same."""

    def __init__(
        self,
        scan: Scan,
        brain_mask: MaskArray | None = None,
        brain_mask_method: str | None = None,
        progress: Progress = silent,
    ) -> None:
        self.scan = scan
        self._how = brain_mask, brain_mask_method, progress
        self._done: dict[tuple[object, ...], AlignedScan] = {}

    def by(self, recipe: Recipe) -> AlignedScan:
        """The scan as ``align`` makes it by this recipe. Raises PreparationError."""
        key = recipe.bias_correction, recipe.registration, recipe.brain
        if key not in self._done:
            self._done[key] = align(self.scan, recipe, *self._how)
        return self._done[key]


def into_template(aligned: AlignedScan, recipe: Recipe) -> PreparedScan:
    """An aligned scan on the recipe's grid. Raises PreparationError if the alignment proves wrong there."""
    if (aligned.bias_corrected, aligned.registration.model) != (recipe.bias_correction, recipe.registration):
        raise OptionsError("The scan was aligned by another recipe than the detector's.", "Prepare it again.")
    template, registration = load_template(recipe.grid), aligned.registration
    moved, mask = _on_template(aligned, template)
    quality = registration_quality(moved, mask, template, _field_of_view(aligned.scan.grid, registration, template))
    _require_alignment(aligned.scan, quality)
    contrast = guess_contrast(moved, mask, template)
    scale = intensity_scale(moved, mask, template, recipe.intensity)
    return PreparedScan(
        image=np.where(mask, scale.apply(moved), 0.0).astype(np.float32),
        brain_mask=mask,
        template=template,
        recipe=recipe,
        native_grid=aligned.scan.grid,
        native_brain_mask=aligned.brain.mask,
        native_from_template=registration.scan_from_template,
        contrast=contrast,
        quality=quality,
        brain_mask_method=aligned.brain.method,
        intensity_scale=replace(scale, offset=scale.offset + aligned.lowest),
        given=aligned.scan.contrast,
        warnings=(
            *aligned.scan.warnings,
            *_brain_warnings(aligned.brain, aligned.scan.grid, recipe),
            *_warnings(aligned.scan, registration, quality, contrast),
            *artifact_warnings(
                aligned.lifted, aligned.image, aligned.brain.mask, registration.scan_from_template, template
            ),
        ),
    )


def _lifted(scan: Scan, lowest: float) -> Scan:
    if lowest == 0.0:
        return scan
    background = scan.array == background_value(scan.array)
    return replace(scan, array=np.where(background, 0.0, np.maximum(scan.array - lowest, 0.0)).astype(np.float32))


def contrast_of(aligned: AlignedScan) -> ContrastGuess:
    """The contrast of an aligned scan, before a detector is chosen."""
    template = load_template("template_2mm")
    return guess_contrast(*_on_template(aligned, template), template)


def _require_alignment(scan: Scan, quality: RegistrationQuality) -> None:
    if quality.verdict == "failed":
        raise PreparationError(
            f"'{scan.name}' could not be aligned with the template brain: {quality.reason}",
            "Check that it is a brain scan and that its brain mask is right, or give a brain mask.",
        )


def _on_template(aligned: AlignedScan, template: Template) -> tuple[FloatArray, MaskArray]:
    """Image and mask on the template grid; the mask keeps voxels that are more than half brain."""
    grid, to_scan = aligned.scan.grid, aligned.registration.scan_from_template
    moved = resample(aligned.image, grid, template.grid, world_map=to_scan)
    inside = resample(aligned.brain.mask.astype(np.float32), grid, template.grid, world_map=to_scan) > 0.5
    return np.where(inside, moved, 0.0).astype(np.float32), inside


def _field_of_view(grid: Grid, registration: Registration, template: Template) -> MaskArray:
    everywhere = np.ones(grid.shape, dtype=np.uint8)
    seen = resample(everywhere, grid, template.grid, registration.scan_from_template, "nearest")
    return np.asarray(seen > 0)


def _brain_warnings(brain: BrainMask, grid: Grid, recipe: Recipe) -> list[str]:
    found = [text for text in (size_warning(brain.mask, grid),) if text]
    expected = _OWN_METHODS if recipe.brain == AUTOMATIC else (recipe.brain, "given")
    if brain.method not in expected:
        found.append(
            f"The brain was found by {brain.method}; the chosen method was made with brains found by '{recipe.brain}', "
            "which end elsewhere by some millimeters."
        )
    return found


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
