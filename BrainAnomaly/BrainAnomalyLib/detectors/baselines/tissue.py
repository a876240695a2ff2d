"""Tissue-referenced intensity: brighter than gray matter, most of all where white matter should be.

For FLAIR and T2w. The reference is the scan's own gray matter, found through the template's prior, so that nothing is
learned and no scanner is special. z = (x - gray matter) / spread of gray matter, smoothed a little, weighted by how
much white matter the template expects, 0 near the brain's surface. The same idea as the lesion-growth family
(gray matter plus a multiple of its spread), kept as a map.

Fluid is bright on T2w. Ventricles and sulci are often wider than the template's, so that a voxel near expected fluid
counts the less, the more it is as bright as the scan's own fluid; far from it, in deep white matter, it counts in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...io.geometry import FloatArray, MaskArray
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration

_MAD_TO_SIGMA = 1.4826


_SOURCE = "robust spreads above gray matter; set on single healthy scans, not calibrated on a cohort"
_THRESHOLDS: dict[Contrast, ThresholdAdvice] = {
    "FLAIR": ThresholdAdvice(1.1, f"1.1 {_SOURCE}", {}),
    "T2w": ThresholdAdvice(1.5, f"1.5 {_SOURCE}", {}),
}
# From here to there on the way from gray matter to fluid, a voxel is taken for fluid more and more.
_FLUID_BEGINS, _FLUID_SURE = 0.5, 0.9
# The share of expected fluid whose brightness is the fluid's own: most of it is mixed with tissue.
_FLUID_LEVEL = 0.9
# Fluid less bright than that, relative to gray matter, cannot be told from lesions (PD).
_BRIGHT_FLUID = 1.2
# As much expected fluid within ``fluid_reach_mm`` makes fluid plausible.
_PLAUSIBLE_FLUID = 0.2


@dataclass(frozen=True)
class TissueConfig:
    """Settings in mm; ``white_matter_floor`` is the weight where the template expects no white matter.

    With ``robust`` the gray matter's center and spread are weighted median and MAD, which lesions hardly move;
    without, weighted mean and standard deviation.
    """

    smoothing_mm: float = 0.8
    white_matter_smoothing_mm: float = 4.0
    white_matter_floor: float = 0.5
    fluid_smoothing_mm: float = 2.0
    fluid_reach_mm: float = 4.0
    erosion_mm: float = 3.0
    robust: bool = True


class TissueDetector(WithoutCalibration):
    """z-score against the scan's own gray matter, weighted by the template's white matter."""

    name: ClassVar[str] = "tissue"
    title: ClassVar[str] = "Gray-matter-referenced intensity"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    unit: ClassVar[str] = "robust standard deviations above gray matter"
    cleans_map: ClassVar[bool] = False
    package_identity: None = None

    def __init__(self, config: TissueConfig | None = None) -> None:
        self.config = config or TissueConfig()
        self.recipe = Recipe(grid="template_1mm")
        self.threshold = _THRESHOLDS["FLAIR"]

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Higher for T2w, whose bright fluid bleeds into the cortex beside it."""
        return _THRESHOLDS.get(contrast, self.threshold)

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The intensities that the template's tissues lead one to expect, each at the scan's own median."""
        template, inside = prepared.template, prepared.brain_mask
        expected = np.zeros_like(prepared.image)
        total = np.zeros_like(prepared.image)
        for prior in (template.gray_matter, template.white_matter, template.cerebrospinal_fluid):
            expected += prior * weighted_quantile(prepared.image[inside], prior[inside] ** 2, 0.5)
            total += prior
        return Reconstruction(np.where(inside, expected / np.maximum(total, 1e-3), 0.0).astype(np.float32))

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The weighted z-score, negative values cut to 0, inside the eroded brain."""
        from scipy import ndimage

        config, inside = self.config, prepared.brain_mask
        spacing = prepared.template.grid.spacing[0]
        center, spread = gray_matter_reference(
            prepared.image[inside], prepared.template.gray_matter[inside], config.robust
        )
        image, weight = prepared.image, self._weight(prepared)
        if prepared.contrast.fluid_to_white > 1.0:
            image, tissue = self._without_fluid(prepared, center)
            weight *= tissue
        z = np.where(inside, (image - center) / max(spread, 1e-3), 0.0)
        z = np.maximum(ndimage.gaussian_filter(z, config.smoothing_mm / spacing), 0.0)
        evaluated = self.evaluated(prepared)
        return Score(np.where(evaluated, z * weight, 0.0).astype(np.float32), evaluated)

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """The brain without its surface, where fluid and skull bleed in."""
        spacing = prepared.template.grid.spacing[0]
        return eroded_by_mm(prepared.brain_mask, self.config.erosion_mm, spacing)

    def _without_fluid(self, prepared: PreparedScan, gray_matter: float) -> tuple[FloatArray, FloatArray]:
        """The image, no brighter than fluid, and how much a voxel should be tissue and looks like it (0 to 1)."""
        from scipy import ndimage

        config, inside, expected = self.config, prepared.brain_mask, prepared.template.cerebrospinal_fluid
        spacing = prepared.template.grid.spacing[0]
        tissue = np.maximum(1.0 - ndimage.gaussian_filter(expected, config.fluid_smoothing_mm / spacing), 0.0)
        fluid = weighted_quantile(prepared.image[inside], expected[inside].astype(np.float64) ** 2, _FLUID_LEVEL)
        if fluid < _BRIGHT_FLUID * gray_matter:
            return prepared.image, tissue
        begins, sure = (gray_matter + part * (fluid - gray_matter) for part in (_FLUID_BEGINS, _FLUID_SURE))
        alike = np.where(inside, np.clip((prepared.image - begins) / (sure - begins), 0.0, 1.0), 0.0)
        near = ndimage.gaussian_filter(expected, config.fluid_reach_mm / spacing) / _PLAUSIBLE_FLUID
        alike = ndimage.gaussian_filter(alike, config.smoothing_mm / spacing) * np.minimum(near, 1.0)
        tissue *= np.maximum(1.0 - alike, 0.0)
        return np.minimum(prepared.image, sure), tissue

    def _weight(self, prepared: PreparedScan) -> FloatArray:
        """1 where white matter is certain, down to floor / (1 + floor) where there should be none."""
        from scipy import ndimage

        config, spacing = self.config, prepared.template.grid.spacing[0]
        prior = ndimage.gaussian_filter(prepared.template.white_matter, config.white_matter_smoothing_mm / spacing)
        weight = (config.white_matter_floor + prior) / (config.white_matter_floor + 1.0)
        return np.asarray(weight, dtype=np.float32)


def gray_matter_reference(values: FloatArray, prior: FloatArray, robust: bool) -> tuple[float, float]:
    """Center and spread of gray matter among brain ``values``, each voxel weighted by its squared prior."""
    weights = prior.astype(np.float64) ** 2
    if not robust:
        center = float(np.average(values, weights=weights))
        return center, float(np.sqrt(np.average((values - center) ** 2, weights=weights)))
    center = weighted_quantile(values, weights, 0.5)
    return center, _MAD_TO_SIGMA * weighted_quantile(np.abs(values - center), weights, 0.5)


def weighted_quantile(values: FloatArray, weights: NDArray[np.floating], level: float) -> float:
    """The value below which ``level`` of the total weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order], dtype=np.float64)
    return float(values[order][min(int(np.searchsorted(total, level * total[-1])), len(values) - 1)])


def eroded_by_mm(mask: MaskArray, distance_mm: float, spacing_mm: float) -> MaskArray:
    """Voxels deeper inside ``mask`` than ``distance_mm``."""
    import SimpleITK
    from scipy import ndimage

    deep = np.zeros_like(mask)
    for box in ndimage.find_objects(mask.astype(np.uint8)):
        outside = SimpleITK.GetImageFromArray(np.pad(~mask[box], 1, constant_values=True).astype(np.uint8))
        outside.SetSpacing([spacing_mm] * 3)
        depth = SimpleITK.SignedMaurerDistanceMap(outside, squaredDistance=False, useImageSpacing=True)
        deep[box] = SimpleITK.GetArrayViewFromImage(depth)[1:-1, 1:-1, 1:-1] > distance_mm
    return deep
