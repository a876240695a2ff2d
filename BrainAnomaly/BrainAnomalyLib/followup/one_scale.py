"""Intensities of two dates on one scale, so that what did not change has the same value: protocols and gains differ.

Quantiles of both are brought to their mean, outside the bulk along a straight line, so that a lesion load that changes
does not bend the scale; then what still differs slowly over the brain, such as two bias fields, is shared between both.
Nothing depends on which date is called the first.
"""

from __future__ import annotations

import numpy as np

from ..io.geometry import Array, FloatArray, MaskArray

# Lesions are the brightest or darkest few percent of a brain.
_LEVELS = np.linspace(0.02, 0.95, 60)
_LINE_LEVELS, _ROUNDS = 20, 2
_FIELD_MM = 8.0
# What differs by more is a change and no field.
_OUTLIER, _MAD_TO_SIGMA = 3.0, 1.4826


def on_one_scale(now: FloatArray, before: FloatArray, inside: MaskArray) -> tuple[FloatArray, FloatArray]:
    """Both dates (i, j, k; 1 mm) in multiples of their common median, 0 outside ``inside``."""
    first, second = (image / max(float(np.median(image[inside])), 1e-6) for image in (now, before))
    for _ in range(_ROUNDS):
        first, second = _quantiles_matched(first, second, inside)
        field = _field(first - second, inside)
        first, second = first - field / 2.0, second + field / 2.0
    return tuple(np.where(inside, image, 0.0).astype(np.float32) for image in (first, second))  # type: ignore[return-value]


def _quantiles_matched(first: Array, second: Array, inside: MaskArray) -> tuple[Array, Array]:
    quantiles = [np.quantile(image[inside], _LEVELS) for image in (first, second)]
    common = (quantiles[0] + quantiles[1]) / 2.0
    return _mapped(first, quantiles[0], common), _mapped(second, quantiles[1], common)


def _mapped(image: Array, own: Array, common: Array) -> Array:
    """The image with its quantiles ``own`` brought to ``common``."""
    found = np.interp(image, own, common)
    for end, other, beyond in ((-1, _LINE_LEVELS, image > own[-1]), (0, _LINE_LEVELS // 2, image < own[0])):
        slope = (common[end] - common[other]) / max(abs(own[end] - own[other]), 1e-6) * np.sign(own[end] - own[other])
        found = np.where(beyond, common[end] + (image - own[end]) * slope, found)
    return np.asarray(found)


def _field(difference: Array, inside: MaskArray) -> Array:
    """What of a difference varies slowly, changes left out."""
    from scipy import ndimage

    values = difference[inside]
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
    weight = (inside & (np.abs(difference) < _OUTLIER * max(spread, 1e-6))).astype(np.float32)
    smooth = ndimage.gaussian_filter(np.where(weight > 0, difference, 0.0).astype(np.float32), _FIELD_MM)
    return np.asarray(smooth / np.maximum(ndimage.gaussian_filter(weight, _FIELD_MM), 1e-3))
