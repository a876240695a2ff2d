"""The diffusion families: schedules and noise against hand computation, restoration by oracles, and their proofs."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load, save

from BrainAnomalyLib.detectors.families.diffusion import diffusion
from BrainAnomalyLib.detectors.families.diffusion.conditioned_diffusion import (
    ConditionedDiffusionConfig,
    ConditionedDiffusionDetector,
)
from BrainAnomalyLib.detectors.families.diffusion.diffusion_noise import (
    OCTAVE_VARIANCE,
    noise_like,
    simplex_noise,
    simplex_octave,
)
from BrainAnomalyLib.detectors.families.diffusion.latent_diffusion import (
    LatentDiffusionConfig,
    LatentDiffusionDetector,
)
from BrainAnomalyLib.detectors.families.diffusion.patched_diffusion import (
    PatchedDiffusionConfig,
    PatchedDiffusionDetector,
    patch_grid,
    random_patches,
)
from BrainAnomalyLib.detectors.families.diffusion.simplex_diffusion import (
    SimplexDiffusionConfig,
    SimplexDiffusionDetector,
)
from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.networks.latent_networks import divergence
from BrainAnomalyLib.errors import DependencyError, PackageError
from family_proof import Limits, try_out

FAMILIES = (
    SimplexDiffusionDetector,
    ConditionedDiffusionDetector,
    PatchedDiffusionDetector,
    LatentDiffusionDetector,
)
family = pytest.mark.parametrize("kind", FAMILIES, ids=lambda kind: kind.name)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slices(count: int, size: tuple[int, int], seed: int = 1) -> torch.Tensor:
    return torch.rand((count, 1, *size), generator=chance(seed))


def linear_signal(level: int) -> float:
    return float(np.prod(1.0 - np.linspace(1e-4, 0.02, 1000)[:level]))


@pytest.mark.parametrize("level", [0, 1, 2, 250, 500, 1000])
def test_the_linear_schedule_leaves_the_signal_of_ho_et_al(level):
    assert diffusion.signal(SimplexDiffusionConfig(), level) == pytest.approx(linear_signal(level), rel=1e-3)


def test_the_cosine_schedule_is_that_of_nichol_and_dhariwal():
    config = ConditionedDiffusionConfig(schedule="cosine")
    expected = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert diffusion.signal(config, 500) == pytest.approx(expected, rel=0.02)


def test_the_forward_process_is_equation_4():
    clean, noise = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), -2.0)
    noisy = diffusion.diffuse(SimplexDiffusionConfig(), clean, noise, torch.tensor([1, 500]))
    for image, level in zip(noisy, (1, 500), strict=True):
        left = linear_signal(level)
        expected = math.sqrt(left) * 0.5 - math.sqrt(1.0 - left) * 2.0
        assert image.flatten().tolist() == pytest.approx([expected] * 16, rel=1e-3)


def test_the_noise_gives_the_clean_image_back():
    config, clean, noise = SimplexDiffusionConfig(), slices(2, (8, 8)), slices(2, (8, 8), 2)
    noisy = diffusion.diffuse_to(config, clean, noise, 250)
    assert torch.allclose(diffusion.clean_estimate(config, noisy, noise, 250), clean, atol=1e-5)


def test_a_deterministic_step_is_that_of_ddim():
    config, noisy, noise = SimplexDiffusionConfig(), slices(1, (8, 8)), slices(1, (8, 8), 2)
    reference = DDIMScheduler(num_train_timesteps=1000, clip_sample=False)
    reference.set_timesteps(20)
    expected, _ = reference.step(noise, 249, noisy)
    assert torch.allclose(diffusion.reverse_step(config, noisy, noise, 250, 200, 0.0, None), expected, atol=1e-5)


def test_a_stochastic_step_is_that_of_ddpm():
    config, noisy, noise = SimplexDiffusionConfig(), slices(1, (8, 8)), slices(1, (8, 8), 2)
    reference = DDPMScheduler(num_train_timesteps=1000, clip_sample=False)
    expected, _ = reference.step(noise, 249, noisy, generator=chance(5))
    fresh = torch.randn(noisy.shape, generator=chance(5))
    assert torch.allclose(diffusion.reverse_step(config, noisy, noise, 250, 249, 1.0, fresh), expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 250])
def test_a_chain_with_the_true_noise_returns_to_the_clean_image(steps):
    config = replace(SimplexDiffusionConfig(), steps=steps, stochasticity=0.0)
    clean = slices(2, (16, 16))

    def predict(noisy: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        left = linear_signal(int(entries[0]) + 1)
        return (noisy - math.sqrt(left) * clean) / math.sqrt(1.0 - left)

    assert torch.allclose(diffusion.reverse_chain(config, predict, clean, chance()), clean, atol=1e-3)


def test_the_chain_goes_down_in_equal_strides():
    assert diffusion.chain_levels(250, 5) == [250, 200, 150, 100, 50, 0]
    assert diffusion.chain_levels(250, 250) == list(range(250, -1, -1))


def test_simplex_noise_has_zero_mean_and_unit_variance_at_every_pixel():
    draws = torch.cat([simplex_noise((24, 20), 40, chance(seed)) for seed in range(60)])
    assert abs(float(draws.mean())) < 0.05
    assert float(draws.std()) == pytest.approx(1.0, abs=0.05)
    assert float((draws.std(0) - 1.0).abs().max()) < 0.15


def test_an_octave_is_smooth_below_its_wavelength_and_independent_beyond():
    draws = torch.cat([simplex_octave((40, 8), 40, chance(seed), 8.0) for seed in range(60)])

    def correlation(distance: int) -> float:
        return float((draws[:, distance:] * draws[:, : 40 - distance]).mean())

    assert correlation(1) > 0.8
    assert correlation(1) > correlation(2) > correlation(4)
    assert abs(correlation(16)) < 0.05


def test_the_variance_of_an_octave_is_that_of_its_kernel():
    """Numerical integration over one triangle corner's reach, times the density of corners."""
    radius = (np.arange(20_000) + 0.5) / 20_000 * math.sqrt(0.5)
    kernel = (0.5 - radius**2) ** 8 * radius**2 / 2.0
    integral = float((kernel * 2.0 * math.pi * radius).sum() * math.sqrt(0.5) / 20_000)
    assert pytest.approx(math.sqrt(3.0) * integral, rel=1e-4) == OCTAVE_VARIANCE


@pytest.mark.parametrize("kind", ["gaussian", "simplex", "pyramid"])
def test_noise_differs_between_images_and_repeats_with_the_seed(kind):
    images = torch.zeros((3, 2, 32, 32))
    first, again = (noise_like(images, kind, chance(3), 4, 0.8, 16.0) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == images.shape
    assert float((first[0] - first[1]).abs().mean()) > 0.3
    assert float((first[0, 0] - first[0, 1]).abs().mean()) > 0.3


def test_published_constants():
    simplex, conditioned, patched = (kind.presets["paper"].config for kind in FAMILIES[:3])
    for config in (simplex, conditioned, patched):
        assert (config.levels, config.schedule, config.learning_rate) == (1000, "linear_beta", 1e-4)
        assert (config.noise, config.octaves, config.persistence, config.frequency) == ("simplex", 6, 0.8, 64.0)
    assert (simplex.crop, simplex.start) == ((256, 256), 250)
    assert (conditioned.crop, conditioned.test_levels, conditioned.description) == ((96, 96), (250, 500, 750), 128)
    assert (patched.crop, patched.patch, patched.test_level) == ((96, 96), 48, 500)


@family
def test_paper_networks_can_be_built(kind):
    config = kind.presets["paper"].config
    kind.check(config)
    with torch.device("meta"):
        network = kind.build(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[kind.name]


PARAMETERS = {
    "simplex_diffusion": 118_926_849,
    "conditioned_diffusion": 55_946_177,
    "patched_diffusion": 32_112_257,
    "latent_diffusion": 30_291_589,
}


def test_the_published_grid_has_four_patches():
    assert len(patch_grid((96, 96), 48)) == 4


@pytest.mark.parametrize(("size", "patch"), [((96, 96), 48), ((96, 112), 48), ((10, 7), 3)])
def test_patches_cover_each_pixel_once(size, patch):
    covered = np.zeros(size, dtype=int)
    for box in patch_grid(size, patch):
        covered[box] += 1
    assert (covered == 1).all()


def test_a_random_patch_is_one_box_of_the_grid():
    inside = random_patches(torch.zeros((20, 1, 96, 96)), 48, chance())
    assert inside.sum((1, 2, 3)).tolist() == [48.0 * 48.0] * 20
    assert len({tuple(image[0].nonzero()[0].tolist()) for image in inside}) == 4


class PatchOracle:
    """Adds 1 to what it sees and counts how many pixels are not as in the clean slices."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.clean, self.noised = clean, []

    def __call__(self, noisy: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        assert entries.tolist() == [499] * len(noisy)
        self.noised.append((noisy != self.clean).float().mean(0)[0])
        return self.clean + 1.0


def test_every_patch_is_restored_with_clean_surroundings():
    config, images = PatchedDiffusionConfig(), slices(2, (96, 96))
    oracle = PatchOracle(2.0 * images - 1.0)
    restored = PatchedDiffusionDetector.restore(oracle, config, images, torch.ones_like(images), chance())
    assert torch.allclose(restored.pseudo_healthy, images + 0.5, atol=1e-6)
    assert [float(noised.sum()) for noised in oracle.noised] == pytest.approx([48.0 * 48.0] * 4, rel=0.01)
    assert float(sum(oracle.noised).max()) == 1.0


class DescriptionOracle:
    """Describes slices by themselves and answers with the description, plus the noise level's rank."""

    def describe(self, clean: torch.Tensor) -> torch.Tensor:
        return clean.flatten(1)

    def __call__(self, noisy: torch.Tensor, entries: torch.Tensor, description: torch.Tensor) -> torch.Tensor:
        return description.reshape(noisy.shape) + 2.0 * (entries[0] + 1) / 250


def test_one_step_estimates_are_averaged_over_the_levels():
    config, images = ConditionedDiffusionConfig(), slices(2, (16, 16))
    restored = ConditionedDiffusionDetector.restore(
        DescriptionOracle(), config, images, torch.ones_like(images), chance()
    )
    assert torch.allclose(restored.pseudo_healthy, images + 2.0, atol=1e-5)
    assert restored.uncertainty.flatten().tolist() == pytest.approx([math.sqrt(2.0 / 3.0)] * 512, rel=1e-4)
    assert restored.latent.shape == (2, 256)


def test_the_description_reaches_the_estimate():
    config = ConditionedDiffusionDetector.presets["small"].config
    network = ConditionedDiffusionDetector.build(config).eval()
    for parameter in network.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=chance())
    noisy, entries = slices(1, config.crop), torch.tensor([499])
    dark, bright = (network(noisy, entries, torch.full((1, config.description), value)) for value in (-3.0, 3.0))
    assert (dark - bright).abs().mean().item() > 1e-3


def test_losses_of_a_perfect_and_a_silent_network():
    images = slices(2, (96, 112))
    batch = Batch(images, torch.ones_like(images), chance())
    config = SimplexDiffusionDetector.presets["small"].config
    silent = SimplexDiffusionDetector.training_step(lambda noisy, _: torch.zeros_like(noisy), config, "denoise", batch)
    noise = diffusion.draw_noise(config, images, chance())
    assert float(silent["loss"]) == pytest.approx(float(noise.square().mean()), rel=1e-5)
    patched = PatchedDiffusionDetector.presets["small"].config
    perfect = PatchedDiffusionDetector.training_step(lambda *_: 2.0 * images - 1.0, patched, "denoise", batch)
    assert float(perfect["loss"]) == 0.0


def test_latents_are_scaled_by_their_measured_deviation_once():
    network = LatentDiffusionDetector.build(LatentDiffusionDetector.presets["small"].config).eval()
    first, second = slices(3, (96, 112)), 3.0 * slices(3, (96, 112), 2)
    with torch.no_grad():
        latents = network.autoencoder.encode(first)[0]
        network.measure(first)
        network.measure(second)
        assert float(network.scale) == pytest.approx(1.0 / float(latents.std()), rel=1e-5)
        assert float(network.latents(first).std()) == pytest.approx(1.0, rel=1e-4)
        assert torch.allclose(network.decode(network.latents(first)), network(first)[0], atol=1e-4)


def test_the_divergence_is_that_of_normal_distributions():
    mean, deviation = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    assert float(divergence(mean, deviation)) == pytest.approx(0.5 * (1.0 + 4.0 - math.log(4.0) - 1.0))


@pytest.mark.parametrize(
    "config",
    [
        SimplexDiffusionConfig(crop=(250, 256)),
        SimplexDiffusionConfig(noise="loud"),
        SimplexDiffusionConfig(start=10, steps=11),
        SimplexDiffusionConfig(grid="nowhere"),
        SimplexDiffusionConfig(attention=(False,)),
    ],
    ids=["crop", "noise", "chain", "grid", "attention"],
)
def test_impossible_configurations_are_refused(config):
    with pytest.raises(PackageError):
        SimplexDiffusionDetector.check(config)


def test_impossible_levels_and_patches_are_refused():
    for kind, config in (
        (ConditionedDiffusionDetector, ConditionedDiffusionConfig(test_levels=(0,))),
        (PatchedDiffusionDetector, PatchedDiffusionConfig(patch=0)),
        (LatentDiffusionDetector, LatentDiffusionConfig(crop=(40, 40))),
    ):
        with pytest.raises(PackageError):
            kind.check(config)


@family
@pytest.mark.parametrize("preset", ["paper", "small"])
def test_settings_survive_a_package(kind, preset):
    config = kind.presets[preset].config
    assert kind.config_from_json(json.loads(json.dumps(asdict(config)))) == config


@family
def test_weights_survive_a_package(kind):
    config = kind.presets["small"].config
    network, other = kind.build(config), kind.build(config)
    other.load_state_dict(load(save(network.state_dict())))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


@family
def test_a_missing_einops_is_named(kind, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="einops"):
        kind.build(kind.presets["small"].config)


# Settings that learn in seconds, and limits (see Limits). The noise is no higher than so short a training can undo. The
# rise of the conditioned diffusion at a dark lesion is chance after so few steps: 0.8 to 3.7 over six seeds.
_SHALLOW = {"channels": (16, 32), "attention": (False, False)}
TRIALS = [
    (SimplexDiffusionDetector, 200, {}, Limits(1.0, 0.6, 0.5, 1.2, 2.0)),
    (
        ConditionedDiffusionDetector,
        200,
        {**_SHALLOW, "test_levels": (150, 250, 350), "highest_trained": 400},
        Limits(1.1, 0.7, 0.4, None, 1.8),
    ),
    (
        PatchedDiffusionDetector,
        200,
        {**_SHALLOW, "test_level": 250, "highest_trained": 250},
        Limits(1.1, 0.7, 0.4, 1.2, 1.8),
    ),
    (LatentDiffusionDetector, 300, {}, Limits(1.5, 0.95, 0.6, None, None)),
]


@pytest.mark.parametrize(("kind", "steps", "changes", "limits"), TRIALS, ids=[kind.name for kind, *_ in TRIALS])
def test_a_short_training_restores_unseen_brains_and_leaves_lesions_out(kind, steps, changes, limits):
    assert not limits.broken(try_out(kind, steps, **changes))
