"""Noise of zero mean and unit variance for diffusion models of axial slices: white, simplex and pyramid noise.

Simplex noise has structure at many scales, so that a diffusion model learns to repair more than pixels (Wyatt et al.
2022, 'AnoDDPM: Anomaly detection with denoising diffusion probabilistic models using simplex noise', CVPR workshops).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...learning import normal

# Skew and unskew factors of the triangular lattice (Perlin 2001, 'Noise hardware'), and the squared reach of a corner.
_SKEW = (math.sqrt(3.0) - 1.0) / 2.0
_UNSKEW = (3.0 - math.sqrt(3.0)) / 6.0
_REACH = 0.5
# Variance of one octave at any pixel: sqrt(3) lattice points for each unit of area times the integral over a corner's
# reach of (reach - r^2)^8 r^2 / 2, which is pi / 2 * reach^10 / 90.
OCTAVE_VARIANCE = math.sqrt(3.0) * math.pi / 2.0 * _REACH**10 / 90.0


def noise_like(
    images: Tensor, kind: str, generator: torch.Generator, octaves: int, persistence: float, frequency: float
) -> Tensor:
    """Gaussian, simplex or pyramid noise (``kind``) like ``images`` (n, c, i, j), another for each image."""
    if kind == "simplex":
        count, channels, rows, columns = images.shape
        field = simplex_noise((rows, columns), count * channels, generator, octaves, persistence, frequency)
        return field.reshape(images.shape).to(images)
    if kind == "pyramid":
        return pyramid_noise(tuple(images.shape), generator, octaves, persistence).to(images)
    return normal(tuple(images.shape), generator, images)


def simplex_noise(
    size: tuple[int, int],
    count: int,
    generator: torch.Generator,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64.0,
) -> Tensor:
    """Two-dimensional simplex noise (count, i, j) of zero mean and unit variance over draws.

    Octave k has features of ``frequency`` / 2^k pixels and amplitude ``persistence``^k; the defaults are AnoDDPM's.
    The paper cuts three-dimensional noise at a random height; here every draw has gradients of its own.
    """
    total = torch.zeros((count, *size))
    for index in range(octaves):
        total += persistence**index * simplex_octave(size, count, generator, frequency / 2**index)
    return total / math.sqrt(sum(persistence ** (2 * index) for index in range(octaves)))


def simplex_octave(size: tuple[int, int], count: int, generator: torch.Generator, wavelength: float) -> Tensor:
    """One octave (count, i, j) of unit variance: random gradients at the corners of triangles of ``wavelength`` pixels.

    The lattice lies at a random place, the same for all draws; the gradients differ.
    """
    place = torch.rand((2,), generator=generator)
    rows, columns = (torch.arange(length) / wavelength + 1.0 for length in size)
    axes = (axis + part - _UNSKEW * place.sum() for axis, part in zip((rows, columns), place, strict=True))
    first, second = torch.meshgrid(*axes, indexing="ij")
    skewed = (first + second) * _SKEW
    cell = torch.stack((first + skewed, second + skewed)).floor()
    inside = torch.stack((first, second)) - cell + cell.sum(0) * _UNSKEW
    lower = (inside[0] > inside[1]).float()
    steps = (torch.zeros_like(cell), torch.stack((lower, 1.0 - lower)), torch.ones_like(cell))
    total = _corners(cell.long(), inside, steps, count, generator)
    return total / math.sqrt(OCTAVE_VARIANCE)


def pyramid_noise(shape: tuple[int, ...], generator: torch.Generator, octaves: int, persistence: float) -> Tensor:
    """White noise plus ``persistence``^k times white noise on grids 2^k coarser, over its own standard deviation."""
    total = torch.randn(shape, generator=generator)
    for index in range(1, octaves):
        coarse = [max(1, length // 2**index) for length in shape[2:]]
        level = torch.randn((*shape[:2], *coarse), generator=generator)
        total += persistence**index * torch.nn.functional.interpolate(level, size=shape[2:], mode="bilinear")
    return total / total.std()


def _corners(cell: Tensor, inside: Tensor, steps: tuple[Tensor, ...], count: int, generator: torch.Generator) -> Tensor:
    """The sum over the three corners of a triangle of falloff times gradient times distance, (count, i, j)."""
    start = cell.flatten(1).amin(1)[:, None, None]
    extent = (cell - start).flatten(1).amax(1) + 2
    angles = torch.rand((count, int(extent.prod())), generator=generator) * 2.0 * math.pi
    gradients = (angles.cos(), angles.sin())
    total = torch.zeros((count, *cell.shape[1:]))
    for step in steps:
        distance = inside - step + step.sum(0) * _UNSKEW
        falloff = (_REACH - distance.square().sum(0)).clamp(min=0.0) ** 4
        corner = cell - start + step.long()
        index = corner[0] * extent[1] + corner[1]
        total += falloff * sum(part[:, index] * along for part, along in zip(gradients, distance, strict=True))
    return total
