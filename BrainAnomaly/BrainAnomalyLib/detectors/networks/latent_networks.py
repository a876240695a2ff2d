"""A KL autoencoder of slices and a diffusion U-Net over its latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class LatentDiffusion(nn.Module):
    """``autoencoder`` is MONAI's AutoencoderKL, ``denoiser`` its diffusion U-Net with the latents' channels.

    ``scale`` is 1 over the standard deviation of the latents of the first batch that the denoiser saw (Rombach et al.
    2022), 0 while nothing was measured; the denoiser's latents are multiplied by it.
    """

    scale: Tensor

    def __init__(self, autoencoder: Any, denoiser: nn.Module) -> None:
        super().__init__()
        self.autoencoder, self.denoiser = autoencoder, denoiser
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (n, 1, i, j), mean and standard deviation of the latents (n, c, i, j) of images.

        ``noise`` of the latents' shape draws them from the posterior; without it the mean is decoded.
        """
        mean, deviation = self.autoencoder.encode(images)
        drawn = mean if noise is None else mean + deviation * noise
        return self.autoencoder.decode(drawn), mean, deviation

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Scaled mean latents (n, c, i, j) without gradients."""
        mean: Tensor = self.autoencoder.encode(images)[0]
        return mean.float() * self.factor()

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled latents."""
        decoded: Tensor = self.autoencoder.decode(latents / self.factor())
        return decoded

    @torch.no_grad()
    def measure(self, images: Tensor) -> None:
        """Set ``scale`` from the latents of a batch, if that has not been done."""
        if float(self.scale) == 0.0:
            self.scale.copy_(1.0 / self.latents(images).std().clamp(min=1e-6))

    def factor(self) -> Tensor:
        """``scale``, or 1 before it is measured."""
        return torch.where(self.scale > 0.0, self.scale, torch.ones_like(self.scale))


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, deviation^2) from N(0, 1), summed over each image's latents, (n,)."""
    mean, variance = mean.float(), deviation.float().square()
    return 0.5 * (mean.square() + variance - variance.log() - 1.0).flatten(1).sum(1)
