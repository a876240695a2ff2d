"""What a family of trained detectors tells the trainer: its presets, phases and batches.

A training runs for a number of steps. Each step draws one batch and, for every phase whose share of the training it
falls into, computes the family's loss and updates the modules the phase names. Adversarial families have two phases at
once, two-stage families one after the other; families that fit statistics in closed form have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..errors import PackageError
from ..io.geometry import FloatArray, MaskArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_AGAIN = "Import the package again."


@dataclass(frozen=True)
class LearnedConfig:
    """Settings that every trained family has.

    ``crop`` is the part of the template grid, about its middle, that the network sees: (i, j) for networks of axial
    slices, (i, j, k) for networks of volumes; larger than the grid means padded with zeros. ``floor``, in prepared
    intensity units, keeps the healthy residual from dividing by nearly nothing.
    """

    crop: tuple[int, ...] = (96, 112, 96)
    floor: float = 0.02


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam as the family's paper uses it; ``schedule`` goes over the phase's share of the training.

    ``decoupled`` weight decay is AdamW's. ``warmup`` is the number of steps over which the rate rises from 0.
    """

    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    decoupled: bool = False
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0


@dataclass(frozen=True)
class Phase:
    """One part of a training: which modules it updates, when, and with which optimizer.

    ``modules`` are names of the network's submodules, all of it if empty. The phase is active from ``starts`` to
    ``ends`` (shares of the whole training, in [0, 1]) and then at every ``every``-th step. ``loss`` is computed by the
    family's ``training_step`` under the phase's name.
    """

    name: str
    optimizer: OptimizerSettings
    modules: tuple[str, ...] = ()
    starts: float = 0.0
    ends: float = 1.0
    every: int = 1

    def active(self, step: int, steps: int) -> bool:
        """Whether the phase trains at ``step`` (from 0) of ``steps``."""
        return self.starts * steps <= step < self.ends * steps and step % self.every == 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Healthy images to learn from.

    ``images`` (n, 1, i, j[, k]) in prepared intensity units, 0 outside the brain; ``masks`` of the same shape, 1 in the
    brain. Both lie on the training's device. All chance comes from ``generator`` (on the CPU), whose state depends on
    the seed and the step alone, so that a resumed training repeats itself. ``progress`` in [0, 1) is the part of the
    training that is done.
    """

    images: Tensor
    masks: Tensor
    generator: torch.Generator
    progress: float = 0.0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal noise on the images' device."""
        return normal(shape, self.generator, self.images)

    def uniform(self, *shape: int) -> Tensor:
        """Noise from U(0, 1) on the images' device."""
        import torch

        return torch.rand(shape, generator=self.generator).to(self.images.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers from ``low`` to ``high`` - 1 on the images' device."""
        import torch

        return torch.randint(low, high, shape, generator=self.generator).to(self.images.device)


@dataclass(frozen=True, eq=False)
class Restored:
    """What a network makes of images (n, 1, i, j[, k]).

    ``pseudo_healthy`` and ``uncertainty`` (standard deviation over passes) are in prepared intensity units; ``raw`` is
    the family's own anomaly score before calibration, at least 0, the absolute residual where None. ``scan_scores``
    hold one value for each image (n,), higher for less healthy, and are averaged over a volume's slices; ``latent``
    (n, d) likewise.
    """

    pseudo_healthy: Tensor
    raw: Tensor | None = None
    uncertainty: Tensor | None = None
    scan_scores: dict[str, Tensor] = field(default_factory=dict)
    latent: Tensor | None = None


@dataclass(frozen=True)
class Preset:
    """A ready choice of settings: configuration, number of steps and batch size, and how the trainer regularizes.

    ``average_decay`` of the running average of the weights that is exported (None: the last weights are),
    ``gradient_norm`` clips (None: does not), ``augments`` says whether healthy variation is added to the images.
    """

    config: Any
    steps: int
    batch: int
    average_decay: float | None = 0.999
    gradient_norm: float | None = 1.0
    augments: bool = True


class HealthyScan(Protocol):
    """A prepared healthy scan that is read when it is needed."""

    def image(self) -> FloatArray:
        """Prepared intensities on the recipe's grid (i, j, k), 0 outside the brain."""

    def mask(self) -> MaskArray:
        """The brain on the same grid."""


ConfigT = TypeVar("ConfigT")


def config_from_json(kind: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """A configuration dataclass from a package's metadata. Raises PackageError for entries that do not fit.

    Lists become tuples, and every value must have the type of the entry's default (int also where it is a float).
    """
    defaults = kind()
    known = {entry.name: getattr(defaults, entry.name) for entry in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known or not _fits(value, known[name]):
            raise PackageError(f"The package's configuration has an entry '{name}' that does not fit.", _AGAIN)
    return kind(**{name: _frozen(value) for name, value in values.items()})


def masked_mean(values: Tensor, masks: Tensor) -> Tensor:
    """Mean of ``values`` over the brain voxels of a batch."""
    return (values * masks).sum() / masks.expand_as(values).sum().clamp(min=1.0)


def mean_per_image(values: Tensor, masks: Tensor) -> Tensor:
    """Mean over the brain of each image, shape (n,)."""
    axes = tuple(range(1, values.ndim))
    return (values * masks).sum(axes) / masks.sum(axes).clamp(min=1.0)


def normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal noise drawn on the CPU and moved to the device and type of ``like``."""
    import torch

    return torch.randn(shape, generator=generator).to(like)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_fits(part, default[0]) for part in value if default)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if default is None or value is None:
        return value is None or isinstance(value, int | float)
    return isinstance(value, int | float) if isinstance(default, float) else isinstance(value, type(default))
