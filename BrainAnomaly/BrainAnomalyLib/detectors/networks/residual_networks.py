"""The 3D residual autoencoder of Luo et al. with a dense or a spatial bottleneck."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

_SLOPE = 0.2


class ResidualAutoencoder(nn.Module):
    """A stem, one halving residual block for each further entry of ``channels``, the bottleneck, and the mirror image.

    ``bottleneck`` turns features (n, channels[-1], i, j, k) into a code with ``encode`` and back with ``decode``.
    """

    def __init__(self, channels: tuple[int, ...], bottleneck: Bottleneck) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.encoder = nn.Sequential(
            _activated(nn.Conv3d(1, channels[0], 3, padding=1)), *[ResidualBlock.halving(*pair) for pair in pairs]
        )
        self.bottleneck = bottleneck
        self.decoder = nn.Sequential(
            *[ResidualBlock.doubling(deep, shallow) for shallow, deep in reversed(pairs)], nn.Conv3d(channels[0], 1, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of images (n, 1, i, j, k)."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """The code of images (n, 1, i, j, k): (n, latent), or (n, latent, i, j, k) of a spatial bottleneck."""
        code: Tensor = self.bottleneck.encode(self.encoder(images))
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Images (n, 1, i, j, k) from their code."""
        images: Tensor = self.decoder(self.bottleneck.decode(code))
        return images


class ResidualBlock(nn.Module):
    """The sum of two branches that change the resolution by 2: two convolutions, and one as the shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    @classmethod
    def halving(cls, shallow: int, deep: int) -> ResidualBlock:
        """3 x 3 x 3 convolutions, the last one of the branch and the shortcut with stride 2."""
        first = _activated(nn.Conv3d(shallow, shallow, 3, padding=1))
        second, shortcut = (_activated(nn.Conv3d(shallow, deep, 3, stride=2, padding=1)) for _ in range(2))
        return cls(nn.Sequential(first, second), shortcut)

    @classmethod
    def doubling(cls, deep: int, shallow: int) -> ResidualBlock:
        """4 x 4 x 4 transposed convolutions with stride 2; the branch ends with a 3 x 3 x 3 convolution."""
        first, shortcut = (_activated(nn.ConvTranspose3d(deep, shallow, 4, stride=2, padding=1)) for _ in range(2))
        return cls(nn.Sequential(first, _activated(nn.Conv3d(shallow, shallow, 3, padding=1))), shortcut)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, c, i, j, k)."""
        total: Tensor = self.branch(features) + self.shortcut(features)
        return total


class Bottleneck(nn.Module):
    """Two layers: ``encode`` from features to a code, ``decode`` back."""

    encode: nn.Module
    decode: nn.Module


class DenseBottleneck(Bottleneck):
    """All features of ``shape`` (c, i, j, k) through ``latent`` numbers and back."""

    def __init__(self, shape: tuple[int, ...], latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), latent))
        self.decode = nn.Sequential(nn.Linear(latent, math.prod(shape)), nn.Unflatten(1, shape))


class SpatialBottleneck(Bottleneck):
    """The features' positions kept, their channels squeezed to ``latent`` and back by 1 x 1 x 1 convolutions."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.encode = nn.Conv3d(channels, latent, 1)
        self.decode = nn.Conv3d(latent, channels, 1)


def _activated(convolution: nn.Conv3d | nn.ConvTranspose3d) -> nn.Sequential:
    """A convolution, a leaky ReLU and then the batch norm: the paper's order."""
    return nn.Sequential(convolution, nn.LeakyReLU(_SLOPE), nn.BatchNorm3d(convolution.out_channels))
