"""What a scanner and a brain extraction make of a painted scan: thick slices, bias, noise, ghosts, masks."""

from __future__ import annotations

import torch
from torch import Tensor

from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, index_of

from .fields import Random, blurred, smooth_noise

# Slices of up to 6.5 mm; a full width at half maximum is 2.355 deviations.
_MOST_SLICE_MM, _WIDTH, _SPACING_MM = 6.5, 2.355, 2.0
_MOST_BIAS, _MOST_NOISE = 0.3, 0.06
_WIDE_MASK, _LEFT_TISSUE = 0.25, 0.5


def acquired(image: Tensor, soft: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    """The scan (i, j, k) as acquired, 0 outside the brain mask, and that mask."""
    mask = _mask(soft, random)
    if random.chance(_LEFT_TISSUE):
        image = image + soft[OUTSIDE] * _tissue_outside(image, random)
    scale = image[mask].max() - image[mask].min() if bool(mask.any()) else image.new_tensor(1.0)
    image = blurred(image, _blur(random))
    if random.chance(0.7):
        field = smooth_noise(image.shape, random.uniform(15.0, 40.0), random)
        image = image * torch.exp(random.uniform(0.0, _MOST_BIAS) * field)
    if random.chance(0.08):
        ghost = torch.roll(image, int(random.numbers.integers(8, 50)), int(random.numbers.integers(2)))
        image = image + random.uniform(0.02, 0.12) * ghost
    if random.chance(0.7):
        image = image + random.uniform(0.0, _MOST_NOISE) * scale * random.noise(image.shape)
    return torch.where(mask, image, 0.0), mask


def _blur(random: Random) -> list[float]:
    """Deviations in voxels along i, j, k: a small one everywhere, and thick slices along one axis."""
    deviations = [random.uniform(0.0, 0.55) for _ in range(3)]
    if random.chance(0.5):
        axis = int(random.numbers.choice([0, 1, 2, 2]))
        deviations[axis] = random.uniform(1.0, _MOST_SLICE_MM) / _WIDTH / _SPACING_MM
    return deviations


def _mask(soft: Tensor, random: Random) -> Tensor:
    """Brain masks too tight, about right, or wide, with a border of their own."""
    solid = 1.0 - soft[OUTSIDE] - soft[index_of("outer fluid")] * random.uniform(0.0, 1.0)
    level = random.uniform(0.05, 0.25) if random.chance(_WIDE_MASK) else random.uniform(0.25, 0.6)
    wobble = random.uniform(0.0, 0.1) * smooth_noise(solid.shape, random.uniform(2.0, 6.0), random)
    return blurred(solid, random.uniform(0.5, 2.5)) + wobble > level


def _tissue_outside(image: Tensor, random: Random) -> Tensor:
    """Skull, skin or nothing about the brain: patches of any brightness."""
    patches = smooth_noise(image.shape, random.uniform(0.8, 4.0), random)
    return (image.max() * (random.uniform(0.0, 1.0) + 0.4 * patches)).clamp(min=0.0)
