"""Left-right asymmetry: a brain against its own mirror image, registered onto it.

The mirrored brain is brought onto the brain by an affine map and then, if asked for, by smooth non-linear demons
with symmetric forces (Vercauteren et al. 2009, NeuroImage), which take away healthy differences of shape. What
remains, |x - mirror|, marks both sides of a pair: the lesion and the healthy place opposite. Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...io.geometry import FloatArray, Grid, to_image
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration

if TYPE_CHECKING:
    import SimpleITK

_AFFINE_ITERATIONS = 60
_SHRINKS = (4, 2)
# The non-linear map is smoother than this, so that it need not be found on finer voxels.
_DEMONS_MM = 4.0


@dataclass(frozen=True)
class AsymmetryConfig:
    """``nonlinear`` adds demons of ``iterations``, whose displacement is smoothed by ``smoothing_mm``.

    A large smoothing keeps the registration from shrinking a lesion onto its healthy counterpart.
    """

    nonlinear: bool = True
    iterations: int = 40
    smoothing_mm: float = 4.0


# Quantiles of the cleaned map over the brain, mean of ten healthy T1w scans of OpenNeuro ds002748.
_T1W_QUANTILES = {0.001: 0.254, 0.005: 0.204, 0.01: 0.183, 0.05: 0.132, 0.1: 0.109}
_THRESHOLD = ThresholdAdvice(0.2, "exceeded by about 0.5 % of the brain in ten healthy T1w scans", _T1W_QUANTILES)
_UNMEASURED = ThresholdAdvice(0.3, "0.3 of white matter, not calibrated on a cohort", {})


class AsymmetryDetector(WithoutCalibration):
    """|x - registered mirror image|, in prepared units, where both are brain."""

    name: ClassVar[str] = "asymmetry"
    title: ClassVar[str] = "Left-right asymmetry"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w", "T2w", "FLAIR")
    unit: ClassVar[str] = "difference to the other side (white matter is 1)"
    cleans_map: ClassVar[bool] = True
    package_identity: None = None

    def __init__(self, config: AsymmetryConfig | None = None) -> None:
        self.config = config or AsymmetryConfig()
        self.recipe = Recipe(grid="template_2mm")
        self.threshold = _THRESHOLD if self.config == AsymmetryConfig() else _UNMEASURED

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Measured on healthy T1w scans; a higher one for other contrasts, which nobody has measured."""
        return self.threshold if contrast == "T1w" else _UNMEASURED

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The registered mirror image: what the other side lets one expect, 0 where that is not brain."""
        progress("Registering the mirrored brain", 0.0)
        mirrored = registered_mirror(prepared.image, prepared.template.grid, self.config)
        return Reconstruction(np.where(prepared.brain_mask, mirrored, 0.0).astype(np.float32))

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The absolute difference inside both brains."""
        found = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        both = prepared.brain_mask & (found.pseudo_healthy > 0.0)
        difference = np.abs(prepared.image - found.pseudo_healthy)
        return Score(np.where(both, difference, 0.0).astype(np.float32), both)


def registered_mirror(image: FloatArray, grid: Grid, config: AsymmetryConfig) -> FloatArray:
    """``image`` (i, j, k; i runs left to right about the middle plane) mirrored and registered onto itself."""
    import SimpleITK

    fixed, moving = to_image(image, grid), to_image(np.ascontiguousarray(image[::-1]), grid)
    moved = SimpleITK.Resample(moving, fixed, _affine(fixed, moving), SimpleITK.sitkLinear, 0.0)
    if config.nonlinear:
        moved = SimpleITK.Resample(moved, fixed, _demons(fixed, moved, config, grid), SimpleITK.sitkLinear, 0.0)
    array = SimpleITK.GetArrayFromImage(moved).transpose(2, 1, 0)
    return np.ascontiguousarray(array, dtype=np.float32)


def _affine(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> SimpleITK.Transform:
    """Least mean square difference, coarse to fine; every voxel on one thread, so that it repeats."""
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, _AFFINE_ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINKS)
    method.SetSmoothingSigmasPerLevel([2.0, 1.0])
    method.SetNumberOfThreads(1)
    start = SimpleITK.AffineTransform(3)
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2.0 for size in fixed.GetSize()]))
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def _demons(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, config: AsymmetryConfig, grid: Grid
) -> SimpleITK.DisplacementFieldTransform:
    import SimpleITK

    shrinks = [max(1, round(_DEMONS_MM / size)) for size in grid.spacing]
    demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(config.iterations)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(
        [config.smoothing_mm / (s * size) for s, size in zip(shrinks, grid.spacing, strict=True)]
    )
    field = demons.Execute(*[SimpleITK.BinShrink(image, shrinks) for image in (fixed, moving)])
    return SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(field, SimpleITK.sitkVectorFloat64))
