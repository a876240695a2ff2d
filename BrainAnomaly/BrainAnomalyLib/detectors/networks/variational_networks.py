"""Variational autoencoders of axial slices: strided encoder and decoder, normal and mixture priors.

The layout is that of the comparative study of Baur et al. 2021 ('Autoencoders for unsupervised anomaly segmentation in
brain MR images: a comparative study'): strided convolutions down to 8 x 8, a 1 x 1 convolution that squeezes the
channels, dense layers to and from the latent code, strided transposed convolutions back. Images are (n, 1, i, j) in
prepared intensity units; the sides must be multiples of 2 to the number of layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from ..learning import normal

_LARGEST_LOG = 8.0


@dataclass(frozen=True)
class StridedLayout:
    """Sizes of a strided encoder or decoder.

    ``size`` (i, j) of the image; ``channels`` of the layers from the image inwards, each halving the sides; ``squeeze``
    channels of the 1 x 1 convolution before the dense layer (0: none). ``norm`` is MONAI's name, "" for none.
    """

    size: tuple[int, ...]
    channels: tuple[int, ...]
    kernel: int = 5
    norm: str = "BATCH"
    squeeze: int = 16
    slope: float = 0.3

    @property
    def inner_size(self) -> tuple[int, ...]:
        """Sides of the deepest features."""
        return tuple(side // 2 ** len(self.channels) for side in self.size)

    @property
    def flat_features(self) -> int:
        """Number of values that the dense layer sees."""
        return (self.squeeze or self.channels[-1]) * prod(self.inner_size)

    def layers(self, first: int, channels: tuple[int, ...], transposed: bool = False) -> Iterator[nn.Module]:
        """Convolutions of stride 2, with norm and leaky rectification, that exactly halve (or double) the sides."""
        for number in channels:
            yield Convolution(
                2,
                first,
                number,
                strides=2,
                kernel_size=self.kernel,
                act=("LEAKYRELU", {"negative_slope": self.slope}),
                norm=self.norm or None,
                padding=(self.kernel - 1) // 2,
                is_transposed=transposed,
                output_padding=self.kernel % 2 if transposed else None,
            )
            first = number


class StridedEncoder(nn.Module):
    """Image (n, 1, i, j) to ``outputs`` numbers (n, outputs)."""

    def __init__(self, layout: StridedLayout, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layout.layers(1, layout.channels))
        last = layout.channels[-1]
        self.squeeze = nn.Conv2d(last, layout.squeeze, 1) if layout.squeeze else nn.Identity()
        self.dense = nn.Linear(layout.flat_features, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Float32 whatever the features were computed in."""
        numbers: Tensor = self.dense(self.squeeze(self.features(images)).flatten(1))
        return numbers.float()


class StridedDecoder(nn.Module):
    """Code (n, latent) to image (n, 1, i, j), without a final activation: prepared intensities have no upper bound."""

    def __init__(self, layout: StridedLayout, latent: int) -> None:
        super().__init__()
        last = layout.channels[-1]
        outputs = (*reversed(layout.channels[:-1]), layout.channels[0])
        self.shape = (layout.squeeze or last, *layout.inner_size)
        self.dense = nn.Linear(latent, layout.flat_features)
        self.expand = nn.Conv2d(layout.squeeze, last, 1) if layout.squeeze else nn.Identity()
        norm = nn.BatchNorm2d(last) if layout.norm == "BATCH" else nn.Identity()
        self.layers = nn.Sequential(norm, nn.ReLU(), *layout.layers(last, outputs, transposed=True))
        self.image = nn.Conv2d(outputs[-1], 1, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Float32 whatever the features were computed in."""
        features = self.expand(self.dense(codes).unflatten(1, self.shape))
        image: Tensor = self.image(self.layers(features))
        return image.float()


@dataclass(frozen=True, eq=False)
class Coded:
    """What a variational autoencoder makes of images: reconstruction, mean code (n, latent), divergence (n,) in nats.

    The divergence is that of the posterior from the prior, ``parts`` what it is the sum of.
    """

    image: Tensor
    mean: Tensor
    divergence: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class VariationalAutoencoder(nn.Module):
    """Normal posterior and standard normal prior (Kingma & Welling)."""

    def __init__(self, layout: StridedLayout, latent: int) -> None:
        super().__init__()
        self.encoder = StridedEncoder(layout, 2 * latent)
        self.decoder = StridedDecoder(layout, latent)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Coded:
        """The reconstruction from a code drawn with ``generator``, from the mean code without one."""
        mean, log_deviation = _normal_parameters(self.encoder(images))
        divergence = standard_divergence(mean, log_deviation)
        return Coded(self.decoder(drawn(mean, log_deviation, generator)), mean, divergence)


class MixtureAutoencoder(nn.Module):
    """Gaussian mixture prior whose components depend on a second latent w (You et al. 2019, after Dilokthanakul).

    p(w) is standard normal, p(c) uniform over the components, p(z | w, c) normal with mean and variance linear in w.
    The divergence is E_c KL(q(z|x) || p(z|w,c)) + KL(q(w|x) || p(w)) + max(KL(p(c|z,w) || p(c)), ``component_floor``).
    """

    def __init__(
        self, layout: StridedLayout, latent: int, components: int, prior_latent: int = 1, component_floor: float = 1.0
    ) -> None:
        super().__init__()
        self.sizes = (2 * latent, 2 * prior_latent)
        self.components, self.component_floor = components, component_floor
        self.encoder = StridedEncoder(layout, sum(self.sizes))
        self.prior = nn.Linear(prior_latent, 2 * components * latent)
        self.decoder = StridedDecoder(layout, latent)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Coded:
        """The reconstruction from codes drawn with ``generator``, from the mean codes without one."""
        (mean, log_deviation), (prior_mean, prior_log) = map(
            _normal_parameters, self.encoder(images).split(self.sizes, dim=1)
        )
        code, prior_code = (drawn(m, s, generator) for m, s in ((mean, log_deviation), (prior_mean, prior_log)))
        means, logs = _normal_parameters(self.prior(prior_code).float().unflatten(1, (self.components, -1)))
        parts = mixture_divergence(code, mean, log_deviation, means, logs, self.component_floor)
        parts["prior_code"] = standard_divergence(prior_mean, prior_log)
        return Coded(self.decoder(code), mean, torch.stack(tuple(parts.values())).sum(0), parts)


def standard_divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """KL of normal distributions from the standard one in nats, (n,): sum of (m^2 + s^2 - log s^2 - 1) / 2."""
    terms = mean**2 + torch.exp(2.0 * log_deviation) - 2.0 * log_deviation - 1.0
    return 0.5 * terms.sum(-1)


def mixture_divergence(
    code: Tensor, mean: Tensor, log_deviation: Tensor, means: Tensor, logs: Tensor, floor: float
) -> dict[str, Tensor]:
    """Divergence from a mixture's components and of the component, each (n,), in nats.

    ``code``, ``mean``, ``log_deviation`` are (n, latent); the components' ``means`` and log standard deviations
    ``logs`` (n, components, latent).
    """
    shares = torch.softmax(_log_density(code[:, None], means, logs), dim=1)
    shift, scale = (mean[:, None] - means) * torch.exp(-logs), log_deviation[:, None] - logs
    conditional = standard_divergence(shift, scale)
    component = (shares * torch.log(shares * shares.shape[1] + 1e-8)).sum(1)
    return {"code": (shares * conditional).sum(1), "component": component.clamp(min=floor)}


def drawn(mean: Tensor, log_deviation: Tensor, generator: torch.Generator | None) -> Tensor:
    """A sample of normal distributions; their mean without a generator."""
    if generator is None:
        return mean
    return mean + torch.exp(log_deviation) * normal(tuple(mean.shape), generator, mean)


def _normal_parameters(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation (kept where its exponential is finite) from the last axis's two halves."""
    mean, log_deviation = values.chunk(2, dim=-1)
    return mean, log_deviation.clamp(-_LARGEST_LOG, _LARGEST_LOG)


def _log_density(code: Tensor, means: Tensor, logs: Tensor) -> Tensor:
    """Log density of independent normal variables up to a constant, summed over the last axis."""
    return (-0.5 * ((code - means) * torch.exp(-logs)) ** 2 - logs).sum(-1)
