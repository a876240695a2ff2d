"""Statistics of healthy scans as modules whose state is what a package stores."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .coarse import coarser, finer

_MAD_TO_SIGMA = 1.4826
# Directions with less than this part of the first one's variance are rounding errors.
_SMALLEST_VARIANCE = 1e-6


class VoxelStatistics(nn.Module):
    """Mean, standard deviation and number of healthy scans at each voxel of ``size`` (i, j, k)."""

    mean: Tensor
    deviation: Tensor
    count: Tensor

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        for name in ("mean", "deviation", "count"):
            self.register_buffer(name, torch.zeros(1, 1, *size))

    def fit(self, scans: Iterable[tuple[Tensor, Tensor]], smoothing: float) -> None:
        """From (image, mask) pairs (1, 1, i, j, k), each smoothed; the variance map is smoothed likewise."""
        total, squares, count = (torch.zeros_like(self.mean) for _ in range(3))
        for image, mask in scans:
            smooth = masked_gaussian(image, mask, smoothing)
            total, squares, count = total + smooth, squares + smooth**2, count + mask
        mean = total / count.clamp(min=1.0)
        variance = (squares - count * mean**2).clamp(min=0.0) / (count - 1.0).clamp(min=1.0)
        known = (count > 1.0).float()
        self.mean.copy_(mean)
        self.deviation.copy_(masked_gaussian(variance, known, smoothing).sqrt())
        self.count.copy_(count)

    def t_values(self, images: Tensor, masks: Tensor, smoothing: float, floor: float) -> Tensor:
        """Crawford and Howell's t of each voxel, (x - mean) / (s sqrt((n + 1) / n)); 0 where n is below 2."""
        spread = self.deviation.clamp(min=floor) * torch.sqrt((self.count + 1.0) / self.count.clamp(min=1.0))
        return (masked_gaussian(images, masks, smoothing) - self.mean) / spread * (self.count > 1.0)


class PrincipalComponents(nn.Module):
    """Mean, leading components and variances of healthy scans on voxels of ``factor`` of the crop's.

    ``components`` (k, voxels) are orthonormal and 0 where fewer than k could be had; ``noise`` is the mean variance
    of the directions left out.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    noise: Tensor

    def __init__(self, size: tuple[int, ...], components: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        coarse = [length // factor for length in size]
        self.register_buffer("mean", torch.zeros(1, 1, *coarse))
        self.register_buffer("components", torch.zeros(components, self.mean.numel()))
        self.register_buffer("variances", torch.zeros(components))
        self.register_buffer("noise", torch.zeros(1))

    def fit(self, images: Iterable[Tensor]) -> None:
        """By singular value decomposition of images (1, 1, i, j, k); n scans give at most n - 1 components."""
        rows = torch.cat([coarser(image, self.factor).flatten(1) for image in images])
        mean = rows.mean(0)
        _, singular, directions = torch.linalg.svd(rows - mean, full_matrices=False)
        variances = singular**2 / max(len(rows) - 1, 1)
        present = int((variances > _SMALLEST_VARIANCE * variances[0]).sum())
        kept = min(len(self.variances), len(rows) - 1, present)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.components.zero_()[:kept] = directions[:kept]
        self.variances.zero_()[:kept] = variances[:kept]
        self.noise.fill_(float(variances[kept:].sum()) / max(len(mean) - kept, 1))

    def project(self, images: Tensor, masks: Tensor, iterations: int, limit: float, shrinks: bool) -> Tensor:
        """Coefficients (n, k) by least squares over the brain without voxels whose residual exceeds ``limit`` sigma.

        Sigma is 1.4826 times the median absolute residual; ``iterations`` rounds look for such voxels.
        With ``shrinks`` the coefficients are the posterior mean of probabilistic principal components.
        """
        pairs = zip(coarser(images, self.factor), coarser(masks, self.factor), strict=True)
        return torch.stack([self._projected(*pair, iterations, limit, shrinks) for pair in pairs])

    def _projected(self, image: Tensor, mask: Tensor, iterations: int, limit: float, shrinks: bool) -> Tensor:
        difference, inside = (image - self.mean[0]).flatten(), mask.flatten() > 0.5
        kept, coefficients = inside, torch.zeros_like(self.variances)
        for _ in range(iterations + 1):
            coefficients = self._least_squares(difference, kept.to(difference), shrinks)
            residual = (difference - coefficients @ self.components).abs()
            sigma = _MAD_TO_SIGMA * residual[inside].median() if inside.any() else residual.max()
            kept = inside & (residual <= limit * sigma)
        return coefficients

    def _least_squares(self, difference: Tensor, weights: Tensor, shrinks: bool) -> Tensor:
        used = self.variances > 0.0
        weighted = self.components * weights
        normal = weighted @ self.components.T
        prior = (self.variances - self.noise).clamp(min=1e-12)
        ridge = torch.where(used, self.noise / prior if shrinks else torch.zeros_like(prior), torch.ones_like(prior))
        ridge = ridge + 1e-6
        solved: Tensor = torch.linalg.solve(normal + torch.diag(ridge), weighted @ difference)
        return solved * used

    def images(self, coefficients: Tensor, size: tuple[int, ...]) -> Tensor:
        """The images (n, 1, i, j, k) of coefficients (n, k), interpolated to ``size``."""
        coarse = self.mean + (coefficients @ self.components).reshape(-1, *self.mean.shape[1:])
        return finer(coarse, size)

    def leverage(self, coefficients: Tensor) -> Tensor:
        """z' L^-1 z (n,): how far out each scan lies in the space that the components span."""
        used = self.variances > 0.0
        terms: Tensor = coefficients**2 / self.variances.clamp(min=1e-12) * used
        return terms.sum(1)


def masked_gaussian(images: Tensor, masks: Tensor, sigma: float) -> Tensor:
    """Gaussian mean (``sigma`` in voxels) over the brain about each brain voxel of (n, 1, i, j, k); 0 outside."""
    if sigma <= 0.0:
        return images * masks
    smooth, weight = _gaussian(images * masks, sigma), _gaussian(masks, sigma)
    return smooth / weight.clamp(min=1e-6) * masks


def _gaussian(images: Tensor, sigma: float) -> Tensor:
    reach = max(1, round(3.0 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    for axis in range(2, 5):
        shape = [1] * 5
        shape[axis] = len(kernel)
        padding = [reach if other == axis else 0 for other in range(2, 5)]
        images = functional.conv3d(images, (kernel / kernel.sum()).reshape(shape), padding=padding)
    return images
