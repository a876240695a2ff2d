"""Intensities of structures as MR contrasts have them, or as none has, and how the tissue varies around them."""

from __future__ import annotations

import numpy as np

from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE, index_of
from BrainAnomalyLib.io.geometry import FloatArray

from .anatomies import Random, smooth_noise

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
_MOST_SPREAD, _MOST_DRIFT = 0.07, 0.1


def random_values(random: Random) -> FloatArray:
    """A value of every structure, white matter of real contrasts 1, outside 0."""
    draw = random.random()
    for name, chance in _CHANCES.items():
        if draw < chance:
            return contrast_values(CONTRASTS[name], random)
        draw -= chance
    return _any_values(random)


def contrast_values(contrast: dict[str, Range], random: Random) -> FloatArray:
    """A value of every structure of a contrast's ranges."""
    named = {name: random.uniform(*bounds) for name, bounds in contrast.items()}
    gray = named["cortex"] - 1.0
    between = {name: max(0.05, 1.0 + gray * random.uniform(*bounds)) for name, bounds in _BETWEEN.items()}
    known = {"outside": 0.0, "white matter": 1.0, **between, **named}
    return np.asarray([known[name] for name in NAMES], dtype=np.float32)


def painted(soft: FloatArray, values: FloatArray, random: Random) -> FloatArray:
    """The image (i, j, k) of shares (structure, i, j, k): mixed values with texture and slow drift."""
    image = np.tensordot(values, soft, axes=1)
    scale = float(np.ptp(values[1:]))
    spreads = random.uniform(0.0, _MOST_SPREAD, len(values)).astype(np.float32) * scale * random.random()
    spreads[OUTSIDE] = 0.0
    texture = smooth_noise(image.shape, random.uniform(0.4, 1.5), random)
    drift = smooth_noise(image.shape, random.uniform(4.0, 10.0), random) * scale * random.uniform(0.0, _MOST_DRIFT)
    return np.asarray(image + np.tensordot(spreads, soft, axes=1) * texture + drift * (1.0 - soft[OUTSIDE]))


def _any_values(random: Random) -> FloatArray:
    """Values of no protocol; white matter and cortex differ, and cerebrum and cerebellum are mostly alike."""
    while True:
        values = random.uniform(0.0, 1.0, len(NAMES)).astype(np.float32)
        if abs(values[index_of("white matter")] - values[index_of("cortex")]) > _LEAST_DIFFERENCE:
            break
    for alike, name in (("cerebellar white matter", "white matter"), ("cerebellar cortex", "cortex")):
        if random.random() < 0.7:
            values[index_of(alike)] = values[index_of(name)] + random.normal(0.0, 0.04)
    if random.random() < 0.6:
        values[index_of("outer fluid")] = values[index_of("ventricle")] + random.normal(0.0, 0.08)
    values[OUTSIDE] = 0.0
    return values
