"""Scores from a model's derivative with respect to the image (Zimmerer et al. 2018-2019).

Where a small change of a voxel would move the posterior much, the image is unlike what the model was trained on. The
derivative is rectified and smoothed; the combined score multiplies it with the residual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KERNEL_SIGMA = 3.0
KERNEL_SIZE = 7


def input_gradient(images: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Derivative of ``value`` (one number (n,) for each image) with respect to ``images`` (n, 1, i, j[, k])."""
    import torch

    with torch.enable_grad():
        current = images.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(value(current).sum(), current)
    return gradient.detach()


def smoothed(values: Tensor, sigma: float = KERNEL_SIGMA, size: int = KERNEL_SIZE) -> Tensor:
    """Normalized Gaussian of ``size`` voxels along each spatial axis of (n, 1, i, j[, k]); zeros lie beyond the border.

    7 voxels and a standard deviation of 3 are those of Zimmerer et al.'s public code.
    """
    import torch

    offsets = torch.arange(size, dtype=values.dtype, device=values.device) - (size - 1) / 2
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    for axis in range(2, values.ndim):
        shape = [size if other == axis else 1 for other in range(values.ndim)]
        values = _convolved(values, kernel.reshape(shape), axis)
    return values


def gradient_score(images: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Smoothed absolute derivative, at least 0; in units of ``value`` for each unit of intensity."""
    return smoothed(input_gradient(images, value).abs())


def combined_score(gradient: Tensor, residual: Tensor) -> Tensor:
    """Product of the smoothed absolute derivative and the absolute residual.

    The paper's code scales the derivative of each image to a maximum of 1 first; that would hide how unusual an image
    is, and dividing by what healthy scans leave does the scaling here.
    """
    return gradient * residual.abs()


def _convolved(values: Tensor, kernel: Tensor, axis: int) -> Tensor:
    from torch.nn import functional

    convolve = {4: functional.conv2d, 5: functional.conv3d}[values.ndim]
    padding = [kernel.shape[axis] // 2 if other == axis else 0 for other in range(2, values.ndim)]
    result: Tensor = convolve(values, kernel, padding=padding)
    return result
