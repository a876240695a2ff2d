"""What the diffusion families share: schedule, forward noise, one reverse step, the U-Net.

Level t in 0..T is the number of noise steps that an image has gone through: 0 is the clean image, T nearly pure noise.
The schedule is MONAI's; level t is its entry t - 1. In the model's units background is -1 and white matter 1
(2 x - 1 of prepared intensities, as the published codes of these families have it).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import DependencyError, PackageError
from ...learned import LearnedDetector
from ...learning import LearnedConfig, OptimizerSettings, Phase

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_NOISES = ("gaussian", "simplex", "pyramid")
_SCHEDULES = ("linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine")


@dataclass(frozen=True)
class DiffusionConfig(LearnedConfig):
    """Network, schedule and noise.

    ``channels``, ``attention`` hold one entry for each resolution; training draws levels up to ``highest_trained`` of
    ``levels``, all of them in the papers; ``noise`` is gaussian, simplex or pyramid, with
    ``octaves``, ``persistence`` and ``frequency`` (pixels) of the latter two. ``brain_only`` leaves the background out
    of losses on images, which the papers do not. ``schedule`` is one of MONAI's noise
    schedules; the linear one goes from 1e-4 to 0.02 (Ho et al. 2020).
    """

    crop: tuple[int, ...] = (96, 96)
    channels: tuple[int, ...] = (128, 256, 256)
    attention: tuple[bool, ...] = (False, False, False)
    residual_blocks: int = 3
    head_channels: int = 64
    norm_groups: int = 32
    levels: int = 1000
    highest_trained: int = 1000
    schedule: str = "linear_beta"
    noise: str = "simplex"
    octaves: int = 6
    persistence: float = 0.8
    frequency: float = 64.0
    brain_only: bool = False
    learning_rate: float = 1e-4


class DiffusionDetector(LearnedDetector):
    """Base of the diffusion families, which see axial slices."""

    dimensions: ClassVar[Literal[2, 3]] = 2

    @classmethod
    def check(cls, config: Any) -> None:
        """The U-Net halves the crop at every resolution but the last; noise and schedule must exist."""
        super().check(config)
        divisor = 2 ** (len(config.channels) - 1)
        if any(size % divisor for size in config.crop):
            raise PackageError("The configuration's crop does not fit its network.", f"Use multiples of {divisor}.")
        if len(config.attention) != len(config.channels):
            raise PackageError("The configuration needs one attention entry for each of its channels.", _AGAIN)
        attending = [count for count, attends in zip(config.channels, config.attention, strict=True) if attends]
        heads = [count % config.head_channels for count in (*attending, config.channels[-1])]
        if any(heads) or any(count % config.norm_groups for count in config.channels):
            raise PackageError("The configuration's channels are no multiples of its groups and heads.", _AGAIN)
        if config.noise not in _NOISES or config.schedule not in _SCHEDULES or config.octaves < 1:
            raise PackageError("The configuration has an unknown noise or schedule.", _AGAIN)
        if not 1 <= config.highest_trained <= config.levels:
            raise PackageError("The configuration trains on levels that its schedule does not have.", _AGAIN)

    @classmethod
    def build(cls, config: Any) -> torch.nn.Module:
        """MONAI's diffusion U-Net."""
        return build_unet(config)

    @classmethod
    def phases(cls, config: Any) -> tuple[Phase, ...]:
        """One phase, the whole network."""
        return (Phase("denoise", adam(config)),)


def build_unet(config: Any, channels: int = 1, conditioned: bool = False) -> torch.nn.Module:
    """MONAI's diffusion U-Net of slices with ``channels`` in and out. Raises DependencyError without einops.

    ``conditioned`` reserves a place for an embedding that is added to that of the level.
    """
    from monai.networks.nets import DiffusionModelUNet

    require_einops()
    network: torch.nn.Module = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=channels,
        num_res_blocks=config.residual_blocks,
        channels=config.channels,
        attention_levels=config.attention,
        norm_num_groups=config.norm_groups,
        num_head_channels=config.head_channels,
        num_class_embeds=1 if conditioned else None,
    )
    return network


def require_einops() -> None:
    """Raise DependencyError where the package that MONAI's attention layers need is missing."""
    from importlib.util import find_spec

    if find_spec("einops") is None:
        raise DependencyError(
            "This detector needs the Python package 'einops', which is not installed.",
            "Install it with 'pip install einops' and try again.",
        )


@lru_cache(maxsize=8)
def scheduler(levels: int, schedule: str) -> Any:
    """MONAI's noise schedule."""
    from monai.networks.schedulers import DDPMScheduler

    return DDPMScheduler(num_train_timesteps=levels, schedule=schedule, clip_sample=False)


def signal(config: Any, level: int) -> float:
    """The part of the image's variance that is left at ``level`` (alpha-bar; Ho et al. 2020), 1 at level 0."""
    return float(scheduler(config.levels, config.schedule).alphas_cumprod[level - 1]) if level > 0 else 1.0


def to_model(images: Tensor) -> Tensor:
    """Prepared intensities in the model's units."""
    return 2.0 * images - 1.0


def to_images(values: Tensor) -> Tensor:
    """The inverse of ``to_model``."""
    return (values + 1.0) / 2.0


def random_levels(config: Any, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Levels 1..``highest_trained`` (count,), uniform."""
    import torch

    return torch.randint(1, config.highest_trained + 1, (count,), generator=generator).to(like.device)


def draw_noise(config: Any, like: Tensor, generator: torch.Generator) -> Tensor:
    """The configuration's noise in the shape of ``like``."""
    from .diffusion_noise import noise_like

    return noise_like(like, config.noise, generator, config.octaves, config.persistence, config.frequency)


def diffuse(config: Any, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """The forward process at ``levels`` (n,): sqrt(a) x + sqrt(1 - a) noise (Ho et al. 2020, equation 4)."""
    noisy: Tensor = scheduler(config.levels, config.schedule).add_noise(clean, noise, levels - 1)
    return noisy


def diffuse_to(config: Any, clean: Tensor, noise: Tensor, level: int) -> Tensor:
    """``diffuse`` with one level for all images."""
    return diffuse(config, clean, noise, level_of(clean, level))


def level_of(images: Tensor, level: int) -> Tensor:
    """``level`` for each image, (n,)."""
    import torch

    return torch.full((len(images),), level, dtype=torch.long, device=images.device)


def clean_estimate(config: Any, noisy: Tensor, noise: Tensor, level: int) -> Tensor:
    """The clean image that the predicted ``noise`` implies (Ho et al. 2020, equation 15)."""
    left = signal(config, level)
    return (noisy - math.sqrt(1.0 - left) * noise) / math.sqrt(left)


def reverse_step(
    config: Any, noisy: Tensor, noise: Tensor, level: int, target: int, stochasticity: float, fresh: Tensor | None
) -> Tensor:
    """From ``level`` down to ``target`` with the predicted ``noise`` (Song et al. 2021, 'DDIM', equations 12 and 16).

    ``stochasticity`` is the paper's eta: 0 for no ``fresh`` noise, 1 for the ancestral chain of Ho et al.
    """
    now, then = signal(config, level), signal(config, target)
    variance = stochasticity**2 * (1.0 - then) / (1.0 - now) * (1.0 - now / then)
    direction = math.sqrt(max(1.0 - then - variance, 0.0)) * noise
    mean = math.sqrt(then) * clean_estimate(config, noisy, noise, level) + direction
    return mean if fresh is None or target == 0 else mean + math.sqrt(variance) * fresh


def reverse_chain(
    config: Any,
    predict: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Noise to ``config.start`` and back in ``config.steps`` steps; ``predict`` tells the noise at given entries."""
    noisy = diffuse_to(config, clean, draw_noise(config, clean, generator), config.start)
    for level, target in pairwise(chain_levels(config.start, config.steps)):
        noise = predict(noisy, level_of(noisy, level) - 1).float()
        fresh = draw_noise(config, clean, generator) if config.stochasticity > 0.0 and target > 0 else None
        noisy = reverse_step(config, noisy, noise, level, target, config.stochasticity, fresh)
    return noisy


def chain_levels(start: int, steps: int) -> list[int]:
    """Levels from ``start`` down to 0 in ``steps`` nearly equal strides."""
    return [round(start * (steps - index) / steps) for index in range(steps + 1)]


def check_chain(config: Any) -> None:
    """Raise PackageError for a chain that cannot be walked."""
    if not 1 <= config.steps <= config.start <= config.levels or config.passes < 1:
        raise PackageError("The configuration's reverse chain is impossible.", _AGAIN)


def weighted_error(config: Any, estimate: Tensor, clean: Tensor, weights: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute error where ``weights`` are 1, in the brain alone if the configuration says so."""
    weights = weights * masks if config.brain_only else weights
    return ((estimate.float() - clean).abs() * weights).sum() / weights.sum().clamp(min=1.0)


def adam(config: Any) -> OptimizerSettings:
    """Adam at a constant rate, as the published codes have it."""
    return OptimizerSettings(config.learning_rate)


_AGAIN = "Import the package again, or train the model again."
