"""Scale-space autoencoder of axial slices (Baur et al. 2020, 'Scale-space autoencoders for unsupervised anomaly
segmentation in brain MRI', MICCAI).

A Laplacian pyramid takes the slice apart into bands of detail; each band has an autoencoder of its own, and the
restored bands are put together again. Fine detail need not pass the coarse bottleneck. Widths and training are this
project's choices; three levels and one autoencoder for each are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ScaleSpaceAutoencoderConfig(LearnedConfig):
    """``levels`` of the pyramid; each has an autoencoder of ``channels`` and a spatial bottleneck of ``latent``."""

    crop: tuple[int, ...] = (96, 112)
    levels: int = 3
    channels: tuple[int, ...] = (32, 64, 128)
    latent: int = 8
    learning_rate: float = 1e-3


class ScaleSpaceAutoencoderDetector(LearnedDetector):
    """One autoencoder for each band of a Laplacian pyramid; the anomaly is |x - reconstruction|."""

    name: ClassVar[str] = "scale_space_autoencoder"
    title: ClassVar[str] = "Scale-space autoencoder"
    source: ClassVar[str] = "Baur et al. 2020"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = ScaleSpaceAutoencoderConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(ScaleSpaceAutoencoderConfig(), steps=20_000, batch=16),
        "small": Preset(
            ScaleSpaceAutoencoderConfig(channels=(8, 16, 32), latent=4, learning_rate=3e-3),
            steps=250,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: ScaleSpaceAutoencoderConfig) -> None:
        """The crop must be divisible by the pyramid's halvings."""
        super().check(config)
        divisor = 2 ** (config.levels - 1)
        if config.levels < 1 or any(size % divisor for size in config.crop):
            raise PackageError("The configuration has an impossible crop.", f"Use multiples of {divisor}.")

    @classmethod
    def build(cls, config: ScaleSpaceAutoencoderConfig) -> torch.nn.Module:
        """The autoencoders of all bands."""
        from ...networks.slice_autoencoder import LaplacianAutoencoder

        return LaplacianAutoencoder(config.levels, config.channels, config.latent)

    @classmethod
    def phases(cls, config: ScaleSpaceAutoencoderConfig) -> tuple[Phase, ...]:
        """One phase for all bands."""
        return (Phase("reconstruct", OptimizerSettings(config.learning_rate, schedule="cosine", warmup=50)),)

    @classmethod
    def training_step(
        cls, network: Any, config: ScaleSpaceAutoencoderConfig, phase: str, batch: Batch
    ) -> dict[str, Tensor]:
        """The sum of the bands' mean square errors, which are logged as band_0 (finest) and on."""
        from ...networks.slice_autoencoder import laplacian_pyramid

        bands = laplacian_pyramid(batch.images, config.levels)
        pairs = zip(network.reconstructed_bands(bands), bands, strict=True)
        errors = {f"band_{index}": ((seen.float() - band) ** 2).mean() for index, (seen, band) in enumerate(pairs)}
        return {"loss": sum(errors.values()), **errors}

    @classmethod
    def restore(
        cls,
        network: Any,
        config: ScaleSpaceAutoencoderConfig,
        images: Tensor,
        masks: Tensor,
        generator: torch.Generator,
    ) -> Restored:
        """The restored bands put together."""
        return Restored(network(images).float())
