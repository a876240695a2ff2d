"""Synthetic anomalies made of healthy images: what self-supervised detectors learn to find or to undo.

A soft random shape inside the brain is filled with the texture of another brain (foreign patch interpolation, Tan et
al. 2020) or with shifted intensities of some gray levels (as in DISYRE, Naval Marimont et al. 2024). Everything works
on axial slices (n, 1, i, j) and on volumes (n, 1, i, j, k).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .corruption import coarse_field

HALF_WIDTHS = (0.05, 0.20)
STRENGTHS = (0.05, 0.95)
_LEVELS = 5
_LARGEST_BIAS = 0.6
_LARGEST_SHIFT = 0.05


@dataclass(frozen=True, eq=False)
class SyntheticAnomalies:
    """``images`` with anomalies and their ``strength`` at each voxel in [0, 1], 0 where the image is untouched."""

    images: Tensor
    strength: Tensor


def synthesize(
    images: Tensor,
    masks: Tensor,
    generator: torch.Generator,
    bias_probability: float = 0.5,
    clean_probability: float = 0.2,
) -> SyntheticAnomalies:
    """One anomaly in each image, none with ``clean_probability``; foreign texture comes from the batch's next image.

    ``bias_probability`` is the share of anomalies that are intensity shifts instead of foreign texture.
    """
    pieces = []
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if _uniform(generator) < clean_probability or not bool(mask.any()):
            pieces.append((image, torch.zeros_like(image)))
        elif _uniform(generator) < bias_probability:
            pieces.append(_with_bias(image, mask, generator))
        else:
            pieces.append(_with_foreign_texture(image, mask, _donor(images, index, generator), generator))
    changed, strength = (torch.stack(part) for part in zip(*pieces, strict=True))
    return SyntheticAnomalies(changed * masks, strength * masks)


def random_shape(mask: Tensor, generator: torch.Generator) -> Tensor:
    """A soft shape (1, i, j[, k]) in [0, 1] about a random brain voxel: a box or a blob with an irregular edge.

    Half widths are 5 to 20 % of the image's sides.
    """
    size = tuple(mask.shape[1:])
    brain = torch.nonzero(mask[0] > 0.5)
    center = brain[int(torch.randint(0, len(brain), (1,), generator=generator))].tolist()
    along = [
        (torch.arange(length, dtype=torch.float32) - middle) / (length * _between(HALF_WIDTHS, generator))
        for length, middle in zip(size, center, strict=True)
    ]
    offsets = torch.stack(torch.meshgrid(*along, indexing="ij"))
    if _uniform(generator) < 0.5:
        radius = offsets.abs().amax(0)
    else:
        radius = offsets.norm(dim=0) + 0.4 * coarse_field(size, generator, 12)[0, 0]
    sharpness = 4.0 + 12.0 * _uniform(generator)
    return torch.sigmoid((1.0 - radius) * sharpness)[None].to(mask) * mask


def matched(donor: Tensor, image: Tensor, inside: Tensor) -> Tensor:
    """The donor's values mapped linearly so that they span the image's range ``inside``; unchanged if flat there."""
    low, high = donor[inside].min(), donor[inside].max()
    if not bool(high > low):
        return donor
    least, most = image[inside].min(), image[inside].max()
    return (donor - low) / (high - low) * (most - least) + least


def level_bias(image: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """A shift for each voxel by its gray level: some of five levels of the values ``inside`` go up or down."""
    low, high = image[inside].min(), image[inside].max()
    level = ((image - low) / (high - low).clamp(min=1e-6) * _LEVELS).long().clamp(0, _LEVELS - 1)
    chosen = torch.randperm(_LEVELS, generator=generator)[
        : int(torch.randint(1, _LEVELS + 1, (1,), generator=generator))
    ]
    sign = 1.0 if _uniform(generator) < 0.5 else -1.0
    codebook = torch.zeros(_LEVELS)
    codebook[chosen] = sign * _LARGEST_BIAS
    return codebook.to(image)[level]


def _with_foreign_texture(
    image: Tensor, mask: Tensor, donor: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Interpolated towards the donor by the shape times a strength; half of the donors match the local range first."""
    shape = random_shape(mask, generator)
    inside = shape > 0.1
    if bool(inside.any()) and _uniform(generator) < 0.5:
        donor = matched(donor, image, inside)
    strength = shape * _between(STRENGTHS, generator)
    return image + strength * (donor - image), strength


def _with_bias(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = random_shape(mask, generator)
    inside = shape > 0.1
    if not bool(inside.any()):
        return image, torch.zeros_like(image)
    strength = shape * _between(STRENGTHS, generator)
    shift = level_bias(image, inside, generator)
    return (image + strength * shift).clamp(min=0.0), strength * (shift != 0.0)


def _donor(images: Tensor, index: int, generator: torch.Generator) -> Tensor:
    """The next image of the batch, mirrored half of the time (always if it is the image itself), slightly shifted."""
    donor = images[(index + 1) % len(images)]
    if len(images) == 1 or _uniform(generator) < 0.5:
        donor = donor.flip(1)
    reach = [max(1, round(_LARGEST_SHIFT * length)) for length in donor.shape[1:]]
    shifts = [int(torch.randint(-far, far + 1, (1,), generator=generator)) for far in reach]
    return torch.roll(donor, shifts, dims=tuple(range(1, donor.ndim)))


def _between(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * _uniform(generator)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((1,), generator=generator))
