"""Volumes as tensors: smooth noise, blurring, reading off at points; the one source of randomness of a painted scan.

Everything runs where ``Random.device`` is. Tensors are (channel, i, j, k) or (i, j, k), sizes in voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, grid_sample, interpolate, pad

# A Gaussian is cut at so many deviations; below the second, in voxels, it blurs nothing.
_CUT, _LEAST = 3.0, 0.1


class Random:
    """Numbers that depend on the seed alone, and noise on a device that depends on seed and kind of device."""

    def __init__(self, seed: int | Sequence[int], device: str = "cpu") -> None:
        self.numbers = np.random.default_rng(seed)
        self.device = torch.device(device)
        self._noise = torch.Generator(self.device)
        self._noise.manual_seed(int(self.numbers.integers(2**62)))

    def uniform(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return float(self.numbers.uniform(low, high))

    def chance(self, share: float) -> bool:
        """True in ``share`` of the draws."""
        return bool(self.numbers.random() < share)

    def sign(self) -> float:
        """1 or -1."""
        return float(self.numbers.choice([-1.0, 1.0]))

    def noise(self, shape: Sequence[int]) -> Tensor:
        """Independent normal noise."""
        return torch.randn(tuple(shape), generator=self._noise, device=self.device)


def smooth_noise(shape: Sequence[int], sigma: float, random: Random) -> Tensor:
    """Smooth noise of deviation 1; made coarse and interpolated where it is very smooth."""
    step = max(1, int(sigma / 2.0))
    coarse = blurred(random.noise([-(-size // step) + 2 for size in shape]), sigma / step)
    noise = enlarged(coarse[None], step)[0] if step > 1 else coarse
    noise = noise[tuple(slice(step // 2, step // 2 + size) for size in shape)]
    return noise / noise.std().clamp(min=1e-9)


def enlarged(volumes: Tensor, factor: int) -> Tensor:
    """Volumes (channel, i, j, k) with voxels ``factor`` times smaller, interpolated."""
    return interpolate(volumes[None], scale_factor=float(factor), mode="trilinear", align_corners=False)[0]


def blurred(volume: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """A volume (i, j, k) convolved with a Gaussian of ``sigma`` voxels, of all axes or of each."""
    deviations = [sigma] * 3 if isinstance(sigma, (int, float)) else sigma
    for axis, deviation in enumerate(deviations):
        if deviation > _LEAST:
            volume = _along(volume, axis, float(deviation))
    return volume


def sampled(volume: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Values of a volume (i, j, k) at ``points`` (3, ...; in its voxels), 0 beyond it."""
    sizes = torch.tensor(volume.shape, device=volume.device, dtype=torch.float32).view(3, *[1] * (points.ndim - 1))
    places = (2.0 * points / (sizes - 1.0) - 1.0).flip(0).movedim(0, -1)
    found = grid_sample(volume[None, None].float(), places[None], mode=mode, align_corners=True)
    return found[0, 0]


def voxels_of(shape: Sequence[int], device: torch.device) -> Tensor:
    """The indices (3, i, j, k) of every voxel."""
    axes = [torch.arange(size, device=device, dtype=torch.float32) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _along(volume: Tensor, axis: int, sigma: float) -> Tensor:
    reach = max(1, round(_CUT * sigma))
    steps = torch.arange(-reach, reach + 1, device=volume.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    lines = volume.movedim(axis, -1)
    flat = pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="replicate")
    return conv1d(flat, (kernel / kernel.sum())[None, None]).reshape(lines.shape).movedim(-1, axis)
