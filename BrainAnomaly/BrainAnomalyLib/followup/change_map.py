"""By how much more than noise two dates differ at each voxel: the difference over what edges and noise make of none.

Most of a brain does not change, so that the pair itself shows how large differences are where nothing happened (an
empirical null, Efron 2004, doi:10.1198/016214504000000089). They grow with the slope of the intensities, by which what
is left of a misregistration is told from a change. Sampling makes differences of its own: a small lesion in thick
slices is as bright as the slices happen to cut it. How large those are at a place is seen when each date is sampled as
the other one was.
"""

from __future__ import annotations

import numpy as np

from ..io.geometry import Array, FloatArray, MaskArray

UNIT = "spreads of the difference where nothing changed"
# Noise of single voxels goes, lesions of a few voxels stay.
_SMOOTHED_MM, _SLOPE_MM = 0.8, 1.0
_CLASSES = 20
_MAD_TO_SIGMA = 1.4826
# Half of the least median spread of MSLUB's pairs of dates (0.019): no scanner repeats a scan better than that.
_LEAST_SPREAD = 0.01
# Sampling there and back is sampling twice; each date was sampled once.
_OF_BOTH_WAYS = 0.5
# The brain's rim is where masks and registrations of two dates differ.
_RIM_MM = 2


def change_map(now: FloatArray, before: FloatArray, sampled: FloatArray, inside: MaskArray) -> FloatArray:
    """Signed change (i, j, k; ``UNIT``), above 0 where the later date is brighter; 0 at the rim and outside.

    ``now`` and ``before`` are on one scale (``one_scale``), 1 mm; ``sampled`` is by how much sampling changes them
    (``sampling_error``).
    """
    from scipy import ndimage

    core = ndimage.binary_erosion(inside, iterations=_RIM_MM)
    if not core.any():
        return np.zeros(inside.shape, dtype=np.float32)
    difference = _without_noise(now - before)
    slope = ndimage.gaussian_gradient_magnitude((now + before) / 2.0, _SLOPE_MM)
    spread = np.maximum(_spread_by_slope(difference[core], slope[core], slope), _LEAST_SPREAD)
    return np.where(core, difference / np.hypot(spread, sampled), 0.0).astype(np.float32)


def sampling_error(*dates: tuple[FloatArray, FloatArray]) -> FloatArray:
    """By how much one sampling changes any of ``dates``, each as it is and sampled there and back (i, j, k; 1 mm)."""
    errors = [np.abs(_without_noise(there_and_back - image)) for image, there_and_back in dates]
    return np.asarray(_OF_BOTH_WAYS * np.max(errors, axis=0), dtype=np.float32)


def _without_noise(volume: FloatArray) -> FloatArray:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(volume, _SMOOTHED_MM))


def _spread_by_slope(differences: Array, slopes: Array, everywhere: Array) -> Array:
    """Robust spread of the differences at voxels of like slope, never less at a steeper one."""
    edges = np.quantile(slopes, np.linspace(0.0, 1.0, _CLASSES + 1))
    which = np.clip(np.searchsorted(edges, slopes) - 1, 0, _CLASSES - 1)
    parts = [differences[which == number] for number in range(_CLASSES)]
    spreads = [_MAD_TO_SIGMA * float(np.median(np.abs(part - np.median(part)))) if part.size else 0.0 for part in parts]
    return np.asarray(np.interp(everywhere, (edges[1:] + edges[:-1]) / 2.0, np.maximum.accumulate(spreads)))
