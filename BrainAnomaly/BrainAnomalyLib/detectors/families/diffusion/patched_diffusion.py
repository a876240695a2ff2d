"""Patched diffusion: pDDPM (Behrendt et al. 2023, 'Patched diffusion models for unsupervised anomaly detection
in brain MRI', MIDL).

Only one patch of the slice is noised at a time; its clean surroundings tell the network what belongs there. The
restored patches of a grid are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import PackageError
from ...learning import Batch, Preset, Restored
from .diffusion import (
    DiffusionConfig,
    DiffusionDetector,
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

Box = tuple[slice, slice]


@dataclass(frozen=True)
class PatchedDiffusionConfig(DiffusionConfig):
    """The published network for 96 x 96 pixels of 2 mm.

    ``patch`` is the side of the patches of the grid, ``test_level`` the noise level at which they are restored.
    """

    patch: int = 48
    test_level: int = 500


class PatchedDiffusionDetector(DiffusionDetector):
    """Prediction of the clean patch under the absolute error; 48 x 48 patches on a grid, T = 1000, restored at 500."""

    name: ClassVar[str] = "patched_diffusion"
    title: ClassVar[str] = "Patched diffusion (pDDPM)"
    source: ClassVar[str] = "Behrendt et al. 2023, MIDL"
    Config: ClassVar[type] = PatchedDiffusionConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(PatchedDiffusionConfig(), steps=200_000, batch=32, gradient_norm=None),
        "small": Preset(
            PatchedDiffusionConfig(
                crop=(80, 96),
                channels=(8, 16, 32, 32),
                attention=(False, False, False, False),
                residual_blocks=1,
                head_channels=32,
                norm_groups=4,
                highest_trained=500,
                brain_only=True,
                learning_rate=4e-3,
                patch=48,
            ),
            steps=320,
            batch=4,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: PatchedDiffusionConfig) -> None:
        """The patch must have a size and the level be one of the schedule."""
        super().check(config)
        if config.patch < 1 or not 1 <= config.test_level <= config.levels:
            raise PackageError("The configuration has an impossible patch or noise level.", "Import the package again.")

    @classmethod
    def training_step(cls, network: Any, config: PatchedDiffusionConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error inside one random patch of the grid for each slice."""
        clean = to_model(batch.images)
        levels = random_levels(config, len(clean), batch.generator, clean)
        noisy = diffuse(config, clean, draw_noise(config, clean, batch.generator), levels)
        inside = random_patches(clean, config.patch, batch.generator)
        estimate = network(clean + (noisy - clean) * inside, levels - 1)
        return {"loss": weighted_error(config, estimate, clean, inside, batch.masks)}

    @classmethod
    def restore(
        cls, network: Any, config: PatchedDiffusionConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Every patch of the grid from one pass in which only it is noised."""
        import torch

        clean, stitched = to_model(images), torch.zeros_like(images)
        noisy = diffuse_to(config, clean, draw_noise(config, clean, generator), config.test_level)
        for rows, columns in patch_grid(tuple(images.shape[2:]), config.patch):
            seen = clean.clone()
            seen[:, :, rows, columns] = noisy[:, :, rows, columns]
            estimate = network(seen, level_of(clean, config.test_level) - 1).float()
            stitched[:, :, rows, columns] = to_images(estimate[:, :, rows, columns])
        return Restored(stitched * masks)


def patch_grid(size: tuple[int, ...], patch: int) -> tuple[Box, ...]:
    """Boxes of ``patch`` pixels that cover a slice of ``size`` (i, j) without overlap; the last ones may be smaller."""
    rows, columns = ([slice(start, min(start + patch, length)) for start in range(0, length, patch)] for length in size)
    return tuple(product(rows, columns))


def random_patches(images: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """Ones inside a random box of the grid of each image (n, 1, i, j), zeros elsewhere."""
    import torch

    boxes = patch_grid(tuple(images.shape[2:]), patch)
    inside = torch.zeros_like(images)
    for image, index in zip(inside, torch.randint(0, len(boxes), (len(images),), generator=generator), strict=True):
        image[:, boxes[int(index)][0], boxes[int(index)][1]] = 1.0
    return inside
