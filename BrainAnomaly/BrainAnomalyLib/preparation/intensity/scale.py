"""Bringing intensities of any scanner to one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import PreparationError
from ...io.geometry import FloatArray, MaskArray
from ..space.template import Template

IntensityReference = Literal["white_matter", "percentile_99", "unit_range"]
_SURE_PRIOR = 0.8
# Shares of the voxels that are not 0, and of the scan's brightness: spline resampling leaves up to a seventh of a scan
# below 0 about a brain, a z-scored brain has a third of its voxels there, as deep as others are high.
_LEAST_RINGING, _MOST_RINGING, _WEAK_RINGING = 0.03, 0.25, 0.2
# Interpolation leaves some voxels below 0; an offset leaves many. One voxel in a thousand may be an outlier.
_FEW_NEGATIVE, _LOWEST = 0.01, 0.001


@dataclass(frozen=True)
class IntensityScale:
    """Prepared value = (scan value - offset) / factor."""

    offset: float
    factor: float

    def apply(self, image: FloatArray) -> FloatArray:
        """Scan units to prepared units."""
        return np.asarray((image - self.offset) / self.factor, dtype=np.float32)

    def undo(self, image: FloatArray) -> FloatArray:
        """Prepared units to the (bias-corrected) scan's units."""
        return np.asarray(image * self.factor + self.offset, dtype=np.float32)


def lowest_value(image: FloatArray, brain_mask: MaskArray) -> float:
    """What counts as no signal in a scan (i, j, k): 0, or the lowest values of a brain that reaches well below 0.

    Scans that were z-scored, or shifted otherwise, lost their zero; the darkest fluid stands in for it.
    """
    inside = image[brain_mask]
    if inside.size == 0 or float(np.mean(inside < 0.0)) <= _FEW_NEGATIVE:
        return 0.0
    return float(np.quantile(inside, _LOWEST))


def without_ringing(image: FloatArray, background: float) -> FloatArray:
    """A scan (i, j, k) whose resampling rang about a background of 0: what it left below 0 is background again.

    Ringing is weak against the scan and in the lesser part of it; a z-scored scan is neither.
    """
    below = image < 0.0
    share = float(below.sum()) / max(1.0, float((image != 0.0).sum()))
    if background != 0.0 or not _LEAST_RINGING < share < _MOST_RINGING:
        return image
    depth, height = float(np.quantile(-image[below], 0.99)), float(np.quantile(image[image > 0.0], 0.99))
    return np.where(below, np.float32(0.0), image) if depth < _WEAK_RINGING * height else image


def intensity_scale(
    image: FloatArray, brain_mask: MaskArray, template: Template, reference: IntensityReference
) -> IntensityScale:
    """The chosen scale of a brain on the template grid. Raises PreparationError if it has no positive reference."""
    scale = _SCALES[reference](image, brain_mask, template)
    if not np.isfinite(scale.factor) or scale.factor <= 0.0:
        raise PreparationError(
            "The brain's intensities cannot be scaled: their reference value is not positive.",
            "Check that the scan is a magnitude MR image and that the brain mask lies on the brain.",
        )
    return scale


def by_white_matter(image: FloatArray, brain_mask: MaskArray, template: Template) -> IntensityScale:
    """Median of sure white matter becomes 1; half of the white matter may be lesion before it shifts."""
    sure = brain_mask & (template.white_matter > _SURE_PRIOR)
    return IntensityScale(0.0, float(np.median(image[sure if sure.sum() > 100 else brain_mask])))


def by_percentile_99(image: FloatArray, brain_mask: MaskArray, template: Template) -> IntensityScale:
    """The brain's 99th percentile becomes 1, without clipping (Kascenas et al. 2022)."""
    return IntensityScale(0.0, float(np.percentile(image[brain_mask], 99.0)))


def to_unit_range(image: FloatArray, brain_mask: MaskArray, template: Template) -> IntensityScale:
    """Brain minimum becomes 0, maximum 1 (Luo et al.; sensitive to a single bright voxel)."""
    inside = image[brain_mask]
    return IntensityScale(float(inside.min()), float(inside.max() - inside.min()))


_SCALES: dict[IntensityReference, Callable[[FloatArray, MaskArray, Template], IntensityScale]] = {
    "white_matter": by_white_matter,
    "percentile_99": by_percentile_99,
    "unit_range": to_unit_range,
}
