"""Parts of adversarial families: residual networks, critics with features, gradient penalty, modules held still.

The residual layout follows Schlegl et al. 2019 (f-AnoGAN) and Chen & Konukoglu 2018, who both take it from the WGAN-GP
literature (Gulrajani et al. 2017): blocks of norm, rectifier, 3 x 3 convolution, twice, that halve or double the sides.
Images are (n, 1, i, j) in prepared intensity units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from .variational_networks import StridedDecoder, StridedEncoder, StridedLayout, VariationalAutoencoder

Resampling = Literal["down", "up", "same"]


@dataclass(frozen=True)
class ResidualLayout:
    """Sizes of a residual encoder or decoder.

    ``size`` (i, j) of the image; ``stem`` channels at full resolution; ``channels`` of the blocks from the image
    inwards, each halving the sides; ``inner_blocks`` more keep them. ``norm`` is ``batch``, or ``layer`` over channels
    and space together. Images are averaged over ``coarseness`` x ``coarseness`` voxels on the way in, and
    interpolated on the way out.
    """

    size: tuple[int, ...]
    stem: int
    channels: tuple[int, ...]
    norm: Literal["batch", "layer"] = "batch"
    inner_blocks: int = 0
    coarseness: int = 1

    @property
    def inner_shape(self) -> tuple[int, ...]:
        """Channels and sides of the deepest features."""
        return (self.channels[-1], *(side // self.coarseness // 2 ** len(self.channels) for side in self.size))

    def inner(self) -> Iterator[nn.Module]:
        """The blocks at the deepest level that change no size."""
        last = self.channels[-1]
        return (ResidualBlock(last, last, self.norm, "same") for _ in range(self.inner_blocks))


class ResidualBlock(nn.Module):
    """Two pre-activated 3 x 3 convolutions beside a 1 x 1 shortcut; ``down`` averages 2 x 2, ``up`` repeats voxels."""

    def __init__(self, first: int, last: int, norm: str, resampling: Resampling) -> None:
        super().__init__()
        middle = last if resampling == "up" else first
        self.before, self.convolve = _norm(first, norm), nn.Conv2d(first, middle, 3, padding=1, bias=False)
        self.between, self.convolve_again = _norm(middle, norm), nn.Conv2d(middle, last, 3, padding=1)
        plain = resampling == "same" and first == last
        self.shortcut = nn.Identity() if plain else nn.Conv2d(first, last, 1)
        self.resampling = resampling

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, last, i', j')."""
        up, down = self.resampling == "up", self.resampling == "down"
        changed = functional.relu(self.before(features))
        changed = self.convolve(_doubled(changed) if up else changed)
        changed = self.convolve_again(functional.relu(self.between(changed)))
        short = self.shortcut(features)
        if down:
            halved: Tensor = functional.avg_pool2d(changed + short, 2)
            return halved
        total: Tensor = changed + (_doubled(short) if up else short)
        return total


class ResidualEncoder(nn.Module):
    """Image (n, 1, i, j) to ``outputs`` numbers (n, outputs); as a critic, with ``outputs`` 1 and layer norm."""

    def __init__(self, layout: ResidualLayout, outputs: int) -> None:
        super().__init__()
        pairs = zip((layout.stem, *layout.channels), layout.channels, strict=False)
        blocks = (ResidualBlock(first, last, layout.norm, "down") for first, last in pairs)
        entry = nn.AvgPool2d(layout.coarseness), nn.Conv2d(1, layout.stem, 3, padding=1)
        self.features = nn.Sequential(*entry, *blocks, *layout.inner(), nn.Flatten())
        self.dense = nn.Linear(prod(layout.inner_shape), outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Float32 whatever the features were computed in."""
        numbers: Tensor = self.dense(self.features(images))
        return numbers.float()


class ResidualDecoder(nn.Module):
    """Code (n, latent) to image (n, 1, i, j), without a final activation: prepared intensities have no upper bound."""

    def __init__(self, layout: ResidualLayout, latent: int) -> None:
        super().__init__()
        self.shape = layout.inner_shape
        self.dense = nn.Linear(latent, prod(self.shape))
        outputs = (*reversed(layout.channels[:-1]), layout.stem)
        pairs = zip((layout.channels[-1], *outputs), outputs, strict=False)
        blocks = (ResidualBlock(first, last, layout.norm, "up") for first, last in pairs)
        self.blocks = nn.Sequential(*layout.inner(), *blocks)
        self.image = nn.Sequential(_norm(layout.stem, layout.norm), nn.ReLU(), nn.Conv2d(layout.stem, 1, 3, padding=1))
        self.coarseness = layout.coarseness

    def forward(self, codes: Tensor) -> Tensor:
        """Float32 whatever the features were computed in."""
        image: Tensor = self.image(self.blocks(self.dense(codes).unflatten(1, self.shape))).float()
        if self.coarseness == 1:
            return image
        fine: Tensor = functional.interpolate(image, scale_factor=float(self.coarseness), mode="bilinear")
        return fine


class VariationalGAN(VariationalAutoencoder):
    """Variational autoencoder with a patch discriminator (AnoVAEGAN, Baur et al. 2018), one number for each patch."""

    def __init__(self, layout: StridedLayout, latent: int, channels: int, layers: int) -> None:
        super().__init__(layout, latent)
        self.discriminator = PatchDiscriminator(
            spatial_dims=2, channels=channels, in_channels=1, num_layers_d=layers, norm="INSTANCE"
        )

    def judge(self, images: Tensor) -> Tensor:
        """The discriminator's numbers (n, 1, i', j'), trained to be 1 for real and 0 for reconstructed patches."""
        patches: Tensor = self.discriminator(images)[-1]
        return patches.float()


class LatentAutoencoder(nn.Module):
    """Residual encoder and decoder with a critic of codes: dense layers of 400 and 200 (Chen & Konukoglu 2018)."""

    def __init__(self, layout: ResidualLayout, latent: int, critic_widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = ResidualEncoder(layout, latent), ResidualDecoder(layout, latent)
        self.critic = dense_critic(latent, critic_widths)


class ImageGAN(nn.Module):
    """Generator, critic and the encoder that is trained afterwards (f-AnoGAN, Schlegl et al. 2019)."""

    def __init__(
        self, size: tuple[int, ...], stem: int, channels: tuple[int, ...], latent: int, coarseness: int = 1
    ) -> None:
        super().__init__()
        layout = ResidualLayout(size, stem, channels, coarseness=coarseness)
        self.generator = ResidualDecoder(layout, latent)
        self.critic = ResidualEncoder(replace(layout, norm="layer"), 1)
        self.encoder = ResidualEncoder(layout, latent)


class TwiceEncoder(nn.Module):
    """Encoder, decoder, second encoder and discriminator with features (GANomaly, Akcay et al. 2018)."""

    def __init__(self, layout: StridedLayout, latent: int) -> None:
        super().__init__()
        self.encoder, self.second_encoder = StridedEncoder(layout, latent), StridedEncoder(layout, latent)
        self.decoder = StridedDecoder(layout, latent)
        self.discriminator = StridedEncoder(layout, 1)


def dense_critic(inputs: int, widths: tuple[int, ...], slope: float = 0.2) -> nn.Sequential:
    """Codes (n, inputs) to one number (n, 1) through leaky dense layers."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(slope)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def critic_loss(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor, penalty: float
) -> dict[str, Tensor]:
    """WGAN-GP: mean D(fake) - mean D(real) + ``penalty`` * gradient penalty (Gulrajani et al. 2017, equation 3).

    ``fake`` is cut from what made it. ``mix`` in [0, 1) has one number for each image (n, 1, ...).
    """
    fake = fake.detach()
    wasserstein = critic(real).float().mean() - critic(fake).float().mean()
    steepness = gradient_penalty(critic, real, fake, mix)
    return {"loss": penalty * steepness - wasserstein, "wasserstein": wasserstein, "gradient_penalty": steepness}


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Mean of (norm of dD/dx - 1)^2 at real + mix * (fake - real), in float32 also where autocast is on."""
    with torch.autocast(real.device.type, enabled=False):
        real, fake = real.detach().float(), fake.detach().float()
        between = (real + mix * (fake - real)).requires_grad_(True)
        (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        norms = torch.sqrt(slopes.flatten(1).square().sum(1) + 1e-12)
    return (norms - 1.0).square().mean()


@contextmanager
def held_still(*modules: nn.Module) -> Iterator[None]:
    """Modules that gradients pass through but that do not learn: in evaluation mode, parameters without gradient."""
    parameters = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    modes = [(module, module.training) for module in modules]
    for module in modules:
        module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.train(training)
        for parameter, required in parameters:
            parameter.requires_grad_(required)


def _norm(channels: int, kind: str) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


def _doubled(features: Tensor) -> Tensor:
    doubled: Tensor = functional.interpolate(features, scale_factor=2.0, mode="nearest")
    return doubled
