"""A diffusion U-Net that is told what the whole slice looks like."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import ResNet
from torch import Tensor, nn


class ConditionedUNet(nn.Module):
    """An encoder's description of the clean slice (n, d) is mapped and added to the level's embedding.

    ``unet`` is a MONAI diffusion U-Net built with a class embedding, in whose place the linear map of the description
    is put: in the published code too the description takes the way of a class label (Behrendt et al. 2023).
    """

    def __init__(self, unet: Any, encoder: nn.Module, dimensions: int) -> None:
        super().__init__()
        unet.class_embedding = nn.Linear(dimensions, unet.block_out_channels[0] * 4)
        self.unet, self.encoder = unet, encoder

    def describe(self, clean: Tensor) -> Tensor:
        """The description (n, d) of slices (n, 1, i, j)."""
        described: Tensor = self.encoder(clean)
        return described

    def forward(self, noisy: Tensor, timesteps: Tensor, description: Tensor) -> Tensor:
        """The clean slices (n, 1, i, j) that the network sees in ``noisy`` ones."""
        estimate: Tensor = self.unet(noisy, timesteps, class_labels=description)
        return estimate


def residual_encoder(block: str, layers: tuple[int, ...], planes: tuple[int, ...], dimensions: int) -> nn.Module:
    """MONAI's ResNet of slices with ``dimensions`` outputs; bottleneck blocks (3, 4, 6, 3) make the ResNet-50."""
    network: nn.Module = ResNet(
        block=block,
        layers=list(layers),
        block_inplanes=list(planes),
        spatial_dims=2,
        n_input_channels=1,
        num_classes=dimensions,
    )
    return network
