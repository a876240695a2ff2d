"""The 3D U-Net of the brain mask: five levels, two convolutions each, instance norm.

The network of Falk et al. 2019 (doi:10.1038/s41592-018-0261-2), with the parameter names of MONAI's ``BasicUNet``, so
that weights of either load into the other. Importing MONAI for this one class took longer than the network itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# The larger epsilon keeps gradients finite where a whole channel is flat.
_EPSILON = 1e-3
_LEVELS = 4


class BrainUNet(nn.Module):
    """From ``channels`` to ``channels`` at the same size; side lengths are multiples of 16.

    ``features``: those of the five levels on the way down, then that of the last on the way up.
    """

    def __init__(self, channels: int, features: Sequence[int]) -> None:
        super().__init__()
        self.conv_0 = _Pair(channels, features[0])
        for level in range(1, _LEVELS + 1):
            setattr(self, f"down_{level}", _Down(features[level - 1], features[level]))
        for level in range(_LEVELS, 1, -1):
            made = features[level - 1]
            setattr(self, f"upcat_{level}", _Up(features[level], made, made, features[level] // 2))
        self.upcat_1 = _Up(features[1], features[0], features[5], features[1])
        self.final_conv = nn.Conv3d(features[5], channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Values (n, channels, i, j, k) of images of the same shape."""
        seen = [self.conv_0(images)]
        for level in range(1, _LEVELS + 1):
            seen.append(getattr(self, f"down_{level}")(seen[-1]))
        deep = seen.pop()
        for level in range(_LEVELS, 0, -1):
            deep = getattr(self, f"upcat_{level}")(deep, seen.pop())
        values: Tensor = self.final_conv(deep)
        return values


class _Convolution(nn.Sequential):
    def __init__(self, seen: int, made: int) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv3d(seen, made, 3, padding=1))
        adn = nn.Sequential()
        adn.add_module("N", nn.InstanceNorm3d(made, eps=_EPSILON, affine=True))
        adn.add_module("A", nn.LeakyReLU(0.1, inplace=True))
        self.add_module("adn", adn)


class _Pair(nn.Sequential):
    def __init__(self, seen: int, made: int) -> None:
        super().__init__()
        self.add_module("conv_0", _Convolution(seen, made))
        self.add_module("conv_1", _Convolution(made, made))


class _Down(nn.Sequential):
    def __init__(self, seen: int, made: int) -> None:
        super().__init__()
        self.add_module("max_pooling", nn.MaxPool3d(2))
        self.add_module("convs", _Pair(seen, made))


class _Up(nn.Module):
    """Twice the size, joined with the level's own features, two convolutions."""

    def __init__(self, seen: int, beside: int, made: int, wider: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential()
        self.upsample.add_module("deconv", nn.ConvTranspose3d(seen, wider, 2, 2))
        self.convs = _Pair(beside + wider, made)

    def forward(self, deep: Tensor, beside: Tensor) -> Tensor:
        joined: Tensor = self.convs(torch.cat([beside, self.upsample(deep)], dim=1))
        return joined
