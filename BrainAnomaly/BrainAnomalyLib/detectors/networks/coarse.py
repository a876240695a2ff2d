"""Running a network on coarser voxels than its images have."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_POOL = {4: functional.avg_pool2d, 5: functional.avg_pool3d}
_INTERPOLATION = {4: "bilinear", 5: "trilinear"}


class AtCoarseScale(nn.Module):
    """``inside`` applied to images averaged over ``factor`` voxels along each axis; its output is interpolated back.

    A factor of 1 is ``inside`` alone.
    """

    def __init__(self, inside: nn.Module, factor: int) -> None:
        super().__init__()
        self.inside, self.factor = inside, factor

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, i, j[, k]) of sizes divisible by the factor."""
        return finer(self.inside(coarser(images, self.factor)), images.shape[2:])


def coarser(images: Tensor, factor: int) -> Tensor:
    """Mean of blocks of ``factor`` voxels along each axis of images (n, c, i, j[, k])."""
    return images if factor == 1 else _POOL[images.ndim](images, factor)


def finer(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Linear interpolation of images (n, c, i, j[, k]) to ``size``."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return functional.interpolate(images, size=tuple(size), mode=_INTERPOLATION[images.ndim], align_corners=False)
