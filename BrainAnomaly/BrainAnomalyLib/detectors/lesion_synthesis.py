"""Healthy slices in random contrasts, and synthetic lesions of random shape, sign and texture in them.

Images (n, 1, i, j) have white matter at about 1, 0 outside the brain. Shapes come from noise alone: no lesion of a
patient is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .corruption import coarse_field

# Intensities at which a T1w slice's tissues lie: none, fluid, gray, white, brightest.
_KNOTS = (0.0, 0.42, 0.74, 1.0, 1.6)
# Ranges for fluid and gray matter, relative to white matter (1), of FLAIR and T2w (typical protocols) and of nothing
# that exists; chances of each among the slices that change their contrast.
_CONTRASTS = (((0.15, 0.7), (1.0, 1.3)), ((1.5, 2.6), (1.1, 1.45)), ((0.1, 2.0), (0.4, 1.7)))
_CHANCES = (0.45, 0.3, 0.25)
_RADII = (1.5, 18.0)
_MOST_LESIONS = 5
_LEAST_CHANGE = 0.04


def random_contrast(images: Tensor, masks: Tensor, generator: torch.Generator, natural_probability: float) -> Tensor:
    """Each slice through a random piecewise-linear curve, or as it is with ``natural_probability``."""
    curved = [
        image if _uniform(generator) < natural_probability else _curved(image, generator) * mask
        for image, mask in zip(images, masks, strict=True)
    ]
    return torch.stack(curved)


def with_lesions(
    images: Tensor, masks: Tensor, generator: torch.Generator, clean_probability: float
) -> tuple[Tensor, Tensor]:
    """Slices with up to five lesions and where these are (n, 1, i, j; 0 or 1); none with ``clean_probability``."""
    pairs = []
    for image, mask in zip(images, masks, strict=True):
        ill, truth = image, torch.zeros_like(image)
        if _uniform(generator) >= clean_probability and bool(mask.any()):
            for _ in range(1 + int(_MOST_LESIONS * _uniform(generator) ** 2)):
                ill, truth = _with_lesion(ill, truth, mask, generator)
        pairs.append((ill, truth))
    ill, truth = (torch.stack(part) for part in zip(*pairs, strict=True))
    return ill, truth


def _curved(image: Tensor, generator: torch.Generator) -> Tensor:
    """The slice with fluid and gray matter moved to the values of another contrast."""
    draw, kind = _uniform(generator), 0
    while kind < len(_CHANCES) - 1 and draw > _CHANCES[kind]:
        draw, kind = draw - _CHANCES[kind], kind + 1
    fluid, gray = (_between(bounds, generator) for bounds in _CONTRASTS[kind])
    values = image.new_tensor([0.0, fluid, gray, 1.0, _between((1.1, 1.8), generator)])
    knots = image.new_tensor(_KNOTS) * (1.0 + 0.06 * _normal(generator))
    place = torch.bucketize(image.contiguous(), knots[1:-1])
    slope = (values[place + 1] - values[place]) / (knots[place + 1] - knots[place])
    return (values[place] + (image - knots[place]) * slope).clamp(0.0, 4.0)


def _with_lesion(image: Tensor, truth: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    soft = lesion_shape(mask, generator)
    changed = image + soft * (_content(image, soft, generator) - image)
    seen = (soft > 0.5) & ((changed - image).abs() > _LEAST_CHANGE)
    return changed.clamp(min=0.0) * mask, torch.maximum(truth, seen.float())


def lesion_shape(mask: Tensor, generator: torch.Generator) -> Tensor:
    """A soft irregular blob (1, i, j) in [0, 1] about a random brain voxel, 3 to 36 mm in radius at 2 mm."""
    rows, columns = mask.shape[1:]
    brain = torch.nonzero(mask[0] > 0.5)
    center = brain[int(torch.randint(len(brain), (1,), generator=generator))]
    radius = math.exp(_between((math.log(_RADII[0]), math.log(_RADII[1])), generator))
    angle, stretch = _between((0.0, math.pi), generator), math.exp(0.35 * _normal(generator))
    y = torch.arange(rows, dtype=torch.float32)[:, None] - float(center[0])
    x = torch.arange(columns, dtype=torch.float32)[None] - float(center[1])
    along, across = math.cos(angle) * y + math.sin(angle) * x, math.cos(angle) * x - math.sin(angle) * y
    distance = torch.sqrt((along * stretch) ** 2 + (across / stretch) ** 2) / radius
    cell = max(2, round(radius * _between((0.5, 1.2), generator)))
    distance = distance + _between((0.0, 0.6), generator) * coarse_field((rows, columns), generator, cell)[0, 0]
    sharpness = radius * _between((1.5, 5.0), generator)
    return (torch.sigmoid((1.0 - distance) * sharpness)[None].to(mask)) * mask


def _content(image: Tensor, soft: Tensor, generator: torch.Generator) -> Tensor:
    """What fills a lesion: the tissue scaled or shifted, a level of its own, or a texture about the local mean."""
    sign = 1.0 if _uniform(generator) < 0.5 else -1.0
    strength, draw = sign * _between((0.1, 0.6), generator), _uniform(generator)
    if draw < 0.55:
        return image * (1.0 + strength)
    if draw < 0.75:
        return image + strength
    mean = (image * soft).sum() / soft.sum().clamp(min=1e-3)
    if draw < 0.9:
        return (mean * (1.0 + 1.5 * strength)).expand_as(image)
    size = (image.shape[1], image.shape[2])
    return mean + abs(strength) * coarse_field(size, generator, 2 + int(3 * _uniform(generator)))[0].to(image)


def _between(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * _uniform(generator)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((1,), generator=generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((1,), generator=generator))
