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
    """The residual U-Net from ``seen`` to ``made`` channels; every level halves the size."""
    from .residual_unet import ResidualUNet

    return ResidualUNet(2, seen, made, channels, (2,) * (len(channels) - 1), residual_units)
