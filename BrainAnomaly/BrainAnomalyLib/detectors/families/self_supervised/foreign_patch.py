"""Self-supervised detection of synthetic anomalies in axial slices.

Foreign patch interpolation (Tan et al. 2020, 'Detecting outliers with foreign patch interpolation') blends patches of
other healthy brains into a healthy one and learns where and how strongly: the output is a direct anomaly score.
With ``target`` "restoration" the same kind of network learns to undo the anomalies instead (Naval Marimont et al.
2024, 'DISYRE'), which gives a pseudo-healthy slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored, masked_mean
from ...networks.slice_unet import check_strides, slice_unet

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TARGETS = ("segmentation", "restoration")


@dataclass(frozen=True)
class ForeignPatchConfig(LearnedConfig):
    """``target`` is "segmentation" (the default, the paper's) or "restoration".

    ``bias_probability`` of the anomalies are intensity shifts, the others foreign patches (0: foreign patches alone,
    as in the first paper); ``clean_probability`` of the slices stay healthy; ``positive_weight`` weighs anomalous
    voxels in the cross entropy.
    """

    crop: tuple[int, ...] = (96, 112)
    channels: tuple[int, ...] = (32, 64, 128, 256)
    residual_units: int = 2
    target: str = "segmentation"
    bias_probability: float = 0.5
    clean_probability: float = 0.2
    positive_weight: float = 5.0
    learning_rate: float = 1e-3


class ForeignPatchDetector(LearnedDetector):
    """A U-Net that finds (raw score: its probability) or undoes (raw score: |x - restored|) synthetic anomalies.

    As a segmenter it has no pseudo-healthy image of its own and returns the scan as it is. The small preset restores:
    a segmenter needs many more steps before it tells a lesion from healthy tissue.
    """

    name: ClassVar[str] = "foreign_patch"
    title: ClassVar[str] = "Foreign patch interpolation"
    source: ClassVar[str] = "Tan et al. 2020"
    unit: ClassVar[str] = "multiples of the healthy score"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = ForeignPatchConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(ForeignPatchConfig(), steps=20_000, batch=16),
        "small": Preset(
            ForeignPatchConfig(channels=(8, 16, 32, 64), residual_units=1, target="restoration", learning_rate=3e-3),
            steps=150,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: ForeignPatchConfig) -> None:
        """The crop must be divisible by the network's strides, and the target known."""
        super().check(config)
        if config.target not in _TARGETS:
            raise PackageError(f"The target '{config.target}' is not known.", f"Use one of {', '.join(_TARGETS)}.")
        check_strides(config.crop, config.channels)

    @classmethod
    def build(cls, config: ForeignPatchConfig) -> torch.nn.Module:
        """MONAI's 2D U-Net with instance norm and residual units, one channel in and out."""
        return slice_unet(1, 1, config.channels, config.residual_units)

    @classmethod
    def phases(cls, config: ForeignPatchConfig) -> tuple[Phase, ...]:
        """One phase."""
        settings = OptimizerSettings(config.learning_rate, 1e-5, schedule="cosine", warmup=50)
        return (Phase(config.target, settings),)

    @classmethod
    def training_step(cls, network: Any, config: ForeignPatchConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross entropy with the anomalies' strength, or mean absolute error to the healthy slice."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        from .synthetic_anomalies import synthesize

        chances = (config.bias_probability, config.clean_probability)
        made = synthesize(batch.images, batch.masks, batch.generator, *chances)
        output = network(made.images).float()
        if config.target == "restoration":
            return {"loss": masked_mean((made.images - output - batch.images).abs(), batch.masks)}
        weight = output.new_tensor(config.positive_weight)
        entropy = binary_cross_entropy_with_logits(output, made.strength, pos_weight=weight, reduction="none")
        return {"loss": masked_mean(entropy, batch.masks)}

    @classmethod
    def restore(
        cls, network: Any, config: ForeignPatchConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The restored slices, or the slices as they are with the probability as their score."""
        import torch

        output = network(images).float()
        if config.target == "restoration":
            return Restored(images - output)
        return Restored(images, torch.sigmoid(output))
