"""Coarse noise that a denoising autoencoder learns to remove (Kascenas et al. 2022, in 3D) and localized blob noise."""

from __future__ import annotations

import torch
from torch import Tensor

from BrainAnomalyLib.detectors.denoising import COARSE_CELL_VOXELS, coarse_field

_FOREGROUND = 0.01


def coarse_noise(images: Tensor, generator: torch.Generator, sigma: tuple[float, float] = (0.1, 0.3)) -> Tensor:
    """Noise (n, 1, i, j, k) drawn on a grid of 8-voxel cells, upsampled trilinearly, rolled, inside the brain.

    Each image has its own strength from ``sigma`` (the paper uses 0.2). 8 voxels of 2 mm match the paper's cells of
    8 pixels at 1.9 mm.
    """
    size = images.shape[2:]
    noise = coarse_field(size, generator, count=len(images))
    shifts = [int(torch.randint(0, COARSE_CELL_VOXELS, (1,), generator=generator)) for _ in size]
    strength = sigma[0] + (sigma[1] - sigma[0]) * torch.rand((len(images), 1, 1, 1, 1), generator=generator)
    return torch.roll(noise, shifts, dims=(2, 3, 4)) * strength * (images > _FOREGROUND)


def blob_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise confined to a few smooth blobs: one smooth random field where another one exceeds a random quantile."""
    fields = [_smooth_field(images, generator, int(torch.randint(4, 13, (1,), generator=generator))) for _ in range(2)]
    level = 0.9 + 0.095 * float(torch.rand((1,), generator=generator))
    where = torch.sigmoid((fields[1] - _quantile(fields[1], level)) * 12.0)
    strength = 0.15 + 0.45 * float(torch.rand((1,), generator=generator))
    sign = 1.0 if float(torch.rand((1,), generator=generator)) < 0.5 else -1.0
    return (sign * strength * (0.6 + 0.4 * fields[0]) * where) * (images > _FOREGROUND)


def corrupt(images: Tensor, generator: torch.Generator, blob_probability: float = 0.5) -> Tensor:
    """``images`` plus coarse noise and, with ``blob_probability``, blob noise."""
    corrupted = images + coarse_noise(images, generator)
    if float(torch.rand((1,), generator=generator)) < blob_probability:
        corrupted = corrupted + blob_noise(images, generator)
    return corrupted


def _smooth_field(images: Tensor, generator: torch.Generator, cell: int) -> Tensor:
    field = coarse_field(images.shape[2:], generator, cell, len(images))
    return field / field.std()


def _quantile(field: Tensor, level: float) -> Tensor:
    sample = field.flatten()[::17]
    return sample.kthvalue(max(1, int(level * len(sample)))).values
