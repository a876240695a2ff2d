"""Voxel-wise normative statistics: how many standard deviations a voxel lies from healthy scans.

Mean and standard deviation of healthy scans at each voxel of the template; the map is the absolute t of Crawford and
Howell (1998) for one scan against a small control sample. Scans are smoothed first, in the brain only, because no
alignment is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ...errors import OptionsError
from ..fitting import center_fit
from ..learned import LearnedDetector
from ..learning import HealthyScan, LearnedConfig, Preset, Restored, mean_per_image

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class VoxelZScoreConfig(LearnedConfig):
    """``smoothing`` in voxels (standard deviation) of scans and variance map; ``deviation_floor`` in prepared units."""

    floor: float = 0.3
    smoothing: float = 1.0
    deviation_floor: float = 0.04


class VoxelZScoreDetector(LearnedDetector):
    """|t| of each voxel against healthy scans, t = (x - mean) / (s sqrt((n + 1) / n)); the mean is pseudo-healthy."""

    name: ClassVar[str] = "voxel_z_score"
    title: ClassVar[str] = "Voxel z-score"
    source: ClassVar[str] = "Crawford & Howell 1998"
    unit: ClassVar[str] = "multiples of the healthy z-score"
    dimensions: ClassVar[Literal[2, 3]] = 3
    Config: ClassVar[type] = VoxelZScoreConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(VoxelZScoreConfig(), steps=0, batch=1),
        "small": Preset(VoxelZScoreConfig(), steps=0, batch=1),
    }

    @classmethod
    def build(cls, config: VoxelZScoreConfig) -> torch.nn.Module:
        """Maps of the crop's size, 0 until they are fitted."""
        from ..networks.statistics import VoxelStatistics

        return VoxelStatistics(config.crop)

    @classmethod
    def fit(cls, network: Any, config: VoxelZScoreConfig, scans: Sequence[HealthyScan]) -> None:
        """Mean, deviation and count maps. Raises OptionsError for fewer than two scans."""
        require_scans(scans, 2)
        network.fit(fitted_images(scans, config.crop), config.smoothing)

    @classmethod
    def restore(
        cls, network: Any, config: VoxelZScoreConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The mean map for every image, |t|, and its mean over the brain as scan score."""
        score = network.t_values(images, masks, config.smoothing, config.deviation_floor).abs()
        mean = network.mean.expand_as(images)
        return Restored(mean, score, scan_scores={"mean_absolute_z": mean_per_image(score, masks)})


def require_scans(scans: Sequence[HealthyScan], least: int) -> None:
    """Raise OptionsError for fewer than ``least`` scans."""
    if len(scans) < least:
        raise OptionsError(
            f"{len(scans)} healthy scans are too few: statistics need at least {least}.", "Add healthy scans."
        )


def fitted_images(scans: Sequence[HealthyScan], crop: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Image and mask of each scan (1, 1, i, j, k) in the crop, read one after the other."""
    import torch

    for scan in scans:
        image, mask = (center_fit(np.asarray(part, dtype=np.float32), crop) for part in (scan.image(), scan.mask()))
        yield torch.from_numpy(image)[None, None], torch.from_numpy(mask)[None, None]
