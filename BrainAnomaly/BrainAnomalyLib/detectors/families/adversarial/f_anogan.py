"""f-AnoGAN (Schlegl et al. 2019, 'f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks').

First a Wasserstein GAN with gradient penalty learns to generate healthy slices; then an encoder learns to find the code
whose generated slice is nearest to a given one ('izi_f').
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
class FAnoGANConfig(LearnedConfig):
    """Residual networks and losses.

    ``kappa`` weighs the distance of the critic's features, ``penalty`` the gradient penalty. The networks see images
    averaged over ``coarseness`` x ``coarseness`` voxels. The generator trains at every ``critic_steps``-th step;
    ``gan_share`` of the training is the GAN's, the rest the encoder's.
    """

    crop: tuple[int, ...] = (128, 128)
    coarseness: int = 1
    stem: int = 64
    channels: tuple[int, ...] = (128, 256, 512, 512)
    latent: int = 128
    kappa: float = 1.0
    penalty: float = 10.0
    critic_steps: int = 5
    gan_share: float = 0.5
    gan_rate: float = 1e-4
    encoder_rate: float = 5e-5


class FAnoGANDetector(LearnedDetector):
    """Scan-level score A = mean (x - G(E(x)))^2 + kappa * mean (f(x) - f(G(E(x))))^2, with the critic's features f.

    The same A, averaged over a batch, trains the encoder. The map is the residual |x - G(E(x))|: the paper localizes by
    it alone, the features enter the scan-level score only. Kappa 1, 128 latent numbers, penalty 10, 5 critic steps,
    Adam with 0.0001 (beta 0, 0.9) for the GAN and 0.00005 for the encoder are those of the authors' public code, whose
    slices are 64 x 64. 30,901,826 parameters in all at 128 x 128.
    ``small`` works on voxels of 8 mm and, after a minute, is far blurrier than the scans' mean image.
    """

    name: ClassVar[str] = "f_anogan"
    title: ClassVar[str] = "f-AnoGAN"
    source: ClassVar[str] = "Schlegl et al. 2019"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = FAnoGANConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(FAnoGANConfig(), steps=100_000, batch=64, gradient_norm=None),
        "small": Preset(
            FAnoGANConfig(
                crop=(80, 96),
                coarseness=4,
                stem=16,
                channels=(32, 64),
                latent=32,
                critic_steps=2,
                gan_rate=1e-3,
                encoder_rate=2e-3,
            ),
            steps=400,
            batch=8,
            average_decay=None,
        ),
    }

    @classmethod
    def check(cls, config: FAnoGANConfig) -> None:
        """The crop must fit the blocks, and both trainings need a share."""
        super().check(config)
        check_halvings(config.crop, config.channels, config.coarseness)
        if min(config.stem, config.latent, config.critic_steps) < 1 or not 0.0 < config.gan_share < 1.0:
            raise PackageError("The configuration has an impossible size or share.", "Use a share between 0 and 1.")

    @classmethod
    def build(cls, config: FAnoGANConfig) -> torch.nn.Module:
        """Generator, critic and encoder."""
        from ...networks.adversarial import ImageGAN

        return ImageGAN(config.crop, config.stem, config.channels, config.latent, config.coarseness)

    @classmethod
    def phases(cls, config: FAnoGANConfig) -> tuple[Phase, ...]:
        """Critic and generator at first, the encoder afterwards."""
        gan, share = OptimizerSettings(config.gan_rate, betas=(0.0, 0.9)), config.gan_share
        return (
            Phase("critic", gan, ("critic",), ends=share),
            Phase("generator", gan, ("generator",), ends=share, every=config.critic_steps),
            Phase("encoder", OptimizerSettings(config.encoder_rate), ("encoder",), starts=share),
        )

    @classmethod
    def training_step(cls, network: Any, config: FAnoGANConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The phase's loss; what does not learn in it holds still."""
        steps = {"critic": _criticize, "generator": _generate, "encoder": _encode}
        return steps[phase](network, config, batch)

    @classmethod
    def restore(
        cls, network: Any, config: FAnoGANConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The generated slice of the encoder's code."""
        codes = network.encoder(images)
        healthy = network.generator(codes)
        l1 = mean_per_image((images - healthy).abs(), masks)
        scan_scores = {"f_anogan": anomaly_score(network.critic, images, healthy, config.kappa), "l1": l1}
        return Restored(healthy, scan_scores=scan_scores, latent=codes)


def anomaly_score(critic: Any, images: Tensor, generated: Tensor, kappa: float) -> Tensor:
    """A of each image, (n,): mean squared distance of the images plus ``kappa`` times that of ``critic.features``."""
    features = (critic.features(generated).float() - critic.features(images).float()).square().flatten(1).mean(1)
    score: Tensor = (generated - images).square().flatten(1).mean(1) + kappa * features
    return score


def _codes(config: FAnoGANConfig, batch: Batch) -> Tensor:
    return batch.normal(len(batch.images), config.latent)


def _criticize(network: Any, config: FAnoGANConfig, batch: Batch) -> dict[str, Tensor]:
    import torch

    from ...networks.adversarial import critic_loss

    with torch.no_grad():
        fake = network.generator(_codes(config, batch))
    mix = batch.uniform(len(batch.images), 1, 1, 1)
    return critic_loss(network.critic, batch.images, fake, mix, config.penalty)


def _generate(network: Any, config: FAnoGANConfig, batch: Batch) -> dict[str, Tensor]:
    from ...networks.adversarial import held_still

    with held_still(network.critic):
        return {"loss": -network.critic(network.generator(_codes(config, batch))).mean()}


def _encode(network: Any, config: FAnoGANConfig, batch: Batch) -> dict[str, Tensor]:
    from ...networks.adversarial import held_still

    with held_still(network.critic, network.generator):
        generated = network.generator(network.encoder(batch.images))
        return {"loss": anomaly_score(network.critic, batch.images, generated, config.kappa).mean()}
