"""Bayesian autoencoder of axial slices with gated skip connections (Baur et al. 2021, 'Modeling healthy anatomy with
artificial intelligence for unsupervised anomaly detection in brain MRI', Radiology: Artificial Intelligence).

Skip connections keep the cortex sharp; dropout that closes them most of the time keeps lesions from slipping through.
Dropout stays on at test time: the mean of the passes is the reconstruction, their standard deviation the uncertainty
(Monte Carlo dropout). Widths, dropout and training are this project's choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored, masked_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SCORES = ("residual", "standardized")


@dataclass(frozen=True)
class SkipAutoencoderConfig(LearnedConfig):
    """``skip_dropout`` closes skip connections, ``dropout`` feature maps of the bottleneck.

    ``score`` is "residual" for |x - mean of the passes| or "standardized" for the residual over the passes' standard
    deviation, which is floored at ``spread_floor`` (prepared intensity units). ``passes`` of 10 to 30 are usual.
    """

    crop: tuple[int, ...] = (96, 112)
    channels: tuple[int, ...] = (32, 64, 128, 128)
    latent: int = 16
    skip_dropout: float = 0.8
    dropout: float = 0.2
    passes: int = 16
    score: str = "residual"
    spread_floor: float = 0.02
    learning_rate: float = 1e-3


class SkipAutoencoderDetector(LearnedDetector):
    """Skip autoencoder with Monte Carlo dropout; the anomaly is the residual of the mean, or it over the spread."""

    name: ClassVar[str] = "skip_autoencoder"
    title: ClassVar[str] = "Bayesian skip autoencoder"
    source: ClassVar[str] = "Baur et al. 2021"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = SkipAutoencoderConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(SkipAutoencoderConfig(), steps=20_000, batch=16),
        "small": Preset(
            SkipAutoencoderConfig(channels=(8, 16, 32, 32), latent=8, passes=4, learning_rate=3e-3),
            steps=150,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: SkipAutoencoderConfig) -> None:
        """Dropouts are probabilities, there is a pass, and the score is known."""
        super().check(config)
        if config.score not in _SCORES:
            raise PackageError(f"The score '{config.score}' is not known.", f"Use one of {', '.join(_SCORES)}.")
        if not 0.0 < config.skip_dropout < 1.0 or not 0.0 <= config.dropout < 1.0 or config.passes < 1:
            raise PackageError("The configuration has an impossible dropout or number of passes.", "Use 0 to 1.")

    @classmethod
    def build(cls, config: SkipAutoencoderConfig) -> torch.nn.Module:
        """The autoencoder, one channel in and out."""
        from ...networks.slice_autoencoder import SliceAutoencoder

        return SliceAutoencoder(config.channels, config.latent, config.skip_dropout, config.dropout)

    @classmethod
    def phases(cls, config: SkipAutoencoderConfig) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("reconstruct", OptimizerSettings(config.learning_rate, schedule="cosine", warmup=50)),)

    @classmethod
    def training_step(cls, network: Any, config: SkipAutoencoderConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error in the brain, under dropout."""
        return {"loss": masked_mean((network(batch.images).float() - batch.images).abs(), batch.masks)}

    @classmethod
    def restore(
        cls, network: Any, config: SkipAutoencoderConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean and standard deviation of passes under dropout, and the score."""
        import torch

        with _dropout_on(network):
            passes = torch.stack([network(images).float() for _ in range(config.passes)])
        mean, spread = passes.mean(0), passes.std(0, unbiased=False)
        residual = (images - mean).abs()
        standardized = config.score == "standardized"
        return Restored(mean, residual / spread.clamp(min=config.spread_floor) if standardized else None, spread)


class _dropout_on:  # noqa: N801
    """While inside, the dropout layers of a network work as in training; everything else stays as it is."""

    def __init__(self, network: torch.nn.Module) -> None:
        import torch

        from ...networks.slice_autoencoder import Gate

        self._layers = [part for part in network.modules() if isinstance(part, torch.nn.Dropout2d | Gate)]

    def __enter__(self) -> None:
        for layer in self._layers:
            layer.train()

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            layer.eval()
