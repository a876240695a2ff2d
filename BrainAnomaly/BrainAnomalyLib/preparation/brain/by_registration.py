"""Brain extraction by laying the template's brain mask onto a whole head: the fallback when the network fails.

The template brain is registered to the head by Mattes mutual information over the brain and a margin around it, from
several pitches below the top of the head. The mask of the best fit, grown by 2 mm to the extent that brain extractions
have, is the brain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ...io.geometry import (
    LPS_FROM_RAS,
    Affine,
    FloatArray,
    Grid,
    MaskArray,
    from_transform,
    inverse,
    isotropic_grid,
    to_image,
    to_transform,
)
from ...io.resampling import resample
from ...io.volumes import Scan
from ..space.orientation import to_ras
from ..space.template import Template, load_template

if TYPE_CHECKING:
    import SimpleITK

_SPACING_MM = 4.0
_MARGIN_VOXELS = 2
_SCALP_MM = 14.0
_SLAB_MM = 140.0
_PITCHES_DEGREES = (-20.0, 0.0, 20.0)


def brain_by_registration(scan: Scan) -> MaskArray:
    """Brain mask (i, j, k on the scan's grid) of a whole head whose header orientation is right."""
    array, grid = to_ras(scan.array, scan.grid)
    coarse = isotropic_grid(grid, _SPACING_MM)
    head = np.asarray(resample(array, grid, coarse), dtype=np.float32)
    template = load_template("template_2mm")
    fits = [_fitted(head, coarse, template, start) for start in _starts(head, coarse, template)]
    best = min(fits, key=lambda fit: fit[0])[1]
    inside = ndimage.binary_dilation(template.brain_mask).astype(np.float32)
    return np.asarray(resample(inside, template.grid, scan.grid, world_map=inverse(best)) > 0.5)


def _starts(head: FloatArray, grid: Grid, template: Template) -> list[Affine]:
    """Maps from template to head that put the template's top just below the scalp, at several pitches."""
    foreground = ndimage.binary_opening(head > _otsu(head), iterations=1)
    points = grid.to_world(np.argwhere(foreground))
    top = float(np.percentile(points[:, 2], 99.9))
    slab = points[points[:, 2] > top - _SLAB_MM]
    middle = (np.percentile(slab, 2, axis=0) + np.percentile(slab, 98, axis=0)) / 2.0
    brain = template.grid.to_world(np.argwhere(template.brain_mask))
    height = float(brain[:, 2].max() - brain[:, 2].mean())
    target = np.array([middle[0], middle[1], top - _SCALP_MM - height])
    return [_pose(pitch, brain.mean(axis=0), target) for pitch in _PITCHES_DEGREES]


def _pose(pitch: float, center: FloatArray, target: FloatArray) -> Affine:
    pose = np.eye(4)
    pose[:3, :3] = 0.95 * Rotation.from_euler("x", pitch, degrees=True).as_matrix()
    pose[:3, 3] = target - pose[:3, :3] @ center
    return pose


def _otsu(head: FloatArray) -> float:
    import SimpleITK

    filter_ = SimpleITK.OtsuThresholdImageFilter()
    filter_.Execute(SimpleITK.GetImageFromArray(head))
    return float(filter_.GetThreshold()) * 0.6


def _fitted(head: FloatArray, grid: Grid, template: Template, start: Affine) -> tuple[float, Affine]:
    """Negative mutual information and map from template to head after rigid, similarity and affine refinement."""
    import SimpleITK

    value, found = 0.0, start
    kinds = (SimpleITK.VersorRigid3DTransform(), SimpleITK.Similarity3DTransform(), SimpleITK.AffineTransform(3))
    for kind in kinds:
        value, found = _refined(head, grid, template, found, kind)
    return value, found


def _refined(
    head: FloatArray, grid: Grid, template: Template, start: Affine, correction: SimpleITK.Transform
) -> tuple[float, Affine]:
    import SimpleITK

    center = template.grid.to_world(np.argwhere(template.brain_mask)).mean(axis=0)
    correction.SetCenter((LPS_FROM_RAS[:3, :3] @ center).tolist())
    near = ndimage.binary_dilation(template.brain_mask, iterations=_MARGIN_VOXELS)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(to_image(near, template.grid))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.02, 60, 0.6, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetNumberOfThreads(1)
    method.SetMovingInitialTransform(to_transform(start))
    method.SetInitialTransform(correction, inPlace=True)
    method.Execute(to_image(template.brain, template.grid), to_image(head, grid))
    return float(method.GetMetricValue()), start @ from_transform(correction)
