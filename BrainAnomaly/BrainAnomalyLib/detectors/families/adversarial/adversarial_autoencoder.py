"""Adversarial autoencoder with constrained latent space (Chen & Konukoglu 2018, 'Unsupervised detection of lesions in
brain MRI using constrained adversarial auto-encoders').
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored, mean_per_image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class AdversarialConfig(LearnedConfig):
    """Residual network, critic of codes, and the weights of the losses.

    ``stem`` channels at full resolution, ``channels`` of the blocks that halve it; the networks see images averaged
    over ``coarseness`` x ``coarseness`` voxels. ``consistency`` (rho) weighs the distance between the codes of an image
    and of its reconstruction, ``penalty`` the gradient penalty. Encoder against critic trains at every
    ``critic_steps``-th step only.
    """

    crop: tuple[int, ...] = (128, 128)
    coarseness: int = 1
    stem: int = 64
    channels: tuple[int, ...] = (128, 256, 512)
    latent: int = 128
    critic_widths: tuple[int, ...] = (400, 200)
    consistency: float = 1.0
    penalty: float = 10.0
    critic_steps: int = 20
    learning_rate: float = 1e-3


class AdversarialAutoencoderDetector(LearnedDetector):
    """Codes follow a standard normal distribution because a WGAN-GP critic cannot tell them from it.

    Loss of encoder and decoder: mean (x - x_hat)^2 + rho * mean (z(x_hat) - z(x))^2: a reconstruction must have the
    code that it was made from. Rates, rho 1, penalty 10 and 20 critic steps are those of the comparative
    study's public code (Baur et al. 2021). 48,257,378 parameters at 128 x 128, the critic among them. Scan-level
    scores: ``l1``, ``latent_distance`` (the constraint) and ``critic`` (minus the critic's number: unlike the prior).
    """

    name: ClassVar[str] = "adversarial_autoencoder"
    title: ClassVar[str] = "Constrained adversarial autoencoder"
    source: ClassVar[str] = "Chen & Konukoglu 2018"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = AdversarialConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(AdversarialConfig(), steps=40_000, batch=8, gradient_norm=None),
        "small": Preset(
            AdversarialConfig(
                crop=(80, 96),
                coarseness=4,
                stem=16,
                channels=(32, 64),
                latent=64,
                critic_widths=(64, 32),
                critic_steps=5,
                learning_rate=2e-3,
            ),
            steps=300,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: AdversarialConfig) -> None:
        """The crop must fit the blocks, and there must be layers."""
        super().check(config)
        check_halvings(config.crop, config.channels, config.coarseness)
        if min(config.stem, config.latent, config.critic_steps, *config.critic_widths) < 1:
            raise PackageError("The configuration has a size or number that is too small.", "Use positive numbers.")

    @classmethod
    def build(cls, config: AdversarialConfig) -> torch.nn.Module:
        """Residual encoder and decoder with layer norm, and the critic of codes."""
        from ...networks.adversarial import LatentAutoencoder, ResidualLayout

        layout = ResidualLayout(config.crop, config.stem, config.channels, "layer", 1, config.coarseness)
        return LatentAutoencoder(layout, config.latent, config.critic_widths)

    @classmethod
    def phases(cls, config: AdversarialConfig) -> tuple[Phase, ...]:
        """Autoencoder and critic at every step, encoder against critic at some."""
        settings = OptimizerSettings(config.learning_rate, betas=_BETAS)
        return (
            Phase("autoencode", settings, ("encoder", "decoder")),
            Phase("critic", settings, ("critic",)),
            Phase("deceive", settings, ("encoder",), every=config.critic_steps),
        )

    @classmethod
    def training_step(cls, network: Any, config: AdversarialConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The phase's loss."""
        if phase == "autoencode":
            return _autoencode(network, config, batch)
        return (_deceive if phase == "deceive" else _criticize)(network, config, batch)

    @classmethod
    def restore(
        cls, network: Any, config: AdversarialConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The reconstruction, its scan-level scores and codes; the map's score is the residual."""
        codes = network.encoder(images)
        healthy = network.decoder(codes)
        scan_scores = {
            "l1": mean_per_image((images - healthy).abs(), masks),
            "latent_distance": (network.encoder(healthy) - codes).square().mean(1),
            "critic": -network.critic(codes).float()[:, 0],
        }
        return Restored(healthy, scan_scores=scan_scores, latent=codes)


def check_halvings(crop: tuple[int, ...], channels: tuple[int, ...], coarseness: int = 1) -> None:
    """Raise PackageError for a crop that cannot be halved by every layer, or for layers without channels."""
    divisor = max(coarseness, 1) * 2 ** len(channels)
    if any(size % divisor for size in crop) or min(*channels, coarseness) < 1:
        raise PackageError("The configuration's crop does not fit its layers.", f"Use multiples of {divisor}.")


def _autoencode(network: Any, config: AdversarialConfig, batch: Batch) -> dict[str, Tensor]:
    codes = network.encoder(batch.images)
    healthy = network.decoder(codes)
    distance = (healthy - batch.images).square().mean()
    consistency = (network.encoder(healthy) - codes).square().mean()
    return {"loss": distance + config.consistency * consistency, "distance": distance, "consistency": consistency}


def _criticize(network: Any, config: AdversarialConfig, batch: Batch) -> dict[str, Tensor]:
    import torch

    from ...networks.adversarial import critic_loss

    with torch.no_grad():
        codes = network.encoder(batch.images)
    prior = batch.normal(*codes.shape)
    return critic_loss(network.critic, prior, codes, batch.uniform(len(codes), 1), config.penalty)


def _deceive(network: Any, config: AdversarialConfig, batch: Batch) -> dict[str, Tensor]:
    from ...networks.adversarial import held_still

    with held_still(network.critic):
        return {"loss": -network.critic(network.encoder(batch.images)).float().mean()}
