"""Restoration of images by descent on an energy (You et al. 2019, 'Unsupervised lesion detection via image restoration
with a normative prior'; Chen et al. 2020).

The restored image is the most probable healthy one: it lowers the energy of a trained model while its difference to
the scan stays of small total variation. Step 0.001, 150 steps and weight 1.8 are the defaults of the comparative
study's public code (Baur et al. 2021). There, the total variation is that of the restored image minus its
reconstruction; here it is that of the restored image minus the scan, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Energy = Callable[[Tensor], Tensor]

CANDIDATE_WEIGHTS = tuple(index / 10.0 for index in range(20))


def total_variation(images: Tensor) -> Tensor:
    """Sum of absolute differences between neighbors along every spatial axis, (n,), of images (n, c, i, j[, k])."""
    parts = (images.diff(dim=axis).abs().flatten(1).sum(1) for axis in range(2, images.ndim))
    total: Tensor = sum(parts)  # type: ignore[assignment]
    return total


def restored(
    images: Tensor, masks: Tensor, energy: Energy, step: float = 1e-3, steps: int = 150, weight: float = 1.8
) -> Tensor:
    """``images`` (n, 1, i, j[, k]) after ``steps`` of gradient descent inside ``masks``.

    ``energy`` gives one value (n,) for each image; ``weight`` times the total variation of the change is added to it.
    """
    import torch

    current = images.detach().clone()
    with torch.enable_grad():
        for _ in range(steps):
            current.requires_grad_(True)
            total = energy(current) + weight * total_variation(current - images)
            (gradient,) = torch.autograd.grad(total.sum(), current)
            current = (current - step * gradient * masks).detach()
    return current


def least_changing_weight(
    images: Tensor,
    masks: Tensor,
    energy: Energy,
    step: float = 1e-3,
    steps: int = 150,
    candidates: Iterable[float] = CANDIDATE_WEIGHTS,
) -> float:
    """The weight of the total variation whose restoration changes healthy images least (You et al., section 2.3)."""

    def change(weight: float) -> float:
        difference = restored(images, masks, energy, step, steps, weight) - images
        return float(difference.abs().mean())

    return min(candidates, key=change)
