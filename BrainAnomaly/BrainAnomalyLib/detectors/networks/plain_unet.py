"""A plain 3D U-Net with group norm: cheap on a CPU, and independent of how many scans are seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_GROUPS = 8


class PlainUNet3d(nn.Module):
    """Two convolutions a level, strided ones on the way down, nearest neighbors on the way up."""

    def __init__(self, seen: int, made: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.first = _Pair(seen, channels[0])
        self.down = nn.ModuleList(_Pair(low, high, 2) for low, high in pairwise(channels))
        self.up = nn.ModuleList(_Pair(low + high, low) for low, high in pairwise(channels))
        self.last = nn.Conv3d(channels[0], made, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Scores (n, made, i, j, k) of volumes (n, seen, i, j, k); the sizes are multiples of 2 ** levels."""
        levels = [self.first(volumes)]
        for down in self.down:
            levels.append(down(levels[-1]))
        deep = levels.pop()
        for up in reversed(self.up):
            deep = nn.functional.interpolate(deep, scale_factor=2.0, mode="nearest")
            deep = up(torch.cat([levels.pop(), deep], dim=1))
        scores: Tensor = self.last(deep)
        return scores


class _Pair(nn.Sequential):
    """Two 3 x 3 x 3 convolutions with group norm."""

    def __init__(self, seen: int, made: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(seen, made, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, made),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv3d(made, made, 3, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, made),
            nn.LeakyReLU(0.1, inplace=True),
        )
