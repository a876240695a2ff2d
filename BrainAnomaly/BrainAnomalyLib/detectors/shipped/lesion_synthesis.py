"""Healthy slices in random contrasts, and synthetic lesions of random shape, sign and texture in them.

Images (n, 1, i, j) have white matter at about 1, 0 outside the brain. Shapes come from noise alone: no lesion of a
patient is used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..families.self_supervised.corruption import coarse_field

# Intensities at which a T1w slice's tissues lie: none, fluid, gray, white, brightest.
_KNOTS = (0.0, 0.42, 0.74, 1.0, 1.6)
# Ranges for fluid and gray matter, relative to white matter (1), of FLAIR, T2w and T1w (typical protocols) and of
# nothing that exists; chances of each among the slices that change their contrast.
_CONTRASTS = (
    ((0.15, 0.7), (1.0, 1.3)),
    ((1.5, 2.6), (1.1, 1.45)),
    ((0.2, 0.65), (0.6, 0.9)),
    ((0.1, 2.0), (0.4, 1.7)),
)
_CHANCES = (0.15, 0.2, 0.4, 0.25)
# Radii in pixels, also of lesions that come in numbers; chance of a place deep in the brain, where white matter and
# ventricles lie.
_RADII, _SMALL_RADII = (1.2, 18.0), (1.0, 3.0)
_MOST_GROUPS, _MOST_SMALL = 4, 12
_DEEP = 0.4
_DEPTH_CELL, _DEPTH_CELLS = 4, 7
_LEAST_CHANGE = 0.04
# Largest bias and noise of another scanner, relative to white matter, its blur along an axis (pixels), and how much of
# the detail finer than a pixel it may show twice; each with a chance of its own.
_BIAS, _NOISE, _BLUR, _SHARPNESS = 0.2, 0.08, 1.4, 1.0


class Groups(NamedTuple):
    """Chances that a group of lesions is of many small ones, and that its lesions have partners on the other side."""

    many: float
    paired: float


def random_contrast(images: Tensor, masks: Tensor, generator: torch.Generator, natural_probability: float) -> Tensor:
    """Each slice through a random piecewise-linear curve, or as it is with ``natural_probability``."""
    curved = [
        image if _uniform(generator) < natural_probability else _curved(image, generator) * mask
        for image, mask in zip(images, masks, strict=True)
    ]
    return torch.stack(curved)


def random_acquisition(images: Tensor, masks: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Slices as other scanners might give them: uneven, blurred or sharper, noisy, each with ``probability``."""
    pairs = zip(images, masks, strict=True)
    return torch.stack([_acquired(image, mask, generator, probability) for image, mask in pairs])


def with_lesions(
    images: Tensor,
    masks: Tensor,
    generator: torch.Generator,
    clean_probability: float,
    groups: Groups,
) -> tuple[Tensor, Tensor]:
    """Slices with up to four groups of lesions and where these are (n, 1, i, j; 0 or 1).

    None with ``clean_probability``.
    """
    pairs = []
    for image, mask in zip(images, masks, strict=True):
        ill, truth = image, torch.zeros_like(image)
        if _uniform(generator) >= clean_probability and bool(mask.any()):
            for _ in range(1 + int(_MOST_GROUPS * _uniform(generator) ** 2)):
                ill, truth = _with_group(ill, truth, mask, generator, groups)
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


def _acquired(image: Tensor, mask: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """One slice (1, i, j) after another scanner; the brain stays where it is."""
    size = (image.shape[1], image.shape[2])
    if _uniform(generator) < probability:
        field = coarse_field(size, generator, 24 + int(24 * _uniform(generator)))[0].to(image)
        image = image * torch.exp(_between((0.0, _BIAS), generator) * field)
    if _uniform(generator) < probability:
        image = _resolved(image, generator)
    if _uniform(generator) < probability:
        noise = torch.randn(image.shape, generator=generator).to(image)
        image = image + _between((0.0, _NOISE), generator) * noise
    return image.clamp(min=0.0) * mask


def _resolved(image: Tensor, generator: torch.Generator) -> Tensor:
    """The slice (1, i, j) of a scanner with less detail, along each axis for itself, or with more."""
    if _uniform(generator) < 0.5:
        return _blurred(image, [_between((0.2, _BLUR), generator) for _ in range(2)])
    return image + _between((0.0, _SHARPNESS), generator) * (image - _blurred(image, [1.0, 1.0]))


def _blurred(image: Tensor, sigmas: list[float]) -> Tensor:
    """Gaussian of ``sigmas`` pixels along i and j, cut off at three of them."""
    for axis, sigma in enumerate(sigmas):
        reach = max(1, math.ceil(3.0 * sigma))
        weight = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=image.dtype) / sigma) ** 2)
        shape, padding = [1, 1, 1, 1], [0, 0]
        shape[2 + axis], padding[axis] = -1, reach
        kernel = (weight / weight.sum()).to(image).reshape(shape)
        image = torch.nn.functional.conv2d(image[None], kernel, padding=padding)[0]
    return image


def _with_group(
    image: Tensor, truth: Tensor, mask: Tensor, generator: torch.Generator, groups: Groups
) -> tuple[Tensor, Tensor]:
    soft = lesion_group(mask, generator, groups)
    changed = image + soft * (_content(image, soft, generator) - image)
    seen = (soft > 0.5) & ((changed - image).abs() > _LEAST_CHANGE)
    return changed.clamp(min=0.0) * mask, torch.maximum(truth, seen.float())


def lesion_group(mask: Tensor, generator: torch.Generator, groups: Groups) -> Tensor:
    """Lesions of one kind in one soft map (1, i, j) in [0, 1]: one, or many small ones; some have partners."""
    many = _uniform(generator) < groups.many
    count = 3 + int((_MOST_SMALL - 2) * _uniform(generator)) if many else 1
    paired, soft = _uniform(generator) < groups.paired, torch.zeros_like(mask)
    for _ in range(count):
        center = _place(mask, generator)
        radius = _log_between(_SMALL_RADII if many else _RADII, generator)
        soft = torch.maximum(soft, lesion_shape(mask, generator, center, radius))
        if paired:
            other = (mask.shape[1] - 1 - center[0], center[1])
            size = radius * _between((0.6, 1.2), generator)
            soft = torch.maximum(soft, lesion_shape(mask, generator, other, size))
    return soft


def _place(mask: Tensor, generator: torch.Generator) -> tuple[int, int]:
    """A random brain pixel, sometimes one far from the brain's edge."""
    inside = mask[0] > 0.5
    if _uniform(generator) < _DEEP:
        deep = inside & _deep(mask)
        inside = deep if bool(deep.any()) else inside
    brain = torch.nonzero(inside)
    row, column = brain[int(torch.randint(len(brain), (1,), generator=generator))].tolist()
    return row, column


def _deep(mask: Tensor) -> Tensor:
    """Pixels (i, j) with nothing but brain about them, within 14 pixels."""
    pool = torch.nn.functional.avg_pool2d
    coarse = pool(mask[None], _DEPTH_CELL, _DEPTH_CELL, ceil_mode=True)
    depth = pool(coarse, _DEPTH_CELLS, 1, _DEPTH_CELLS // 2)
    return torch.nn.functional.interpolate(depth, size=mask.shape[1:])[0, 0] > 0.9 * depth.max()


def lesion_shape(mask: Tensor, generator: torch.Generator, center: tuple[int, int], radius: float) -> Tensor:
    """A soft irregular blob (1, i, j) in [0, 1] about a pixel, ``radius`` in pixels; 0 beyond four radii."""
    reach = math.ceil(4.0 * radius) + 2
    starts = [max(place - reach, 0) for place in center]
    ends = [min(place + reach + 1, size) for place, size in zip(center, mask.shape[1:], strict=True)]
    y, x = (
        torch.arange(start - place, end - place, dtype=torch.float32)
        for start, end, place in zip(starts, ends, center, strict=True)
    )
    angle, stretch = _between((0.0, math.pi), generator), math.exp(0.35 * _normal(generator))
    along = math.cos(angle) * y[:, None] + math.sin(angle) * x[None]
    across = math.cos(angle) * x[None] - math.sin(angle) * y[:, None]
    distance = torch.sqrt((along * stretch) ** 2 + (across / stretch) ** 2) / radius
    cell = max(2, round(radius * _between((0.5, 1.2), generator)))
    distance = distance + _between((0.0, 0.6), generator) * coarse_field((len(y), len(x)), generator, cell)[0, 0]
    window = torch.sigmoid((1.0 - distance) * radius * _between((1.5, 5.0), generator))
    shape = torch.zeros_like(mask)
    shape[0, starts[0] : ends[0], starts[1] : ends[1]] = window.to(mask)
    return shape * mask


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


def _log_between(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return math.exp(_between((math.log(bounds[0]), math.log(bounds[1])), generator))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((1,), generator=generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((1,), generator=generator))
