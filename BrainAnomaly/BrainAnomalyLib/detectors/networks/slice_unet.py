"""The 2D U-Net that families of axial slices share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import PackageError

if TYPE_CHECKING:
    import torch


def check_strides(crop: Sequence[int], channels: Sequence[int]) -> None:
    """Raise PackageError for a crop that the network's strides do not divide."""
    divisor = 2 ** (len(channels) - 1)
    if any(size % divisor for size in crop):
        raise PackageError("The configuration has an impossible crop.", f"Use multiples of {divisor}.")


def slice_unet(seen: int, made: int, channels: Sequence[int], residual_units: int) -> torch.nn.Module:
    """MONAI's U-Net with instance norm, from ``seen`` to ``made`` channels; every level halves the size."""
    from monai.networks.nets import UNet

    network: torch.nn.Module = UNet(
        spatial_dims=2,
        in_channels=seen,
        out_channels=made,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=residual_units,
        norm="INSTANCE",
    )
    return network
