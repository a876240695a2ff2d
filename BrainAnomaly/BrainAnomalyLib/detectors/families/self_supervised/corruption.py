"""Coarse noise that a denoising autoencoder learns to remove (Kascenas et al. 2022) and localized blob noise.

Everything works on images of axial slices (n, 1, i, j) and of volumes (n, 1, i, j, k).
"""

from __future__ import annotations

import torch
from torch import Tensor

COARSE_CELL_VOXELS = 8
_FOREGROUND = 0.01
_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def coarse_field(
    size: tuple[int, ...], generator: torch.Generator, cell: int = COARSE_CELL_VOXELS, count: int = 1
) -> Tensor:
    """Noise (count, 1, *size), of unit variance at the centers of cells of ``cell`` voxels, linear between."""
    cells = [max(2, length // cell) for length in size]
    noise = torch.randn((count, 1, *cells), generator=generator)
    mode = _INTERPOLATION[len(size)]
    return torch.nn.functional.interpolate(noise, size=tuple(size), mode=mode, align_corners=False)


def coarse_noise(images: Tensor, generator: torch.Generator, sigma: tuple[float, float] = (0.1, 0.3)) -> Tensor:
    """Noise drawn on a grid of 8-voxel cells, upsampled linearly, rolled, inside the brain.

    Each image has its own strength from ``sigma`` (the paper uses 0.2). 8 voxels of 2 mm match the paper's cells of
    8 pixels at 1.9 mm.
    """
    size = images.shape[2:]
    noise = coarse_field(size, generator, count=len(images))
    shifts = [int(torch.randint(0, COARSE_CELL_VOXELS, (1,), generator=generator)) for _ in size]
    strength = sigma[0] + (sigma[1] - sigma[0]) * torch.rand((len(images), *[1] * (len(size) + 1)), generator=generator)
    rolled = torch.roll(noise, shifts, dims=tuple(range(2, 2 + len(size)))) * strength
    return rolled.to(images.device) * (images > _FOREGROUND)


def blob_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise confined to a few smooth blobs: one smooth random field where another one exceeds a random quantile."""
    fields = [_smooth_field(images, generator, int(torch.randint(4, 13, (1,), generator=generator))) for _ in range(2)]
    level = 0.9 + 0.095 * float(torch.rand((1,), generator=generator))
    where = torch.sigmoid((fields[1] - _quantile(fields[1], level)) * 12.0)
    strength = 0.15 + 0.45 * float(torch.rand((1,), generator=generator))
    sign = 1.0 if float(torch.rand((1,), generator=generator)) < 0.5 else -1.0
    noise = sign * strength * (0.6 + 0.4 * fields[0]) * where
    return noise.to(images.device) * (images > _FOREGROUND)


def corrupt(images: Tensor, generator: torch.Generator, blob_probability: float = 0.5) -> Tensor:
    """``images`` plus coarse noise and, with ``blob_probability``, blob noise."""
    corrupted = images + coarse_noise(images, generator)
    if float(torch.rand((1,), generator=generator)) < blob_probability:
        corrupted = corrupted + blob_noise(images, generator)
    return corrupted


def _smooth_field(images: Tensor, generator: torch.Generator, cell: int) -> Tensor:
    field = coarse_field(tuple(images.shape[2:]), generator, cell, len(images))
    return field / field.std()


def _quantile(field: Tensor, level: float) -> Tensor:
    sample = field.flatten()[::17]
    return sample.kthvalue(max(1, int(level * len(sample)))).values
