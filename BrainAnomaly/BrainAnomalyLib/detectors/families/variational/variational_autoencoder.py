"""Variational autoencoder of axial slices (Baur et al. 2021, comparative study), with residual, restoration (You et al.
2019; Chen et al. 2020) and KL-gradient scores (Zimmerer et al. 2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...learning import Preset
from .variational import VariationalConfig, VariationalDetector, layout

if TYPE_CHECKING:
    import torch

SMALL_LAYOUT: dict[str, Any] = {
    "crop": (80, 96),
    "channels": (8, 16, 32, 64),
    "kernel": 3,
    "latent": 64,
    "kl_weight": 20.0,
    "restoration_step": 5e-3,
    "restoration_steps": 30,
    "samples": 2,
    "learning_rate": 3e-3,
}


class VariationalAutoencoderDetector(VariationalDetector):
    """VAE with 128 latent numbers: loss = sum of |x - x_hat| + KL(q(z|x) || N(0, 1)).

    1,758,449 parameters at 128 x 128. ``small`` weighs KL by 20, so that a short training
    makes it matter, and restores in 30 steps of 0.005 instead of 150 of 0.001.
    """

    name: ClassVar[str] = "variational_autoencoder"
    title: ClassVar[str] = "Variational autoencoder"
    source: ClassVar[str] = "Baur et al. 2021; You et al. 2019; Zimmerer et al. 2019"
    Config: ClassVar[type] = VariationalConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(VariationalConfig(), steps=40_000, batch=8, gradient_norm=None),
        "small": Preset(VariationalConfig(**SMALL_LAYOUT), steps=300, batch=8, average_decay=0.95),
    }

    @classmethod
    def build(cls, config: VariationalConfig) -> torch.nn.Module:
        """Encoder, latent code and decoder."""
        from ...networks.variational_networks import VariationalAutoencoder

        return VariationalAutoencoder(layout(config), config.latent)
