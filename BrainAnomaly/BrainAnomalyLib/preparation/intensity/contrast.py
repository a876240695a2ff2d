"""Which contrast a scan shows, told from the order of its tissue intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...io.geometry import FloatArray, MaskArray
from ...io.volumes import Contrast
from ..space.template import Template


@dataclass(frozen=True)
class ContrastGuess:
    """The most likely contrast, its probability-like confidence in [0, 1], and the tissue ratios it rests on."""

    contrast: Contrast
    confidence: float
    gray_to_white: float
    fluid_to_white: float


# Typical ratios to white matter (gray, cerebrospinal fluid) as seen through partial volume at the template's priors,
# and how far scans stray from them (standard deviation of the natural logarithm). T1w: medians of IXI (0.80, 0.54) and
# OpenNeuro ds002748 (0.67, 0.48); the others: typical clinical protocols, checked on the single scans at hand.
_PROTOTYPES: dict[Contrast, tuple[float, float]] = {
    "T1w": (0.73, 0.50),
    "T2w": (1.20, 2.00),
    "FLAIR": (1.10, 0.50),
    "PD": (1.15, 1.15),
}
_SPREAD = (0.10, 0.28)


def guess_contrast(image: FloatArray, brain_mask: MaskArray, template: Template) -> ContrastGuess:
    """Contrast of a brain on the template grid (any positive intensity scale), from three tissue medians."""
    white = _median(image, brain_mask & (template.white_matter > 0.9))
    gray = _median(image, brain_mask & (template.gray_matter > 0.8)) / white
    fluid = _median(image, brain_mask & (template.cerebrospinal_fluid > 0.8)) / white
    weights = {name: _likelihood(gray, fluid, prototype) for name, prototype in _PROTOTYPES.items()}
    best = max(weights, key=weights.__getitem__)
    confidence = weights[best] / (sum(weights.values()) + 1e-6)
    return ContrastGuess(best if confidence > 0.5 else "unknown", float(confidence), float(gray), float(fluid))


def _median(image: FloatArray, where: MaskArray) -> float:
    values = image[where]
    return max(float(np.median(values)), 1e-6) if values.size else 1e-6


def _likelihood(gray: float, fluid: float, prototype: tuple[float, float]) -> float:
    distances = (np.log(gray / prototype[0]) / _SPREAD[0], np.log(max(fluid, 1e-3) / prototype[1]) / _SPREAD[1])
    return float(np.exp(-0.5 * (distances[0] ** 2 + distances[1] ** 2)))
