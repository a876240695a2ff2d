"""Principal components of healthy scans: what they cannot express is abnormal.

The scan is projected onto the components without the voxels that stand out (robust projection), so that a lesion does
not pull its own reconstruction; the residual is the map. The leverage h = z' L^-1 z of the coefficients z with their
variances L says how unusual the scan is inside the healthy space, and is a scan-level score.
With ``probabilistic`` the coefficients are the posterior mean of Tipping and Bishop's model (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import PackageError
from ..learned import LearnedDetector
from ..learning import HealthyScan, LearnedConfig, Preset, Restored
from .voxel_z_score import fitted_images, require_scans

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class PrincipalComponentsConfig(LearnedConfig):
    """``components`` (32 to 64 are usual; at most one less than the scans are used).

    ``coarsening``: voxels averaged along each axis (2 makes 4 mm of 2 mm). ``robust_iterations`` rounds of projection
    leave out residuals above ``outlier_limit`` robust standard deviations.
    """

    components: int = 32
    coarsening: int = 2
    robust_iterations: int = 3
    outlier_limit: float = 3.0
    probabilistic: bool = True


class PrincipalComponentsDetector(LearnedDetector):
    """|x - projection| at the components' scale; coefficients are the latent, leverage a scan score."""

    name: ClassVar[str] = "principal_components"
    title: ClassVar[str] = "Principal components"
    source: ClassVar[str] = "Tipping & Bishop 1999"
    dimensions: ClassVar[Literal[2, 3]] = 3
    Config: ClassVar[type] = PrincipalComponentsConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(PrincipalComponentsConfig(), steps=0, batch=1),
        "small": Preset(PrincipalComponentsConfig(components=8), steps=0, batch=1),
    }

    @classmethod
    def check(cls, config: PrincipalComponentsConfig) -> None:
        """The crop must be divisible by the coarsening, and there must be a component."""
        super().check(config)
        if min(config.components, config.coarsening) < 1 or any(size % config.coarsening for size in config.crop):
            raise PackageError(
                "The configuration has an impossible crop, coarsening or number of components.",
                f"Use multiples of {config.coarsening} and at least one component.",
            )

    @classmethod
    def build(cls, config: PrincipalComponentsConfig) -> torch.nn.Module:
        """Mean and components, 0 until they are fitted."""
        from ..networks.statistics import PrincipalComponents

        return PrincipalComponents(config.crop, config.components, config.coarsening)

    @classmethod
    def fit(cls, network: Any, config: PrincipalComponentsConfig, scans: Sequence[HealthyScan]) -> None:
        """The leading components of the scans. Raises OptionsError for fewer than three scans."""
        require_scans(scans, 3)
        network.fit(image for image, _ in fitted_images(scans, config.crop))

    @classmethod
    def restore(
        cls, network: Any, config: PrincipalComponentsConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """The projection; the score compares it with the image at the same scale."""
        from ..networks.coarse import coarser, finer

        settings = (config.robust_iterations, config.outlier_limit, config.probabilistic)
        coefficients = network.project(images, masks, *settings)
        size = tuple(images.shape[2:])
        projected = network.images(coefficients, size)
        residual = (finer(coarser(images, config.coarsening), size) - projected).abs()
        leverage = network.leverage(coefficients)
        return Restored(projected, residual, scan_scores={"leverage": leverage}, latent=coefficients)
