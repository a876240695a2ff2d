"""Intensities of structures as MR contrasts have them, or as none has, and how the tissue varies around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE, index_of
from BrainAnomalyLib.io.geometry import FloatArray

from .fields import Random, smooth_noise

Range = tuple[float, float]
# Cortex, ventricle and outer fluid relative to white matter (1) in typical protocols; fluid about the brain holds
# vessels and membranes that fluid in the ventricles has not. With contrast agent, vessels and choroid plexus shine.
CONTRASTS: dict[str, dict[str, Range]] = {
    "T1w": {"cortex": (0.55, 0.88), "ventricle": (0.12, 0.5), "outer fluid": (0.2, 0.6)},
    "T2w": {"cortex": (1.12, 1.6), "ventricle": (1.6, 3.2), "outer fluid": (1.4, 2.8)},
    "FLAIR": {"cortex": (1.03, 1.4), "ventricle": (0.05, 0.6), "outer fluid": (0.15, 0.8)},
    "PD": {"cortex": (1.05, 1.35), "ventricle": (0.8, 1.6), "outer fluid": (0.8, 1.6)},
    "T1w with contrast agent": {
        "cortex": (0.6, 0.95),
        "ventricle": (0.12, 0.5),
        "outer fluid": (0.2, 0.7),
        "choroid plexus and vessels": (1.1, 2.2),
    },
}
_CHANCES = {"T1w": 0.2, "T2w": 0.2, "FLAIR": 0.2, "PD": 0.05, "T1w with contrast agent": 0.05}
# How far between white matter (0) and cortex (1) the other tissues lie.
_BETWEEN: dict[str, Range] = {
    "thalamus": (0.15, 0.9),
    "striatum": (0.5, 1.2),
    "pallidum": (-0.6, 0.6),
    "hippocampus and amygdala": (0.8, 1.3),
    "brainstem": (-0.2, 0.45),
    "cerebellar white matter": (-0.2, 0.3),
    "cerebellar cortex": (0.5, 1.2),
    "choroid plexus and vessels": (0.2, 1.6),
}
_LEAST_DIFFERENCE = 0.06
# Of the real scans; the brightest value that they have to speak of.
_REDRAWN, _BRIGHTEST = 0.6, 1.4
_MOST_SPREAD, _MOST_DRIFT = 0.07, 0.1


# What disease mostly does to a contrast: 1 brighter, -1 darker.
_DISEASE = {"T1w": -1.0, "T2w": 1.0, "FLAIR": 1.0, "PD": 1.0, "T1w with contrast agent": -1.0}
_KNOTS = 6


class Values(NamedTuple):
    """A value of every structure, and whether disease is mostly brighter (1), darker (-1) or either (0) there."""

    levels: FloatArray
    disease: float

    @property
    def fluid(self) -> float:
        """The value of the fluid in the ventricles."""
        return float(self.levels[index_of("ventricle")])

    @property
    def lowest(self) -> float:
        """Of the structures."""
        return float(self.levels[1:].min())

    @property
    def spread(self) -> float:
        """From the darkest structure to the brightest."""
        return max(float(np.ptp(self.levels[1:])), 1e-6)


def random_values(random: Random) -> Values:
    """Values of a real contrast (white matter 1) or of none; outside 0."""
    draw = random.uniform(0.0, 1.0)
    for name, chance in _CHANCES.items():
        if draw < chance:
            return Values(contrast_values(CONTRASTS[name], random), _DISEASE[name])
        draw -= chance
    return Values(_any_values(random), 0.0)


def contrast_values(contrast: dict[str, Range], random: Random) -> FloatArray:
    """A value of every structure of a contrast's ranges."""
    named = {name: random.uniform(*bounds) for name, bounds in contrast.items()}
    gray = named["cortex"] - 1.0
    between = {name: max(0.05, 1.0 + gray * random.uniform(*bounds)) for name, bounds in _BETWEEN.items()}
    known = {"outside": 0.0, "white matter": 1.0, **between, **named}
    return np.asarray([known[name] for name in NAMES], dtype=np.float32)


def painted(soft: Tensor, values: Values, random: Random) -> Tensor:
    """The image (i, j, k) of shares (structure, i, j, k): mixed values with texture and slow drift."""
    levels = torch.from_numpy(values.levels).to(soft.device)
    spreads = random.numbers.uniform(0.0, _MOST_SPREAD, len(NAMES)).astype(np.float32)
    spreads *= values.spread * random.uniform(0.0, 1.0)
    spreads[OUTSIDE] = 0.0
    shape = soft.shape[1:]
    texture = smooth_noise(shape, random.uniform(0.4, 1.5), random)
    drift = smooth_noise(shape, random.uniform(4.0, 10.0), random) * (values.spread * random.uniform(0.0, _MOST_DRIFT))
    spread: Tensor = torch.tensordot(torch.from_numpy(spreads).to(soft.device), soft, dims=1)
    mixed: Tensor = torch.tensordot(levels, soft, dims=1)
    return mixed + spread * texture + drift * (1.0 - soft[OUTSIDE])


def recolored(image: Tensor, soft: Tensor, random: Random) -> tuple[Tensor, Values]:
    """A healthy T1w scan (i, j, k; white matter about 1) as it is, or with its gray values redrawn at random.

    Values are the medians of what mostly holds each structure in ``soft``.
    """
    disease = -1.0
    if random.chance(_REDRAWN):
        heights = torch.from_numpy(random.numbers.uniform(0.0, 1.0, _KNOTS).astype(np.float32)).to(image.device)
        place = (image / _BRIGHTEST).clamp(0.0, 0.999) * (_KNOTS - 1)
        low = place.long()
        image, disease = heights[low] + (place - low) * (heights[low + 1] - heights[low]), 0.0
    inside = [image[share > 0.5] for share in soft]
    middle = float(image[soft[OUTSIDE] < 0.5].median())
    levels = [float(part.median()) if len(part) else middle for part in inside]
    return image, Values(np.asarray([0.0, *levels[1:]], dtype=np.float32), disease)


def _any_values(random: Random) -> FloatArray:
    """Values of no protocol; white matter and cortex differ, and cerebrum and cerebellum are mostly alike."""
    while True:
        values = random.numbers.uniform(0.0, 1.0, len(NAMES)).astype(np.float32)
        if abs(values[index_of("white matter")] - values[index_of("cortex")]) > _LEAST_DIFFERENCE:
            break
    for alike, name in (("cerebellar white matter", "white matter"), ("cerebellar cortex", "cortex")):
        if random.chance(0.7):
            values[index_of(alike)] = values[index_of(name)] + random.numbers.normal(0.0, 0.04)
    if random.chance(0.6):
        values[index_of("outer fluid")] = values[index_of("ventricle")] + random.numbers.normal(0.0, 0.08)
    values[OUTSIDE] = 0.0
    return values
