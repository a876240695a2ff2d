"""A quantized bottleneck: sigmoid and Laplace noise bound what the deepest features can carry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class QuantizedBottleneck(nn.Module):
    """``sigmoid(x)`` plus Laplace noise of scale 1 / ``precision``, in training and at test time.

    Noise of that scale on values in (0, 1) leaves each feature about log2(precision) bits. The noise stays on at test
    time; averaging several passes (8 in the paper) gives the mean and its spread (blob noise and information
    bottleneck autoencoder, 2026).
    """

    def __init__(self, precision: float) -> None:
        super().__init__()
        self.precision = precision

    def forward(self, features: Tensor) -> Tensor:
        """Features of any shape, bounded and noisy."""
        bounded = torch.sigmoid(features)
        uniform = torch.rand_like(bounded).clamp(1e-6, 1.0 - 1e-6) - 0.5
        noise = -torch.sign(uniform) * torch.log1p(-2.0 * uniform.abs())
        return bounded + noise / self.precision


def quantize_bottleneck(network: nn.Module, channels: int, precision: float) -> None:
    """Put a quantized bottleneck behind the deepest layer of a residual U-Net, and a 1 x 1 x 1 convolution after."""
    skip = _skip_inside(network.model)
    if skip is None:
        raise ValueError("the network has no skip connection to put a bottleneck under")
    while (inner := _skip_inside(skip.submodule)) is not None:
        skip = inner
    skip.submodule = nn.Sequential(skip.submodule, QuantizedBottleneck(precision), nn.Conv3d(channels, channels, 1))


def _skip_inside(block: Any) -> Any:
    """The skip connection among the direct children of a block; None at the deepest layer."""
    return next((part for part in block.children() if hasattr(part, "submodule")), None)
