"""Variational autoencoder with a Gaussian mixture prior (You et al. 2019, 'Unsupervised lesion detection via image
restoration with a normative prior'), in the layout of the comparative study (Baur et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ....errors import PackageError
from ...learning import Preset
from .variational import VariationalConfig, VariationalDetector, layout
from .variational_autoencoder import SMALL_LAYOUT

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MixtureConfig(VariationalConfig):
    """``components`` of the prior, size ``prior_latent`` of the code they depend on, ``component_floor`` in nats.

    The values are those of the comparative study's public code.
    """

    components: int = 9
    prior_latent: int = 1
    component_floor: float = 1.0
    score: str = "restoration"
    learning_rate: float = 5e-5


class MixtureAutoencoderDetector(VariationalDetector):
    """GMVAE; its divergence is described at ``networks.variational.MixtureAutoencoder``.

    1,765,107 parameters at 128 x 128. ``small`` has 4 components and the residual score,
    which is quick.
    """

    name: ClassVar[str] = "mixture_autoencoder"
    title: ClassVar[str] = "Gaussian mixture variational autoencoder"
    source: ClassVar[str] = "You et al. 2019; Baur et al. 2021"
    Config: ClassVar[type] = MixtureConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(MixtureConfig(), steps=40_000, batch=8, gradient_norm=None),
        "small": Preset(
            MixtureConfig(**SMALL_LAYOUT, components=4, score="residual"), steps=200, batch=8, average_decay=0.95
        ),
    }

    @classmethod
    def check(cls, config: MixtureConfig) -> None:
        """There must be components and a code they depend on."""
        super().check(config)
        if config.components < 2 or config.prior_latent < 1:
            raise PackageError("The mixture needs at least two components.", "Raise 'components' and 'prior_latent'.")

    @classmethod
    def build(cls, config: MixtureConfig) -> torch.nn.Module:
        """Encoder of both codes, prior network and decoder."""
        from ...networks.variational_networks import MixtureAutoencoder

        settings = config.components, config.prior_latent, config.component_floor
        return MixtureAutoencoder(layout(config), config.latent, *settings)
