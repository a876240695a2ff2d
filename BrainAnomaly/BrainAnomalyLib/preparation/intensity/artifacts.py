"""Noise and uneven brightness of white matter, signal in the air: what makes a scan unfit for any detector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...io.geometry import Affine, Array, FloatArray, Grid, MaskArray, apply_affine, inverse
from ...io.resampling import resample
from ...io.volumes import Scan
from ..space.template import Template

# Relative to white matter. Ten scans of eight sources (T1w, T2w, FLAIR; healthy and multiple sclerosis) have noise
# of 0.005 to 0.072 and at most 0.06 in the air; 12 % of noise makes 0.12 to 0.36 of it, a ghost of 20 % 0.11 to 0.27 in
# the air, one of 50 % 0.26 to 0.67.
MOST_NOISE = 0.11
MOST_IN_AIR = 0.1
# 36 corrected scans of eight sources (T1w, T2w, FLAIR; healthy, stroke, multiple sclerosis) have at most 1.2;
# brightness that rises thirteenfold over the field of view leaves 1.3 to 1.7 sideways and front to back, less upwards.
MOST_UNEVEN = 1.3
_SURE_WHITE_MATTER = 0.9
_FEWEST_VOXELS = 200
# Air is looked for so far from the brain, above the level of the eyes, on a lattice of about this spacing.
_FROM_BRAIN_MM = 30.0
_LOWEST_MM = 10.0
_LATTICE_MM = 4.0
# Of the air's brightness, and how many standard deviations of noise reach as high there.
_AIR_QUANTILE, _NOISE_IN_AIR = 0.98, 2.5
# Variance of a voxel minus the mean of its two neighbors, over that of the noise.
_SECOND_DIFFERENCE = 1.5
# Median absolute deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826


def artifact_warnings(
    scan: Scan, corrected: FloatArray, brain: MaskArray, scan_from_template: Affine, template: Template
) -> Iterator[str]:
    """A sentence for each artifact. ``brain`` and ``corrected``, the scan as detectors see it without intensity drift,
    are on the scan's grid; the map takes template points (RAS mm) to it."""
    white = white_matter(scan.grid, brain, scan_from_template, template)
    noise = noise_level(scan, white)
    if noise is not None and noise > MOST_NOISE:
        yield f"The scan is noisy: {noise:.0%} of white matter's brightness. Small anomalies cannot be told from noise."
    air = air_level(scan, brain, white, scan_from_template)
    if air is not None and air - _NOISE_IN_AIR * (noise or 0.0) > MOST_IN_AIR:
        yield (
            f"There is signal in the air around the head ({air:.0%} of white matter's brightness): "
            "ghosts, wrap or motion may look like anomalies."
        )
    uneven = unevenness(corrected, white, scan.grid, scan_from_template)
    if uneven is not None and uneven > MOST_UNEVEN:
        yield (
            f"White matter is {uneven:.1f} times as bright in one part of the brain as in another, after correction: "
            "what is brighter or darker there need not be an anomaly."
        )


def noise_level(scan: Scan, white: MaskArray) -> float | None:
    """Standard deviation of the noise over the brightness of white matter; None where little of that is seen.

    Robust, from second differences along the axis with the smallest voxels (after Immerkaer 1996).
    """
    axis = int(np.argmin(scan.grid.spacing))
    image, sure = np.moveaxis(scan.array, axis, 0), np.moveaxis(white, axis, 0)
    inside = sure[:-2] & sure[1:-1] & sure[2:]
    level = _brightness(scan.array, white)
    if np.count_nonzero(inside) < _FEWEST_VOXELS or level is None:
        return None
    change = (image[1:-1] - (image[:-2] + image[2:]) / 2.0)[inside]
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(change - np.median(change))))
    return spread / float(np.sqrt(_SECOND_DIFFERENCE)) / level


def air_level(scan: Scan, brain: MaskArray, white: MaskArray, scan_from_template: Affine) -> float | None:
    """Brightness of the air beside and above the head (98th percentile) over that of white matter.

    None where no air is seen. A brain without its skull has empty air, which holds copies of it only.
    """
    from scipy import ndimage

    level = _brightness(scan.array, white)
    steps = [max(1, round(_LATTICE_MM / size)) for size in scan.grid.spacing]
    every = tuple(slice(None, None, step) for step in steps)
    sampling = [step * size for step, size in zip(steps, scan.grid.spacing, strict=True)]
    far = ndimage.distance_transform_edt(~brain[every], sampling=sampling) > _FROM_BRAIN_MM
    air = far & (_height(scan.grid, scan_from_template, every) > _LOWEST_MM)
    if level is None or np.count_nonzero(air) < _FEWEST_VOXELS:
        return None
    return float(np.quantile(scan.array[every][air], _AIR_QUANTILE)) / level


def unevenness(image: FloatArray, white: MaskArray, grid: Grid, scan_from_template: Affine) -> float | None:
    """How many times as bright white matter (median) is in the brightest eighth of the brain as in the darkest.

    ``image`` and ``white`` are on ``grid``; eighths are cut along the template's axes. None where little is seen.
    """
    points = apply_affine(inverse(scan_from_template), grid.to_world(np.argwhere(white)))
    eighths = (points > np.median(points, axis=0)) @ np.array([1, 2, 4])
    values = image[white]
    parts = (values[eighths == number] for number in range(8))
    levels = [float(np.median(part)) for part in parts if part.size >= _FEWEST_VOXELS]
    return max(levels) / min(levels) if len(levels) > 1 and min(levels) > 0.0 else None


def white_matter(grid: Grid, brain: MaskArray, scan_from_template: Affine, template: Template) -> MaskArray:
    """Sure white matter on the scan's grid."""
    prior = resample(template.white_matter, template.grid, grid, np.asarray(np.linalg.inv(scan_from_template)))
    return np.asarray((prior > _SURE_WHITE_MATTER) & brain)


def _brightness(image: FloatArray, white: MaskArray) -> float | None:
    level = float(np.median(image[white])) if np.count_nonzero(white) >= _FEWEST_VOXELS else 0.0
    return level if level > 0.0 else None


def _height(grid: Grid, scan_from_template: Affine, every: tuple[slice, ...]) -> Array:
    """Template z (mm) of the lattice's voxels."""
    row = (np.linalg.inv(scan_from_template) @ grid.affine)[2]
    i, j, k = (np.arange(size)[part] for size, part in zip(grid.shape, every, strict=True))
    return np.asarray(row[0] * i[:, None, None] + row[1] * j[None, :, None] + row[2] * k[None, None, :] + row[3])
