"""GANomaly (Akcay et al. 2018, 'GANomaly: semi-supervised anomaly detection via adversarial training').

Encoder, decoder and a second encoder: an image whose reconstruction has another code than it had itself is unlike the
healthy ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored, mean_per_image
from .adversarial_autoencoder import check_halvings

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class GANomalyConfig(LearnedConfig):
    """Strided networks (4 x 4 kernels, batch norm) and the weights of the generator's three losses."""

    crop: tuple[int, ...] = (128, 128)
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    latent: int = 100
    adversarial_weight: float = 1.0
    context_weight: float = 50.0
    latent_weight: float = 1.0
    learning_rate: float = 2e-4


class GANomalyDetector(LearnedDetector):
    """Generator's loss: feature matching + 50 * mean |x - x_hat| + latent distance (weights of the authors' code).

    Feature matching is the mean squared distance of the discriminator's features of x and x_hat, the latent distance
    the mean squared distance between E(x) and E'(x_hat); it is also the scan-level score, as in the authors' code. The
    map is the residual. 49,604,298 parameters in all at 128 x 128.
    """

    name: ClassVar[str] = "ganomaly"
    title: ClassVar[str] = "GANomaly"
    source: ClassVar[str] = "Akcay et al. 2018"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = GANomalyConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(GANomalyConfig(), steps=40_000, batch=64, gradient_norm=None),
        "small": Preset(
            GANomalyConfig(crop=(80, 96), channels=(8, 16, 32, 64), latent=64, learning_rate=2e-3),
            steps=250,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: GANomalyConfig) -> None:
        """The crop must fit the layers."""
        super().check(config)
        check_halvings(config.crop, config.channels)
        if config.latent < 1:
            raise PackageError("The latent code has no size.", "Use a positive 'latent'.")

    @classmethod
    def build(cls, config: GANomalyConfig) -> torch.nn.Module:
        """Encoder, decoder, second encoder and discriminator."""
        from ...networks.adversarial import TwiceEncoder
        from ...networks.variational_networks import StridedLayout

        layout = StridedLayout(config.crop, config.channels, kernel=4, squeeze=0, slope=0.2)
        return TwiceEncoder(layout, config.latent)

    @classmethod
    def phases(cls, config: GANomalyConfig) -> tuple[Phase, ...]:
        """Discriminator, then generator, at every step."""
        settings = OptimizerSettings(config.learning_rate, betas=(0.5, 0.999))
        generator = ("encoder", "decoder", "second_encoder")
        return Phase("discriminate", settings, ("discriminator",)), Phase("generate", settings, generator)

    @classmethod
    def training_step(cls, network: Any, config: GANomalyConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The phase's loss."""
        return (_discriminate if phase == "discriminate" else _generate)(network, config, batch)

    @classmethod
    def restore(
        cls, network: Any, config: GANomalyConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The reconstruction, its latent distance as scan-level score, and the codes."""
        codes = network.encoder(images)
        healthy = network.decoder(codes)
        distance = (network.second_encoder(healthy) - codes).square().mean(1)
        l1 = mean_per_image((images - healthy).abs(), masks)
        return Restored(healthy, scan_scores={"latent_distance": distance, "l1": l1}, latent=codes)


def generator_losses(
    features: tuple[Tensor, Tensor], images: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """Feature matching, context and latent loss from pairs of true and reconstructed features, images and codes."""
    return {
        "adversarial": (features[0].float() - features[1].float()).square().mean(),
        "context": (images[0].float() - images[1].float()).abs().mean(),
        "latent": (codes[0].float() - codes[1].float()).square().mean(),
    }


def _generate(network: Any, config: GANomalyConfig, batch: Batch) -> dict[str, Tensor]:
    from ...networks.adversarial import held_still

    codes = network.encoder(batch.images)
    healthy = network.decoder(codes)
    with held_still(network.discriminator):
        features = network.discriminator.features(batch.images), network.discriminator.features(healthy)
    parts = generator_losses(features, (batch.images, healthy), (codes, network.second_encoder(healthy)))
    weights = config.adversarial_weight, config.context_weight, config.latent_weight
    loss = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    return {"loss": loss, **parts}  # type: ignore[dict-item]


def _discriminate(network: Any, config: GANomalyConfig, batch: Batch) -> dict[str, Tensor]:
    import torch
    from torch.nn import functional

    with torch.no_grad():
        restored = network.decoder(network.encoder(batch.images))
    real, fake = network.discriminator(batch.images), network.discriminator(restored)
    measure = functional.binary_cross_entropy_with_logits
    parts = {"real": measure(real, torch.ones_like(real)), "fake": measure(fake, torch.zeros_like(fake))}
    return {"loss": parts["real"] + parts["fake"], **parts}
