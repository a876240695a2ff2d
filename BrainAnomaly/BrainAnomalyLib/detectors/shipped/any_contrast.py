"""Synthetic lesions in random contrasts: one network of axial slices for T1w, T2w and FLAIR.

A U-Net sees a slice and its mirror image. It learns on healthy slices whose tissue contrast is drawn at random, in
which synthetic lesions of random shape, size, sign and texture are written, to do two things at once: to undo the
lesions (pseudo-healthy slice) and to say where they are. No lesion of a patient is ever shown to it. The idea of the
restoration is that of Naval Marimont et al. 2024 (DISYRE), of reconstruction and discrimination in one training that of
Zavrtanik et al. 2021 (DRAEM), of random contrasts that of Billot et al. 2023 (SynthSeg), of the mirror image that of
Liu et al. 2025 (UNA).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..learned import LearnedDetector
from ..learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored, masked_mean
from ..networks.slice_unet import check_strides, slice_unet

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class AnyContrastConfig(LearnedConfig):
    """``natural_probability`` of the slices keep their contrast, ``clean_probability`` stay without a lesion.

    A slice is blurred, noisy and unevenly bright, each with ``acquisition_probability``; a group of lesions is of many
    small ones with ``many_probability`` and has partners on the other side with ``paired_probability``.
    ``positive_weight`` weighs lesion voxels in the cross entropy. ``mirrors`` gives the network the mirror image as a
    second channel.
    """

    crop: tuple[int, ...] = (96, 112)
    floor: float = 0.05
    channels: tuple[int, ...] = (24, 48, 96, 192)
    residual_units: int = 2
    mirrors: bool = True
    natural_probability: float = 0.4
    clean_probability: float = 0.15
    acquisition_probability: float = 0.4
    many_probability: float = 0.3
    paired_probability: float = 0.4
    positive_weight: float = 3.0
    learning_rate: float = 2e-3


class AnyContrastDetector(LearnedDetector):
    """A U-Net that undoes and marks synthetic lesions; raw score: -log(1 - probability of a lesion)."""

    name: ClassVar[str] = "any_contrast"
    title: ClassVar[str] = "Synthetic lesions in random contrasts"
    source: ClassVar[str] = "after DISYRE, DRAEM and UNA"
    unit: ClassVar[str] = "multiples of the healthy score"
    cleans_map: ClassVar[bool] = False
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = AnyContrastConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(AnyContrastConfig(), steps=20_000, batch=16),
        "small": Preset(
            AnyContrastConfig(
                channels=(8, 16, 32, 64),
                residual_units=1,
                natural_probability=1.0,
                acquisition_probability=0.0,
                many_probability=0.0,
                paired_probability=0.0,
                learning_rate=4e-3,
            ),
            steps=800,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: AnyContrastConfig) -> None:
        """The crop must be divisible by the network's strides."""
        super().check(config)
        check_strides(config.crop, config.channels)

    @classmethod
    def build(cls, config: AnyContrastConfig) -> torch.nn.Module:
        """MONAI's 2D U-Net with instance norm; in: slice and mirror image, out: correction and log odds of a lesion."""
        return slice_unet(2 if config.mirrors else 1, 2, config.channels, config.residual_units)

    @classmethod
    def phases(cls, config: AnyContrastConfig) -> tuple[Phase, ...]:
        """One phase."""
        settings = OptimizerSettings(config.learning_rate, 1e-4, decoupled=True, schedule="cosine", warmup=50)
        return (Phase("find", settings),)

    @classmethod
    def training_step(cls, network: Any, config: AnyContrastConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross entropy and soft Dice of the lesions, and mean absolute error to the healthy slice."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        from .lesion_synthesis import Groups, random_acquisition, random_contrast, with_lesions

        healthy = random_contrast(batch.images, batch.masks, batch.generator, config.natural_probability)
        healthy = random_acquisition(healthy, batch.masks, batch.generator, config.acquisition_probability)
        groups = Groups(config.many_probability, config.paired_probability)
        ill, truth = with_lesions(healthy, batch.masks, batch.generator, config.clean_probability, groups)
        correction, logit = _outputs(network, config, ill)
        weight = logit.new_tensor(config.positive_weight)
        entropy = masked_mean(
            binary_cross_entropy_with_logits(logit, truth, pos_weight=weight, reduction="none"), batch.masks
        )
        overlap = 1.0 - _soft_dice(logit.sigmoid() * batch.masks, truth)
        restoration = masked_mean((ill - correction - healthy).abs(), batch.masks)
        loss = entropy + 0.5 * overlap + 2.0 * restoration
        return {"loss": loss, "entropy": entropy, "overlap": overlap, "restoration": restoration}

    @classmethod
    def restore(
        cls, network: Any, config: AnyContrastConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean of the slice's and its mirror image's passes; half their difference is the uncertainty."""
        from torch.nn.functional import softplus

        passes = [_outputs(network, config, images), _outputs(network, config, images.flip(2))]
        passes[1] = (passes[1][0].flip(2), passes[1][1].flip(2))
        healthy = [images - correction for correction, _ in passes]
        raw = (softplus(passes[0][1]) + softplus(passes[1][1])) / 2.0
        return Restored((healthy[0] + healthy[1]) / 2.0, raw * masks, (healthy[0] - healthy[1]).abs() / 2.0)


def _outputs(network: Any, config: AnyContrastConfig, images: Tensor) -> tuple[Tensor, Tensor]:
    """Correction and log odds (n, 1, i, j)."""
    import torch

    seen = torch.cat([images, images.flip(2)], dim=1) if config.mirrors else images
    output = network(seen).float()
    return output[:, :1], output[:, 1:]


def _soft_dice(probability: Tensor, truth: Tensor) -> Tensor:
    """Over the whole batch."""
    return (2.0 * (probability * truth).sum() + 1.0) / (probability.sum() + truth.sum() + 1.0)
