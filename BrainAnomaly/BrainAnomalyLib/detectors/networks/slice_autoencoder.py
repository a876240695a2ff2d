"""Convolutional autoencoders of axial slices with a spatial bottleneck, with or without gated skip connections."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SliceAutoencoder(nn.Module):
    """One halving for each entry of ``channels``, a spatial bottleneck of ``latent`` channels, and the way back.

    With ``skip_dropout`` above 0 every level hands its features across to the decoder through a gate that is closed
    with that probability. At 0 there are no skips: nothing but the bottleneck reaches the decoder.
    """

    def __init__(self, channels: tuple[int, ...], latent: int, skip_dropout: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.skips = skip_dropout > 0.0
        self.gate = Gate(skip_dropout)
        self.stem = _layer(1, channels[0])
        pairs = list(zip((channels[0], *channels[:-1]), channels, strict=True))
        self.down = nn.ModuleList(_layer(shallow, deep, stride=2) for shallow, deep in pairs)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels[-1], latent, 1), nn.Dropout2d(dropout), _layer(latent, channels[-1])
        )
        width = 2 if self.skips else 1
        self.up = nn.ModuleList(_Up(deep, shallow, width) for shallow, deep in reversed(pairs))
        self.out = nn.Conv2d(channels[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of slices (n, 1, i, j)."""
        features, handed = self.stem(images), []
        for layer in self.down:
            handed.append(features)
            features = layer(features)
        features = self.bottleneck(features)
        for layer in self.up:
            skipped = handed.pop()
            features = layer(features, self.gate(skipped) if self.skips else None, tuple(skipped.shape[2:]))
        reconstructed: Tensor = self.out(features)
        return reconstructed


class Gate(nn.Module):
    """Sets all features of an image to 0 with probability ``closed``, each image and connection by itself.

    Works while training; otherwise features pass times 1 - ``closed``, their mean.
    """

    def __init__(self, closed: float) -> None:
        super().__init__()
        self.closed = closed

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, c, i, j)."""
        if not self.training:
            return features * (1.0 - self.closed)
        drawn = torch.rand((len(features), 1, 1, 1)).to(features.device)
        return features * (drawn >= self.closed)


class _Up(nn.Module):
    """Twice the resolution by interpolation, then a convolution over the features and the skipped ones, if any."""

    def __init__(self, deep: int, shallow: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, shallow, 1)
        self.layer = _layer(width * shallow, shallow)

    def forward(self, features: Tensor, skipped: Tensor | None, size: tuple[int, ...]) -> Tensor:
        enlarged = functional.interpolate(self.narrow(features), size=size, mode="bilinear", align_corners=False)
        refined: Tensor = self.layer(enlarged if skipped is None else torch.cat([enlarged, skipped], dim=1))
        return refined


class LaplacianAutoencoder(nn.Module):
    """A slice autoencoder for each level of a Laplacian pyramid."""

    def __init__(self, levels: int, channels: tuple[int, ...], latent: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(SliceAutoencoder(channels, latent) for _ in range(levels))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of slices (n, 1, i, j)."""
        return collapsed(self.reconstructed_bands(laplacian_pyramid(images, len(self.levels))))

    def reconstructed_bands(self, bands: list[Tensor]) -> list[Tensor]:
        """Each band through its own autoencoder."""
        return [level(band) for level, band in zip(self.levels, bands, strict=True)]


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """Detail bands from fine to coarse of images (n, 1, i, j), the last one what is left: ``levels`` in all."""
    bands = []
    for _ in range(levels - 1):
        coarse = functional.avg_pool2d(images, 2)
        bands.append(images - _doubled(coarse, images))
        images = coarse
    return [*bands, images]


def collapsed(bands: list[Tensor]) -> Tensor:
    """The images of a Laplacian pyramid."""
    images = bands[-1]
    for band in reversed(bands[:-1]):
        images = band + _doubled(images, band)
    return images


def _doubled(coarse: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(coarse, size=like.shape[2:], mode="bilinear", align_corners=False)


def _layer(wide: int, narrow: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide, narrow, 3, stride=stride, padding=1), nn.BatchNorm2d(narrow), nn.LeakyReLU(0.2)
    )
