"""A prepared scan: what a detector sees, and the way back to the scan that was submitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..io.geometry import Affine, FloatArray, Grid, MaskArray, inverse
from ..io.resampling import resample
from ..io.volumes import Contrast
from .intensity.contrast import ContrastGuess
from .intensity.scale import IntensityScale
from .recipe import Recipe
from .space.quality import RegistrationQuality
from .space.template import Template


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan in template space (i, j, k in RAS order) and its relation to the submitted one.

    ``image`` is 0 outside ``brain_mask``; ``native_from_template`` maps template RAS mm to the submitted scan's
    RAS mm; ``contrast`` is what the intensities tell, ``given`` what the user says; ``warnings`` are plain sentences
    for the user.
    """

    image: FloatArray
    brain_mask: MaskArray
    template: Template
    recipe: Recipe
    native_grid: Grid
    native_brain_mask: MaskArray
    native_from_template: Affine
    contrast: ContrastGuess
    quality: RegistrationQuality
    brain_mask_method: str
    intensity_scale: IntensityScale
    warnings: tuple[str, ...] = ()
    given: Contrast = "unknown"

    @property
    def shown(self) -> Contrast:
        """The contrast that counts: the given one, or what the intensities tell where none was given."""
        return self.contrast.contrast if self.given == "unknown" else self.given

    @property
    def template_from_native(self) -> Affine:
        """4x4 map from the submitted scan's RAS mm to template RAS mm."""
        return inverse(self.native_from_template)

    def to_native(self, volume: FloatArray) -> FloatArray:
        """A template-space volume on the submitted scan's grid, linearly interpolated, 0 outside the brain."""
        from scipy import ndimage

        found = np.zeros(self.native_grid.shape, dtype=np.float32)
        for box in ndimage.find_objects(self.native_brain_mask.astype(np.uint8)):
            moved = resample(volume, self.template.grid, self.native_grid.part(box), self.template_from_native)
            found[box] = np.where(self.native_brain_mask[box], moved, 0.0)
        return found
