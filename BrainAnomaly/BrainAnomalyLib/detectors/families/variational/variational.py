"""What the three variational autoencoders share: configuration, loss, the choice of scores, scan-level scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Restored, mean_per_image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...networks.variational_networks import StridedLayout

SCORES = ("residual", "restoration", "kl_gradient", "combined")
DISTANCES = ("l1", "l2")
NORMS = ("BATCH", "INSTANCE", "")


@dataclass(frozen=True)
class VariationalConfig(LearnedConfig):
    """Network, loss and score of a variational autoencoder of axial slices.

    ``channels`` from the image inwards; ``squeeze`` channels before the dense layers (0: none). ``distance`` between
    image and reconstruction, summed over an image, and ``kl_weight`` make the loss. ``score`` is one of

    - ``residual``: |x - x_hat|;
    - ``restoration``: |x - restored x|, by gradient descent on distance + KL + ``tv_weight`` * total variation;
    - ``kl_gradient``: |d KL / d x|, smoothed;
    - ``combined``: ``kl_gradient`` times ``residual``.

    ``samples`` codes are drawn for each image for the uncertainty and the scan-level scores.
    """

    crop: tuple[int, ...] = (128, 128)
    channels: tuple[int, ...] = (32, 64, 128, 128)
    kernel: int = 5
    norm: str = "BATCH"
    squeeze: int = 16
    latent: int = 128
    kl_weight: float = 1.0
    distance: str = "l1"
    score: str = "residual"
    restoration_step: float = 1e-3
    restoration_steps: int = 150
    tv_weight: float = 1.8
    samples: int = 5
    learning_rate: float = 1e-4


class VariationalDetector(LearnedDetector):
    """Base of the variational families; their networks return ``Coded``.

    Scan-level scores, each a mean over slices: ``l1`` (mean residual in the brain), ``kl`` (at the mean code),
    ``negative_elbo`` (mean over the drawn codes) and ``waic`` (the same plus its variance over the codes).
    """

    dimensions: ClassVar[Literal[2, 3]] = 2

    @classmethod
    def check(cls, config: Any) -> None:
        """The crop must fit the strides, and score, distance, norm and counts must exist."""
        super().check(config)
        divisor = 2 ** len(config.channels)
        if any(size % divisor for size in config.crop):
            raise PackageError("The configuration's crop does not fit its layers.", f"Use multiples of {divisor}.")
        named = ((config.score, SCORES), (config.distance, DISTANCES), (config.norm, NORMS))
        if any(name not in known for name, known in named):
            raise PackageError(
                "The configuration names an unknown score, distance or norm.",
                f"Scores are {', '.join(SCORES)}; distances {', '.join(DISTANCES)}; norms BATCH, INSTANCE or none.",
            )
        counts = (config.latent, config.samples, config.restoration_steps, config.kernel, *config.channels)
        if min(counts) < 1 or config.squeeze < 0 or config.tv_weight < 0.0:
            raise PackageError("The configuration has a size or number that is too small.", "Use positive numbers.")

    @classmethod
    def phases(cls, config: Any) -> tuple[Phase, ...]:
        """One phase with plain Adam."""
        return (Phase("autoencode", OptimizerSettings(config.learning_rate)),)

    @classmethod
    def training_step(cls, network: Any, config: Any, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Mean over the images of distance + KL, both sums over the image or code."""
        coded = network(batch.images, batch.generator)
        distance = distances(coded.image, batch.images, config.distance).mean()
        divergence = coded.divergence.mean()
        parts = {name: part.mean() for name, part in coded.parts.items()}
        return {"loss": distance + config.kl_weight * divergence, "distance": distance, "kl": divergence, **parts}

    @classmethod
    def restore(cls, network: Any, config: Any, images: Tensor, masks: Tensor, generator: torch.Generator) -> Restored:
        """The score that the configuration chooses, with scan-level scores and mean codes."""
        coded = network(images)
        healthy, raw = _SCORE[config.score](network, config, images, masks, coded.image)
        drawn = [network(images, generator) for _ in range(config.samples)]
        scan_scores = {
            "l1": mean_per_image((images - coded.image).abs(), masks),
            "kl": coded.divergence,
            **_sampled_scores([_energy_of(config, images, part) for part in drawn]),
        }
        return Restored(healthy, raw, _spread([part.image for part in drawn]), scan_scores, coded.mean)

    @classmethod
    def tuned(cls, network: Any, config: Any, images: Tensor, masks: Tensor) -> Any:
        """For the restoration score: the weight of total variation (0 to 1.9) that changes healthy images least."""
        if config.score != "restoration":
            return config
        from ....scoring.restoration import least_changing_weight

        steps = config.restoration_step, config.restoration_steps
        weight = least_changing_weight(images, masks, _energy(network, config), *steps)
        return replace(config, tv_weight=weight)


def layout(config: VariationalConfig) -> StridedLayout:
    """Sizes of encoder and decoder."""
    from ...networks.variational_networks import StridedLayout

    return StridedLayout(config.crop, config.channels, config.kernel, config.norm, config.squeeze)


def distances(restored: Tensor, images: Tensor, kind: str) -> Tensor:
    """Absolute (``l1``) or squared (``l2``) differences summed over each image, (n,)."""
    difference = (restored.float() - images).abs()
    return (difference if kind == "l1" else difference**2).flatten(1).sum(1)


def _energy_of(config: VariationalConfig, images: Tensor, coded: Any) -> Tensor:
    """Negative evidence lower bound up to a constant, (n,)."""
    energy: Tensor = distances(coded.image, images, config.distance) + config.kl_weight * coded.divergence
    return energy


def _energy(network: Any, config: VariationalConfig) -> Callable[[Tensor], Tensor]:
    return lambda images: _energy_of(config, images, network(images))


Scored = tuple[Any, Any]


def _residual(network: Any, config: Any, images: Tensor, masks: Tensor, image: Tensor) -> Scored:
    return image, None


def _restoration(network: Any, config: Any, images: Tensor, masks: Tensor, image: Tensor) -> Scored:
    from ....scoring.restoration import restored

    settings = config.restoration_step, config.restoration_steps, config.tv_weight
    return restored(images, masks, _energy(network, config), *settings), None


def _kl_gradient(network: Any, config: Any, images: Tensor, masks: Tensor, image: Tensor) -> Scored:
    from ....scoring.gradients import gradient_score

    return image, gradient_score(images, lambda current: network(current).divergence)


def _combined(network: Any, config: Any, images: Tensor, masks: Tensor, image: Tensor) -> Scored:
    from ....scoring.gradients import combined_score

    _, gradient = _kl_gradient(network, config, images, masks, image)
    return image, combined_score(gradient, images - image)


_SCORE: dict[str, Callable[..., Scored]] = {
    "residual": _residual,
    "restoration": _restoration,
    "kl_gradient": _kl_gradient,
    "combined": _combined,
}


def _sampled_scores(energies: list[Tensor]) -> dict[str, Tensor]:
    """Mean over samples, and the Watanabe-Akaike-type score: mean plus variance (Choi et al. 2018, with codes)."""
    import torch

    values = torch.stack(energies)
    return {"negative_elbo": values.mean(0), "waic": values.mean(0) + values.var(0, correction=0)}


def _spread(images: list[Tensor]) -> Tensor:
    import torch

    return torch.stack(images).std(0, correction=0)
