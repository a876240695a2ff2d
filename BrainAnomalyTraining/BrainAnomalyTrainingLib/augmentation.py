"""Random but healthy variation of prepared scans: pose, mirror, scanner gain, contrast, drift, blur and noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augmented images and masks (n, 1, i, j, k; i runs left to right); background stays 0."""
    images, masks = _pose(images, masks, generator)
    images = _contrast(images, generator)
    images = images * _drift(images, generator)
    if _uniform(generator) < 0.3:
        images = _blur(images, 0.4 + 0.5 * _uniform(generator))
    images = images + 0.03 * _uniform(generator) * torch.randn(images.shape, generator=generator)
    return torch.clamp(images, min=0.0) * masks, masks


def _pose(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror with probability 0.5 and a small affine misalignment, as registrations leave it."""
    if _uniform(generator) < 0.5:
        images, masks = torch.flip(images, (2,)), torch.flip(masks, (2,))
    matrix = torch.eye(3) + 0.03 * torch.randn((3, 3), generator=generator)
    shift = 0.03 * torch.randn((3, 1), generator=generator)
    theta = torch.cat([matrix, shift], dim=1)[None].expand(len(images), -1, -1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(torch.cat([images, masks], dim=1), grid, align_corners=False)
    masks = (moved[:, 1:] > 0.5).float()
    return moved[:, :1] * masks, masks


def _contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gain 1 + N(0, 0.1), gamma exp(N(0, 0.15)) about white matter (1), and sometimes a gentle random curve."""
    gain = 1.0 + 0.1 * _normal(generator)
    gamma = math.exp(0.15 * _normal(generator))
    images = gain * torch.clamp(images, min=0.0) ** gamma
    return _random_curve(images, generator) if _uniform(generator) < 0.3 else images


def _random_curve(images: Tensor, generator: torch.Generator) -> Tensor:
    """A monotone piecewise-linear curve with seven knots on [0, 1.5] that keeps white matter (1) in place."""
    knots = torch.linspace(0.0, 1.5, 7)
    steps = 0.25 * torch.exp(0.25 * torch.randn((6,), generator=generator))
    values = torch.cat([torch.zeros(1), steps.cumsum(0)])
    values = values / values[4]
    index = torch.clamp((images / 0.25).long(), 0, 5)
    return values[index] + (images - knots[index]) * (values[index + 1] - values[index]) / 0.25


def _drift(images: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth multiplicative field exp(N(0, 0.1)) on a 3 x 3 x 3 grid: what bias correction leaves behind."""
    field = 0.1 * torch.randn((len(images), 1, 3, 3, 3), generator=generator)
    return torch.exp(functional.interpolate(field, size=images.shape[2:], mode="trilinear", align_corners=True))


def _blur(images: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 5
        padding = [0, 0, 0]
        padding[axis] = 2
        images = functional.conv3d(images, kernel.reshape(shape), padding=padding)
    return images


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((1,), generator=generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((1,), generator=generator))
