"""AnoDDPM: a diffusion model with simplex noise that walks a part of the chain (Wyatt, Leach, Schmon & Willcocks 2022,
'AnoDDPM: Anomaly detection with denoising diffusion probabilistic models using simplex noise', CVPR workshops).

A scan is noised to a level at which lesions drown but anatomy stays, then denoised step by step by a network that has
only seen healthy slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import OptionsError, PackageError
from ....preparation.recipe import Recipe
from ...learning import Batch, Preset, Restored
from .diffusion import (
    DiffusionConfig,
    DiffusionDetector,
    check_chain,
    diffuse,
    draw_noise,
    random_levels,
    reverse_chain,
    to_images,
    to_model,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SimplexDiffusionConfig(DiffusionConfig):
    """The published network for 256 x 256 pixels, here of 1 mm (the template grid padded with zeros).

    ``start`` is the level to which a scan is noised (of ``levels``), ``steps`` the number of reverse steps, fewer
    than ``start`` for strides as in DDIM; ``stochasticity`` 1 draws fresh noise at every step as the paper does. The
    mean of ``passes`` is the reconstruction. ``grid`` names the template grid.
    """

    grid: str = "template_1mm"
    crop: tuple[int, ...] = (256, 256)
    channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    attention: tuple[bool, ...] = (False, False, False, False, True, True)
    residual_blocks: int = 2
    head_channels: int = 256
    start: int = 250
    steps: int = 250
    stochasticity: float = 1.0
    passes: int = 1


class SimplexDiffusionDetector(DiffusionDetector):
    """Noise prediction under the squared error with simplex noise, T = 1000, linear schedule, Adam at 1e-4.

    The score is the absolute residual; the paper squares it, which ranks voxels alike.
    """

    name: ClassVar[str] = "simplex_diffusion"
    title: ClassVar[str] = "Diffusion with simplex noise (AnoDDPM)"
    source: ClassVar[str] = "Wyatt et al. 2022"
    Config: ClassVar[type] = SimplexDiffusionConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(SimplexDiffusionConfig(), steps=300_000, batch=1, average_decay=0.9999, gradient_norm=None),
        "small": Preset(
            SimplexDiffusionConfig(
                grid="template_2mm",
                crop=(80, 96),
                channels=(8, 16, 32, 32),
                attention=(False, False, False, False),
                residual_blocks=1,
                head_channels=32,
                norm_groups=4,
                highest_trained=250,
                octaves=5,
                frequency=32.0,
                start=200,
                steps=2,
                stochasticity=0.0,
                learning_rate=4e-3,
            ),
            steps=320,
            batch=4,
            average_decay=0.95,
        ),
    }

    @classmethod
    def recipe_for(cls, config: SimplexDiffusionConfig) -> Recipe:
        """The template grid that the configuration names."""
        return Recipe(grid=config.grid)

    @classmethod
    def check(cls, config: SimplexDiffusionConfig) -> None:
        """The reverse chain must be possible and the grid exist."""
        from ....preparation.space.grids import grid_named

        super().check(config)
        check_chain(config)
        try:
            grid_named(config.grid)
        except OptionsError as error:
            raise PackageError(error.message, error.remedy) from error

    @classmethod
    def training_step(cls, network: Any, config: SimplexDiffusionConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Mean square error of the predicted noise at random levels (Ho et al. 2020, equation 14)."""
        clean = to_model(batch.images)
        noise = draw_noise(config, clean, batch.generator)
        levels = random_levels(config, len(clean), batch.generator, clean)
        predicted = network(diffuse(config, clean, noise, levels), levels - 1).float()
        return {"loss": (predicted - noise).square().mean()}

    @classmethod
    def restore(
        cls, network: Any, config: SimplexDiffusionConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The mean over the passes and, with several, their standard deviation."""
        import torch

        walk = partial(reverse_chain, config, network, to_model(images), generator)
        passes = torch.stack([to_images(walk()) * masks for _ in range(config.passes)])
        spread = passes.std(0, correction=0) if config.passes > 1 else None
        return Restored(passes.mean(0), uncertainty=spread)
