"""A U-Net with residual units in 2D and 3D: instance norm, PReLU, strided convolutions down, transposed ones up.

Residual U-Net of Kerfoot et al. 2018 (doi:10.1007/978-3-030-12029-0_40), with the parameter names of MONAI's ``UNet``,
so that weights of either load into the other. Importing MONAI for this one class took longer than all networks of a
detection need to run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ResidualUNet(nn.Module):
    """From ``seen`` to ``made`` channels at the same size; side lengths are multiples of the strides' product."""

    def __init__(
        self,
        dimensions: int,
        seen: int,
        made: int,
        channels: Sequence[int],
        strides: Sequence[int],
        residual_units: int,
    ) -> None:
        super().__init__()
        self.kinds = _Kinds(dimensions, residual_units)
        self.model = self._level(seen, made, tuple(channels), tuple(strides), top=True)

    def forward(self, images: Tensor) -> Tensor:
        """Values (n, made, ...) of images (n, seen, ...)."""
        values: Tensor = self.model(images)
        return values

    def _level(self, seen: int, made: int, channels: tuple[int, ...], strides: tuple[int, ...], top: bool) -> nn.Module:
        """Down, what lies deeper beside a shortcut, up; the deeper part is made first, which fixes its random start."""
        wide, deep = channels[0], channels[1]
        below: nn.Module
        if len(channels) > 2:
            below, joined = self._level(wide, wide, channels[1:], strides[1:], top=False), 2 * wide
        else:
            below, joined = self.kinds.down(wide, deep, 1), wide + deep
        down = self.kinds.down(seen, wide, strides[0])
        return nn.Sequential(down, _Shortcut(below), self.kinds.up(joined, made, strides[0], top))


class _Kinds:
    """The layers of one number of dimensions and of residual units."""

    def __init__(self, dimensions: int, residual_units: int) -> None:
        self.dimensions, self.residual_units = dimensions, residual_units

    def down(self, seen: int, made: int, stride: int) -> nn.Module:
        if self.residual_units > 0:
            return _Residual(self.dimensions, seen, made, stride, self.residual_units)
        return _Convolution(self.dimensions, seen, made, stride)

    def up(self, seen: int, made: int, stride: int, top: bool) -> nn.Module:
        bare = top and self.residual_units == 0
        wider = _Convolution(self.dimensions, seen, made, stride, bare, transposed=True)
        if self.residual_units == 0:
            return wider
        return nn.Sequential(wider, _Residual(self.dimensions, made, made, 1, 1, bare_end=top))


class _Convolution(nn.Sequential):
    """A 3-wide convolution, then norm and activation unless ``bare``."""

    def __init__(
        self, dimensions: int, seen: int, made: int, stride: int, bare: bool = False, transposed: bool = False
    ) -> None:
        super().__init__()
        self.add_module("conv", _convolution(dimensions, seen, made, stride, transposed))
        if not bare:
            norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[dimensions - 2](made)
            adn = nn.Sequential()
            adn.add_module("N", norm)
            adn.add_module("A", nn.PReLU())
            self.add_module("adn", adn)


def _convolution(dimensions: int, seen: int, made: int, stride: int, transposed: bool) -> nn.Module:
    if transposed:
        wider = (nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 2]
        return wider(seen, made, 3, stride, padding=1, output_padding=stride - 1)
    return (nn.Conv2d, nn.Conv3d)[dimensions - 2](seen, made, 3, stride, padding=1)


class _Residual(nn.Module):
    """Convolutions whose result is added to the input, brought to the same size by one convolution where needed."""

    def __init__(self, dimensions: int, seen: int, made: int, stride: int, units: int, bare_end: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.residual: nn.Module = nn.Identity()
        for unit in range(units):
            first = unit == 0
            bare = bare_end and unit == units - 1
            layer = _Convolution(dimensions, seen if first else made, made, stride if first else 1, bare)
            self.conv.add_module(f"unit{unit}", layer)
        if stride != 1:
            self.residual = _convolution(dimensions, seen, made, stride, transposed=False)
        elif seen != made:
            self.residual = (nn.Conv2d, nn.Conv3d)[dimensions - 2](seen, made, 1)

    def forward(self, images: Tensor) -> Tensor:
        shortcut = self.residual(images)
        added: Tensor = self.conv(images) + shortcut
        return added


class _Shortcut(nn.Module):
    """The input beside what ``submodule`` makes of it."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, self.submodule(images)], dim=1)
