"""Histogram-equalized intensity: bright is abnormal (Meissen et al. 2021, 'Challenging current semi-supervised
anomaly segmentation methods for brain MRI', section 3).

The volume's in-brain intensities are equalized with 256 bins and thresholded; nothing is learned. By construction the
fraction of brain voxels above a threshold t is 1 - t, in healthy and diseased brains alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...io.geometry import FloatArray, MaskArray
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration


@dataclass(frozen=True)
class HistogramConfig:
    """``bins`` of the equalization (256 in the paper)."""

    bins: int = 256


class HistogramDetector(WithoutCalibration):
    """Meissen's training-free baseline for FLAIR; the map is the equalized intensity in [0, 1], 0 outside the brain."""

    name: ClassVar[str] = "histogram"
    title: ClassVar[str] = "Histogram equalization (Meissen)"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    unit: ClassVar[str] = "equalized intensity"
    cleans_map: ClassVar[bool] = False
    package_identity: None = None

    def __init__(self, config: HistogramConfig | None = None) -> None:
        self.config = config or HistogramConfig()
        self.recipe = Recipe(grid="template_1mm")
        self.threshold = ThresholdAdvice(
            value=0.98,
            source="the brightest 2 % of every brain, by construction of the equalization",
            by_false_positive_rate={rate: 1.0 - rate for rate in (0.001, 0.005, 0.01, 0.05, 0.1)},
        )

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """The same for every contrast."""
        return self.threshold

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction | None:
        """None: this method scores intensities directly."""
        return None

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The equalized brain."""
        return Score(equalize(prepared.image, prepared.brain_mask, self.config.bins), prepared.brain_mask)


def equalize(image: FloatArray, brain_mask: MaskArray, bins: int = 256) -> FloatArray:
    """Cumulative histogram of the brain's intensities at each brain voxel, in [0, 1]; 0 outside the brain.

    The same numbers as ``skimage.exposure.equalize_hist(image, nbins=bins, mask=brain_mask)``, which the paper uses.
    """
    counts, edges = np.histogram(image[brain_mask], bins=bins)
    centers = (edges[:-1] + edges[1:]) / 2.0
    cumulative = counts.cumsum() / counts.sum()
    equalized = np.zeros(image.shape, dtype=np.float32)
    equalized[brain_mask] = np.interp(image[brain_mask], centers, cumulative)
    return equalized
