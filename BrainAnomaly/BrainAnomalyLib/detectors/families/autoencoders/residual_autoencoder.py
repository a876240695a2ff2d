"""3D residual autoencoders with a dense or a spatial bottleneck (Luo et al., 'Unsupervised anomaly detection in brain
MRI: learning abstract distribution from massive healthy brains').

The dense bottleneck forgets where things are, and with that the lesions; of the sizes 128 to 1024 that the paper tries
it keeps 512. The spatial bottleneck keeps a coarse map of 1 to 64 channels; it is the paper's comparison, which every
dense one beats (its Figure 4). The paper's text names the L2 norm, its code the mean square error, used here; it gives
the size of its crop of MNI space (160 x 192 x 96 mm) but not its place, which is this project's choice (``luo_1mm``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import OptionsError, PackageError
from ....preparation.recipe import Recipe, recipe_from_json
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...networks.residual_networks import Bottleneck


@dataclass(frozen=True)
class ResidualAutoencoderConfig(LearnedConfig):
    """``latent`` numbers in a dense bottleneck (128 to 1024 in the paper) or channels in a spatial one (1 to 64).

    ``grid`` and ``intensity`` are the recipe's. With ``coarsening`` above 1 the network sees blocks of so many voxels
    averaged along each axis, and its output is interpolated back.
    """

    crop: tuple[int, ...] = (160, 192, 96)
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    latent: int = 512
    coarsening: int = 1
    grid: str = "luo_1mm"
    intensity: str = "unit_range"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5


@dataclass(frozen=True)
class SpatialAutoencoderConfig(ResidualAutoencoderConfig):
    """The same with 64 channels in a spatial bottleneck, the largest the paper compares."""

    latent: int = 64


def _small(kind: type[ResidualAutoencoderConfig], latent: int) -> Preset:
    config = kind(
        crop=(80, 96, 80),
        channels=(4, 8, 16, 32),
        latent=latent,
        coarsening=2,
        grid="template_2mm",
        intensity="white_matter",
        learning_rate=2e-3,
    )
    return Preset(config, steps=100, batch=2, average_decay=0.9)


class ResidualAutoencoderDetector(LearnedDetector):
    """Residual autoencoder with a dense bottleneck; the anomaly is |x - reconstruction|.

    As published: 198.0 million parameters, 188.9 million of them in the two dense layers of z = 512; mean square
    error over the whole crop, Adam with rate 1e-4 and weight decay 1e-5, batches of 8. Steps stand for the published
    200 epochs of 463 scans.
    """

    name: ClassVar[str] = "residual_autoencoder"
    title: ClassVar[str] = "Residual autoencoder, dense"
    source: ClassVar[str] = "Luo et al."
    dimensions: ClassVar[Literal[2, 3]] = 3
    Config: ClassVar[type] = ResidualAutoencoderConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(ResidualAutoencoderConfig(), steps=11_600, batch=8, average_decay=None, gradient_norm=None),
        "small": _small(ResidualAutoencoderConfig, 64),
    }

    @classmethod
    def recipe_for(cls, config: ResidualAutoencoderConfig) -> Recipe:
        """The recipe on the configuration's grid and intensity scale."""
        return recipe_from_json({"grid": config.grid, "intensity": config.intensity})

    @classmethod
    def check(cls, config: ResidualAutoencoderConfig) -> None:
        """The crop must be divisible by all halvings, the recipe known and nothing empty."""
        super().check(config)
        try:
            cls.recipe_for(config)
        except OptionsError as error:
            raise PackageError(str(error), error.remedy) from error
        divisor = config.coarsening * 2 ** (len(config.channels) - 1)
        if min(config.coarsening, config.latent, *config.channels) < 1 or any(s % divisor for s in config.crop):
            raise PackageError("The configuration has an impossible size.", f"Use crops of multiples of {divisor}.")

    @classmethod
    def build(cls, config: ResidualAutoencoderConfig) -> torch.nn.Module:
        """The residual autoencoder, one channel in and out."""
        from ...networks.coarse import AtCoarseScale
        from ...networks.residual_networks import ResidualAutoencoder

        return AtCoarseScale(ResidualAutoencoder(config.channels, cls._bottleneck(config)), config.coarsening)

    @classmethod
    def _bottleneck(cls, config: ResidualAutoencoderConfig) -> Bottleneck:
        from ...networks.residual_networks import DenseBottleneck

        divisor = config.coarsening * 2 ** (len(config.channels) - 1)
        return DenseBottleneck((config.channels[-1], *[size // divisor for size in config.crop]), config.latent)

    @classmethod
    def phases(cls, config: ResidualAutoencoderConfig) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("reconstruct", OptimizerSettings(config.learning_rate, config.weight_decay)),)

    @classmethod
    def training_step(
        cls, network: Any, config: ResidualAutoencoderConfig, phase: str, batch: Batch
    ) -> dict[str, Tensor]:
        """Mean square error over the whole crop."""
        return {"loss": ((network(batch.images).float() - batch.images) ** 2).mean()}

    @classmethod
    def restore(
        cls, network: Any, config: ResidualAutoencoderConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The reconstruction in one pass; a dense bottleneck's code is the latent."""
        from ...networks.coarse import coarser, finer

        code = network.inside.encode(coarser(images, config.coarsening))
        restored = finer(network.inside.decode(code).float(), tuple(images.shape[2:]))
        return Restored(restored, latent=code.float() if code.ndim == 2 else None)


class SpatialAutoencoderDetector(ResidualAutoencoderDetector):
    """The same network with a spatial bottleneck: 10 x 12 x 6 positions of ``latent`` channels as published."""

    name: ClassVar[str] = "spatial_autoencoder"
    title: ClassVar[str] = "Residual autoencoder, spatial"
    Config: ClassVar[type] = SpatialAutoencoderConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(SpatialAutoencoderConfig(), steps=11_600, batch=8, average_decay=None, gradient_norm=None),
        "small": _small(SpatialAutoencoderConfig, 8),
    }

    @classmethod
    def _bottleneck(cls, config: ResidualAutoencoderConfig) -> Bottleneck:
        from ...networks.residual_networks import SpatialBottleneck

        return SpatialBottleneck(config.channels[-1], config.latent)
