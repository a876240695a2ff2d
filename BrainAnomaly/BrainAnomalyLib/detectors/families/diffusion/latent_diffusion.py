"""Latent diffusion (Rombach, Blattmann, Lorenz, Esser & Ommer 2022, 'High-resolution image synthesis with latent
diffusion models', CVPR; for brain anomalies Pinaya et al. 2022, 'Fast unsupervised brain anomaly detection and
segmentation with diffusion models', MICCAI).

An autoencoder compresses slices; a diffusion model learns the latents of healthy ones. A scan's latents are noised a
part of the way, denoised and decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import PackageError
from ...learning import Batch, OptimizerSettings, Phase, Preset, Restored
from .diffusion import (
    DiffusionConfig,
    DiffusionDetector,
    build_unet,
    check_chain,
    diffuse,
    draw_noise,
    random_levels,
    reverse_chain,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class LatentDiffusionConfig(DiffusionConfig):
    """Autoencoder, denoiser (``channels``, ``attention``) and reverse chain.

    ``autoencoder_channels`` halve the slice at every entry but the first; ``divergence_weight`` is that of the
    latents' divergence from N(0, 1), summed over each image. ``start``, ``steps``, ``stochasticity`` and ``passes``
    are as in the simplex family; ``first_phase`` is the autoencoder's share of the training. The papers' adversarial
    and perceptual losses of the autoencoder are left out; the sizes are for slices of 2 mm.
    """

    crop: tuple[int, ...] = (96, 112)
    channels: tuple[int, ...] = (128, 256, 256)
    attention: tuple[bool, ...] = (False, True, True)
    residual_blocks: int = 2
    noise: str = "gaussian"
    autoencoder_channels: tuple[int, ...] = (64, 128, 128)
    autoencoder_blocks: int = 2
    latent_channels: int = 4
    divergence_weight: float = 1e-6
    autoencoder_rate: float = 1e-4
    first_phase: float = 0.4
    start: int = 250
    steps: int = 50
    stochasticity: float = 0.0
    passes: int = 4


class LatentDiffusionDetector(DiffusionDetector):
    """Autoencoder without attention, then noise prediction in its latents; the score is the absolute residual."""

    name: ClassVar[str] = "latent_diffusion"
    title: ClassVar[str] = "Latent diffusion"
    source: ClassVar[str] = "Rombach et al. 2022; Pinaya et al. 2022"
    Config: ClassVar[type] = LatentDiffusionConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(LatentDiffusionConfig(), steps=200_000, batch=32),
        "small": Preset(
            LatentDiffusionConfig(
                crop=(80, 96),
                channels=(32, 32),
                attention=(False, False),
                residual_blocks=1,
                head_channels=32,
                norm_groups=4,
                highest_trained=300,
                autoencoder_channels=(8, 16, 16),
                autoencoder_blocks=1,
                autoencoder_rate=4e-3,
                learning_rate=2e-3,
                first_phase=0.5,
                start=200,
                steps=4,
                passes=1,
            ),
            steps=300,
            batch=6,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: LatentDiffusionConfig) -> None:
        """Autoencoder and denoiser together must be able to halve the crop; the chain must be possible."""
        super().check(config)
        check_chain(config)
        divisor = 2 ** (len(config.channels) + len(config.autoencoder_channels) - 2)
        if any(size % divisor for size in config.crop):
            raise PackageError("The configuration's crop does not fit its networks.", f"Use multiples of {divisor}.")
        if any(channels % config.norm_groups for channels in config.autoencoder_channels):
            raise PackageError("The autoencoder's channels are no multiples of its groups.", "Train the model again.")

    @classmethod
    def build(cls, config: LatentDiffusionConfig) -> torch.nn.Module:
        """MONAI's AutoencoderKL without attention and its diffusion U-Net."""
        from monai.networks.nets import AutoencoderKL

        from ...networks.latent_networks import LatentDiffusion

        denoiser = build_unet(config, channels=config.latent_channels)
        autoencoder = AutoencoderKL(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=config.autoencoder_channels,
            num_res_blocks=(config.autoencoder_blocks,) * len(config.autoencoder_channels),
            attention_levels=(False,) * len(config.autoencoder_channels),
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_groups,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        return LatentDiffusion(autoencoder, denoiser)

    @classmethod
    def phases(cls, config: LatentDiffusionConfig) -> tuple[Phase, ...]:
        """First the autoencoder, then the denoiser on its frozen latents."""
        first, second = OptimizerSettings(config.autoencoder_rate), OptimizerSettings(config.learning_rate)
        return (
            Phase("autoencoder", first, ("autoencoder",), ends=config.first_phase),
            Phase("diffusion", second, ("denoiser",), starts=config.first_phase),
        )

    @classmethod
    def training_step(cls, network: Any, config: LatentDiffusionConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The loss of either phase."""
        step = _autoencoder_step if phase == "autoencoder" else _diffusion_step
        return step(network, config, batch)

    @classmethod
    def restore(
        cls, network: Any, config: LatentDiffusionConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean over the passes of the decoded latents that come back from the chain; the clean latents' mean."""
        import torch

        latents = network.latents(images)
        walk = partial(reverse_chain, config, network.denoiser, latents, generator)
        passes = torch.stack([network.decode(walk()).float() * masks for _ in range(config.passes)])
        spread = passes.std(0, correction=0) if config.passes > 1 else None
        return Restored(passes.mean(0), uncertainty=spread, latent=latents.flatten(2).mean(2))


def _autoencoder_step(network: Any, config: LatentDiffusionConfig, batch: Batch) -> dict[str, Tensor]:
    """Mean absolute error over the slice plus the weighted divergence of the latents."""
    from ...networks.latent_networks import divergence

    factor = 2 ** (len(config.autoencoder_channels) - 1)
    size = [length // factor for length in config.crop]
    noise = batch.normal(len(batch.images), config.latent_channels, *size)
    restored, mean, deviation = network(batch.images, noise)
    error = (restored.float() - batch.images).abs().mean()
    far = divergence(mean, deviation).mean()
    return {"loss": error + config.divergence_weight * far, "reconstruction": error, "divergence": far}


def _diffusion_step(network: Any, config: LatentDiffusionConfig, batch: Batch) -> dict[str, Tensor]:
    """Mean square error of the noise predicted in the scaled latents."""
    network.measure(batch.images)
    latents = network.latents(batch.images)
    noise = draw_noise(config, latents, batch.generator)
    levels = random_levels(config, len(latents), batch.generator, latents)
    predicted = network.denoiser(diffuse(config, latents, noise, levels), levels - 1).float()
    return {"loss": (predicted - noise).square().mean()}
