"""Random but healthy variation of prepared scans: pose, mirror, scanner gain, contrast, drift, blur and noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augmented images and masks (n, 1, i, j[, k]; i runs left to right); background stays 0.

    The volumes of a batch share pose, contrast and blur; axial slices, of which a batch holds many, each get their own.
    """
    if images.ndim == 4:
        pairs = [_augmented(images[one : one + 1], masks[one : one + 1], generator) for one in range(len(images))]
        return torch.cat([image for image, _ in pairs]), torch.cat([mask for _, mask in pairs])
    return _augmented(images, masks, generator)


def _augmented(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    images, masks = _pose(images, masks, generator)
    images = _contrast(images, generator)
    images = images * _drift(images, generator)
    if _uniform(generator) < 0.3:
        images = _blur(images, 0.4 + 0.5 * _uniform(generator))
    images = images + 0.03 * _uniform(generator) * torch.randn(images.shape, generator=generator)
    return torch.clamp(images, min=0.0) * masks, masks


def _pose(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror with probability 0.5 and a small affine misalignment, as registrations leave it."""
    axes = images.ndim - 2
    if _uniform(generator) < 0.5:
        images, masks = torch.flip(images, (2,)), torch.flip(masks, (2,))
    matrix = torch.eye(axes) + 0.03 * torch.randn((axes, axes), generator=generator)
    shift = 0.03 * torch.randn((axes, 1), generator=generator)
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
    """A smooth multiplicative field exp(N(0, 0.1)), three knots along each axis: what bias correction leaves behind."""
    axes = images.ndim - 2
    field = 0.1 * torch.randn((len(images), 1, *[3] * axes), generator=generator)
    mode = "trilinear" if axes == 3 else "bilinear"
    return torch.exp(functional.interpolate(field, size=images.shape[2:], mode=mode, align_corners=True))


def _blur(images: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    axes = images.ndim - 2
    convolve = functional.conv3d if axes == 3 else functional.conv2d
    for axis in range(axes):
        shape, padding = [1] * (axes + 2), [0] * axes
        shape[2 + axis] = 5
        padding[axis] = 2
        images = convolve(images, kernel.reshape(shape), padding=padding)
    return images


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((1,), generator=generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((1,), generator=generator))
