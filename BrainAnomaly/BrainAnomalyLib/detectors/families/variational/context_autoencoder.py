"""Context-encoding variational autoencoder (Zimmerer et al. 2018, 'Context-encoding variational autoencoder for
unsupervised anomaly detection').

Besides the images themselves the network sees them with squares cut out, and must fill these from their surroundings:
the context branch has no latent noise and no KL term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import PackageError
from ...learning import Batch, Preset
from .variational import VariationalConfig, VariationalDetector, distances, layout
from .variational_autoencoder import SMALL_LAYOUT

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ContextConfig(VariationalConfig):
    """The paper's layers: 4 x 4 kernels, no norm; and 1 to ``patches`` squares of ``patch`` voxels cut from a slice.

    Number and size of the squares are those of the comparative study's public code (Baur et al. 2021) at 128 x 128.
    """

    channels: tuple[int, ...] = (16, 64, 256, 1024)
    kernel: int = 4
    norm: str = ""
    squeeze: int = 0
    score: str = "combined"
    patch: int = 20
    patches: int = 3


class ContextAutoencoderDetector(VariationalDetector):
    """ceVAE: loss = |x - x_hat| + KL + |x - decoded mean code of the cut image|, sums over a slice.

    34,183,361 parameters at 128 x 128; the default score is KL gradient times residual. ``small`` has the VAE's
    small layers and squares of 16 voxels (32 mm).
    """

    name: ClassVar[str] = "context_autoencoder"
    title: ClassVar[str] = "Context-encoding variational autoencoder"
    source: ClassVar[str] = "Zimmerer et al. 2018"
    Config: ClassVar[type] = ContextConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(ContextConfig(), steps=40_000, batch=8, gradient_norm=None),
        "small": Preset(
            ContextConfig(**SMALL_LAYOUT, norm="BATCH", squeeze=16, patch=16),
            steps=200,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: ContextConfig) -> None:
        """The squares must fit into the slice."""
        super().check(config)
        if config.patches < 1 or not 1 <= config.patch <= min(config.crop):
            raise PackageError("The squares to cut out do not fit into a slice.", "Make 'patch' smaller.")

    @classmethod
    def build(cls, config: ContextConfig) -> torch.nn.Module:
        """The VAE; both branches share it."""
        from ...networks.variational_networks import VariationalAutoencoder

        return VariationalAutoencoder(layout(config), config.latent)

    @classmethod
    def training_step(cls, network: Any, config: ContextConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The VAE's loss plus the context branch's distance to the whole image."""
        losses = super().training_step(network, config, phase, batch)
        kept = context_mask(batch, config.patch, config.patches)
        filled = network(batch.images * kept).image
        context = distances(filled, batch.images, config.distance).mean()
        return losses | {"loss": losses["loss"] + context, "context": context}


def context_mask(batch: Batch, patch: int, patches: int) -> Tensor:
    """1, and 0 in 1 to ``patches`` squares of ``patch`` voxels in the box about each slice's brain; (n, 1, i, j)."""
    import torch

    kept = torch.ones_like(batch.images)
    for index, mask in enumerate(batch.masks[:, 0] > 0):
        for _ in range(int(batch.integers(1, patches + 1, 1))):
            i, j = (_corner(mask.any(dim=axis), patch, batch) for axis in (1, 0))
            kept[index, 0, i : i + patch, j : j + patch] = 0.0
    return kept


def _corner(occupied: Tensor, patch: int, batch: Batch) -> int:
    """First voxel of a square along an axis: so that it ends inside the brain's extent where that is long enough."""
    places = occupied.nonzero()
    low, high = (int(places.min()), int(places.max())) if len(places) else (0, len(occupied) - 1)
    return int(batch.integers(low, max(low + 1, high - patch + 2), 1))
