"""Conditioned diffusion in one step: cDDPM (Behrendt et al. 2023, 'Guided reconstruction with conditioned diffusion
models for unsupervised anomaly detection in brain MRIs', arXiv:2312.04215).

The network predicts the clean slice directly, and an encoder tells it how the whole slice looks, so that contrast and
brightness survive strong noise. One pass for each of a few noise levels is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import PackageError
from ...learning import Batch, Preset, Restored
from .diffusion import (
    DiffusionConfig,
    DiffusionDetector,
    build_unet,
    diffuse,
    diffuse_to,
    draw_noise,
    level_of,
    random_levels,
    to_images,
    to_model,
    weighted_error,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ConditionedDiffusionConfig(DiffusionConfig):
    """The published network for 96 x 96 pixels of 2 mm.

    ``test_levels`` are the noise levels whose estimates are averaged. The encoder is a ResNet of ``encoder_layers``
    blocks (``bottleneck`` or basic) of ``encoder_channels``; ``description`` is the size of what it says.
    """

    test_levels: tuple[int, ...] = (250, 500, 750)
    bottleneck: bool = True
    encoder_layers: tuple[int, ...] = (3, 4, 6, 3)
    encoder_channels: tuple[int, ...] = (64, 128, 256, 512)
    description: int = 128


class ConditionedDiffusionDetector(DiffusionDetector):
    """Prediction of the clean slice under the absolute error, T = 1000, levels 250, 500 and 750 averaged.

    In the published work the ResNet-50 starts from a masked pretraining on the same scans; here it learns with the
    rest. ``schedule`` may be cosine, which is what the published code falls back to.
    """

    name: ClassVar[str] = "conditioned_diffusion"
    title: ClassVar[str] = "Conditioned diffusion in one step (cDDPM)"
    source: ClassVar[str] = "Behrendt et al. 2023, arXiv:2312.04215"
    Config: ClassVar[type] = ConditionedDiffusionConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(ConditionedDiffusionConfig(), steps=200_000, batch=32, gradient_norm=None),
        "small": Preset(
            ConditionedDiffusionConfig(
                crop=(80, 96),
                channels=(8, 16, 32, 32),
                attention=(False, False, False, False),
                residual_blocks=1,
                head_channels=32,
                norm_groups=4,
                highest_trained=750,
                brain_only=True,
                bottleneck=False,
                encoder_layers=(1, 1, 1, 1),
                encoder_channels=(8, 16, 32, 64),
                learning_rate=4e-3,
            ),
            steps=220,
            batch=4,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: ConditionedDiffusionConfig) -> None:
        """There must be levels to average, all of the schedule."""
        super().check(config)
        if not config.test_levels or not all(1 <= level <= config.levels for level in config.test_levels):
            raise PackageError("The configuration has impossible noise levels.", "Import the package again.")

    @classmethod
    def build(cls, config: ConditionedDiffusionConfig) -> torch.nn.Module:
        """MONAI's diffusion U-Net and ResNet."""
        unet = build_unet(config, conditioned=True)
        from ...networks.conditioned_networks import ConditionedUNet, residual_encoder

        block = "bottleneck" if config.bottleneck else "basic"
        encoder = residual_encoder(block, config.encoder_layers, config.encoder_channels, config.description)
        return ConditionedUNet(unet, encoder, config.description)

    @classmethod
    def training_step(
        cls, network: Any, config: ConditionedDiffusionConfig, phase: str, batch: Batch
    ) -> dict[str, Tensor]:
        """Mean absolute error of the clean slice."""
        import torch

        clean = to_model(batch.images)
        levels = random_levels(config, len(clean), batch.generator, clean)
        noisy = diffuse(config, clean, draw_noise(config, clean, batch.generator), levels)
        estimate = network(noisy, levels - 1, network.describe(clean))
        return {"loss": weighted_error(config, estimate, clean, torch.ones_like(clean), batch.masks)}

    @classmethod
    def restore(
        cls, network: Any, config: ConditionedDiffusionConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean and standard deviation of the estimates over the noise levels; the descriptions as latents."""
        import torch

        clean = to_model(images)
        description = network.describe(clean)
        estimates = []
        for level in config.test_levels:
            noisy = diffuse_to(config, clean, draw_noise(config, clean, generator), level)
            estimates.append(to_images(network(noisy, level_of(clean, level) - 1, description).float()) * masks)
        stacked = torch.stack(estimates)
        return Restored(stacked.mean(0), uncertainty=stacked.std(0, correction=0), latent=description.float())
