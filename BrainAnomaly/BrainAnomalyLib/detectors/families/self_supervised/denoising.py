"""Coarse-noise denoising autoencoder (Kascenas, Pugeault & O'Neil 2022, 'Denoising autoencoders for unsupervised
anomaly detection in brain MRI', MIDL), in 3D.

A small U-Net learns to remove coarse noise from healthy brains. Shown a lesion, it takes it for noise and paints
healthy tissue. Localized blob noise is added in half of the batches; with a quantized bottleneck the deepest features
pass through a sigmoid and Laplace noise, which bounds what they can carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ....io.volumes import Contrast
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class DenoisingConfig(LearnedConfig):
    """Network and inference settings.

    Every pass adds coarse noise of ``noise_sigma`` (0: none) to the scan or its mirror image; the mean of the passes is
    the reconstruction, their standard deviation the uncertainty. ``bottleneck_precision`` is the 1 / scale of the
    Laplace noise in a quantized bottleneck, 0 for a plain one.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    residual_units: int = 2
    crop: tuple[int, ...] = (80, 96, 80)
    passes: int = 4
    noise_sigma: float = 0.05
    bottleneck_precision: float = 0.0
    blob_probability: float = 0.5
    learning_rate: float = 1e-3


class DenoisingDetector(LearnedDetector):
    """Coarse-noise denoising autoencoder, optimized as in the paper: Adam amsgrad, cosine rate, gradient norm 0.5."""

    name: ClassVar[str] = "denoising"
    title: ClassVar[str] = "Denoising autoencoder"
    source: ClassVar[str] = "Kascenas et al. 2022"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w",)
    dimensions: ClassVar[Literal[2, 3]] = 3
    Config: ClassVar[type] = DenoisingConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(DenoisingConfig(), steps=12_000, batch=1, gradient_norm=0.5),
        "small": Preset(
            DenoisingConfig(channels=(8, 16, 32, 64), residual_units=0, passes=2, learning_rate=4e-3),
            steps=250,
            batch=1,
            average_decay=0.9,
            gradient_norm=0.5,
        ),
    }

    @classmethod
    def check(cls, config: DenoisingConfig) -> None:
        """The crop must be divisible by the network's strides and there must be a pass."""
        super().check(config)
        divisor = 2 ** len(config.strides)
        if any(size % divisor for size in config.crop) or config.passes < 1:
            raise PackageError(
                "The configuration has an impossible crop or number of passes.", f"Use multiples of {divisor}."
            )

    @classmethod
    def build(cls, config: DenoisingConfig) -> torch.nn.Module:
        """The residual U-Net in 3D, one channel in and out."""
        from ...networks.bottleneck import quantize_bottleneck
        from ...networks.residual_unet import ResidualUNet

        network = ResidualUNet(3, 1, 1, config.channels, config.strides, config.residual_units)
        if config.bottleneck_precision > 0.0:
            quantize_bottleneck(network, config.channels[-1], config.bottleneck_precision)
        return network

    @classmethod
    def phases(cls, config: DenoisingConfig) -> tuple[Phase, ...]:
        """One phase."""
        settings = OptimizerSettings(config.learning_rate, 1e-5, amsgrad=True, schedule="cosine", warmup=100)
        return (Phase("denoise", settings),)

    @classmethod
    def training_step(cls, network: Any, config: DenoisingConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Masked mean square error between the restored and the clean image."""
        from .corruption import corrupt

        corrupted = corrupt(batch.images, batch.generator, config.blob_probability)
        return {"loss": masked_loss(network(corrupted).float(), batch.images)}

    @classmethod
    def restore(
        cls, network: Any, config: DenoisingConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean and standard deviation over the passes; every second pass sees the mirror image."""
        import torch

        total, squares = torch.zeros_like(images), torch.zeros_like(images)
        for index in range(config.passes):
            restored = _pass(network, config, images, bool(index % 2), generator)
            total, squares = total + restored, squares + restored**2
        mean = total / config.passes
        spread = torch.sqrt(torch.clamp(squares / config.passes - mean**2, min=0.0))
        return Restored(mean, uncertainty=spread)


def masked_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean square error over the brain (clean > 0), times 10."""
    inside = (clean > 0).float()
    return 10.0 * ((restored - clean) ** 2 * inside).sum() / inside.sum().clamp(min=1.0)


def _pass(network: Any, config: DenoisingConfig, images: Tensor, mirror: bool, generator: torch.Generator) -> Tensor:
    import torch

    from .corruption import coarse_field

    seen = torch.flip(images, (2,)) if mirror else images
    noise = coarse_field(tuple(seen.shape[2:]), generator, count=len(seen)).to(seen) * config.noise_sigma
    restored = network(seen + noise * (seen > 0.01)).float()
    return torch.flip(restored, (2,)) if mirror else restored
