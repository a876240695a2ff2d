"""AnoVAEGAN: variational autoencoder with an adversary (Baur et al. 2018, 'Deep autoencoding models for unsupervised
anomaly segmentation in brain MR images').
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import PackageError
from ...learning import Batch, OptimizerSettings, Phase, Preset
from ..variational.variational import VariationalConfig, VariationalDetector, layout
from ..variational.variational_autoencoder import SMALL_LAYOUT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class AnoVAEGANConfig(VariationalConfig):
    """The VAE's settings, the patch discriminator's first channels and layers, and the rate of the adversarial step."""

    discriminator_channels: int = 64
    discriminator_layers: int = 3
    adversarial_rate: float = 1e-4


class AnoVAEGANDetector(VariationalDetector):
    """Each step trains three things with Adam (beta 0.5, 0.9), in the order of the comparative study's public code.

    ``autoencode``: encoder and decoder by the VAE's loss; ``deceive``: the decoder, so that the discriminator takes its
    reconstructions for real; ``discriminate``: the discriminator. The adversarial losses are least squares on patches
    (MONAI's PatchDiscriminator and PatchAdversarialLoss). 4,520,242 parameters at 128 x 128, the discriminator
    among them. The scores are the VAE's.
    """

    name: ClassVar[str] = "anovaegan"
    title: ClassVar[str] = "AnoVAEGAN"
    source: ClassVar[str] = "Baur et al. 2018"
    Config: ClassVar[type] = AnoVAEGANConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(AnoVAEGANConfig(), steps=40_000, batch=8, gradient_norm=None),
        "small": Preset(
            AnoVAEGANConfig(**SMALL_LAYOUT, discriminator_channels=8, discriminator_layers=2),
            steps=200,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: AnoVAEGANConfig) -> None:
        """The discriminator must have layers and channels."""
        super().check(config)
        if min(config.discriminator_channels, config.discriminator_layers) < 1:
            raise PackageError("The discriminator has no layers or channels.", "Use positive numbers.")

    @classmethod
    def build(cls, config: AnoVAEGANConfig) -> torch.nn.Module:
        """The VAE with its discriminator."""
        from ...networks.adversarial import VariationalGAN

        sizes = config.discriminator_channels, config.discriminator_layers
        return VariationalGAN(layout(config), config.latent, *sizes)

    @classmethod
    def phases(cls, config: AnoVAEGANConfig) -> tuple[Phase, ...]:
        """Autoencoder, decoder against discriminator, discriminator."""
        usual = OptimizerSettings(config.learning_rate, betas=_BETAS)
        adversarial = OptimizerSettings(config.adversarial_rate, betas=_BETAS)
        return (
            Phase("autoencode", usual, ("encoder", "decoder")),
            Phase("deceive", adversarial, ("decoder",)),
            Phase("discriminate", adversarial, ("discriminator",)),
        )

    @classmethod
    def training_step(cls, network: Any, config: AnoVAEGANConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The phase's loss; the discriminator holds still while it is deceived, and reconstructions while it learns."""
        if phase == "autoencode":
            return super().training_step(network, config, phase, batch)
        return (_deceive if phase == "deceive" else _discriminate)(network, batch)


def _deceive(network: Any, batch: Batch) -> dict[str, Tensor]:
    from ...networks.adversarial import held_still

    with held_still(network.discriminator):
        judged = network.judge(network(batch.images, batch.generator).image)
    return {"loss": patch_loss(judged, True, False)}


def _discriminate(network: Any, batch: Batch) -> dict[str, Tensor]:
    import torch

    with torch.no_grad():
        restored = network(batch.images, batch.generator).image
    real = patch_loss(network.judge(batch.images), True, True)
    fake = patch_loss(network.judge(restored), False, True)
    return {"loss": 0.5 * (real + fake), "real": real, "fake": fake}


def patch_loss(judged: Tensor, real: bool, for_discriminator: bool) -> Tensor:
    """Mean square distance of a discriminator's numbers from 1 (``real``) or 0."""
    from monai.losses import PatchAdversarialLoss

    measure = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    loss: Tensor = measure(judged.float(), target_is_real=real, for_discriminator=for_discriminator)
    return loss
