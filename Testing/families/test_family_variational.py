"""Variational autoencoders: closed forms, scores against numbers made by hand, and a short training on real scans."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from BrainAnomalyLib.detectors.families.variational.context_autoencoder import (
    ContextAutoencoderDetector,
    ContextConfig,
    context_mask,
)
from BrainAnomalyLib.detectors.families.variational.mixture_autoencoder import (
    MixtureAutoencoderDetector,
    MixtureConfig,
)
from BrainAnomalyLib.detectors.families.variational.variational import (
    VariationalConfig,
    VariationalDetector,
    distances,
)
from BrainAnomalyLib.detectors.families.variational.variational_autoencoder import VariationalAutoencoderDetector
from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.networks.variational_networks import drawn, mixture_divergence, standard_divergence
from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.io.geometry import MaskArray
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.gradients import combined_score, gradient_score, input_gradient, smoothed
from BrainAnomalyLib.scoring.restoration import least_changing_weight, restored, total_variation
from family_proof import Limits, Proof, made_brains, raw_map, try_out, with_blob

FAMILIES = (VariationalAutoencoderDetector, ContextAutoencoderDetector, MixtureAutoencoderDetector)
family = pytest.mark.parametrize("detector_class", FAMILIES, ids=lambda kind: kind.name)
TINY = {"crop": (16, 24), "channels": (4, 8), "squeeze": 2, "latent": 3, "kernel": 3, "restoration_steps": 4}
CONFIGS = {
    "variational_autoencoder": VariationalConfig(**TINY),
    "context_autoencoder": ContextConfig(**TINY, patch=6),
    "mixture_autoencoder": MixtureConfig(**TINY, components=3),
}


def _batch(count: int = 3, size: tuple[int, int] = (16, 24)) -> Batch:
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(count, 1, *size)
    masks[..., 3:-3, 4:-4] = 1.0
    return Batch(torch.rand(masks.shape, generator=generator) * masks, masks, generator)


def _network(detector_class: type[VariationalDetector]) -> torch.nn.Module:
    torch.manual_seed(3)
    return detector_class.build(CONFIGS[detector_class.name]).eval()


@family
def test_paper_networks_have_the_stated_size_and_see_128_by_128(detector_class):
    config = detector_class.presets["paper"].config
    assert config.crop == (128, 128)
    assert config.latent == 128
    with torch.device("meta"):
        network = detector_class.build(config)
        coded = network(torch.zeros(2, 1, 128, 128))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f"{count:,} parameters" in detector_class.__doc__
    assert coded.image.shape == (2, 1, 128, 128)
    assert coded.mean.shape == (2, 128)
    assert coded.divergence.shape == (2,)


def test_standard_divergence_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    mean, log_deviation = torch.randn(5, 7, generator=generator), torch.randn(5, 7, generator=generator)
    expected = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(standard_divergence(mean, log_deviation), expected)


def test_mixture_divergence_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    code, mean, log_deviation = torch.randn(3, 4, 6, generator=generator)
    means, logs = torch.randn(2, 4, 5, 6, generator=generator)
    components, posterior = Normal(means, logs.exp()), Normal(mean[:, None], log_deviation.exp()[:, None])
    shares = Categorical(logits=components.log_prob(code[:, None]).sum(2))
    of_code = (shares.probs * kl_divergence(posterior, components).sum(2)).sum(1)
    of_component = kl_divergence(shares, Categorical(probs=torch.full((4, 5), 0.2)))
    parts = mixture_divergence(code, mean, log_deviation, means, logs, floor=0.0)
    torch.testing.assert_close(parts["code"], of_code, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts["component"], of_component, rtol=1e-4, atol=1e-4)
    floored = mixture_divergence(code, mean, log_deviation, means, logs, floor=9.0)
    assert floored["component"].tolist() == [9.0] * 4


def test_codes_are_drawn_from_the_generator_alone():
    mean, log_deviation = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), -1.0)
    torch.manual_seed(1)
    first = drawn(mean, log_deviation, torch.Generator().manual_seed(5))
    torch.manual_seed(2)
    second = drawn(mean, log_deviation, torch.Generator().manual_seed(5))
    assert torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(first.std()) == pytest.approx(np.exp(-1.0), abs=0.02)
    assert drawn(mean, log_deviation, None) is mean


@family
def test_the_loss_is_distance_plus_divergence(detector_class):
    config, network = replace(CONFIGS[detector_class.name], kl_weight=2.0), _network(detector_class)
    losses = detector_class.training_step(network, config, "autoencode", _batch())
    expected = losses["distance"] + 2.0 * losses["kl"] + losses.get("context", torch.tensor(0.0))
    torch.testing.assert_close(losses["loss"], expected)
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_distances_are_sums_over_each_image():
    images, other = torch.zeros(2, 1, 2, 2), torch.tensor([[[[1.0, -2.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 3.0]]]])
    assert distances(other, images, "l1").tolist() == [3.0, 3.0]
    assert distances(other, images, "l2").tolist() == [5.0, 9.0]


def test_context_squares_lie_in_the_brain_and_have_their_size():
    batch = _batch(40)
    cut = context_mask(batch, patch=6, patches=3) == 0
    assert not cut[..., :3, :].any()
    assert not cut[..., -3:, :].any()
    assert not cut[..., :4].any()
    assert not cut[..., -4:].any()
    counts = cut.flatten(1).sum(1)
    assert int(counts.min()) == 36
    assert int(counts.max()) > 36
    assert int(counts.max()) <= 108


def test_total_variation_of_a_step():
    image = torch.zeros(1, 1, 3, 4)
    image[..., 1, 1] = 2.0
    assert total_variation(image).tolist() == [8.0]
    assert total_variation(torch.ones(2, 1, 3, 4, 5)).tolist() == [0.0, 0.0]


def test_restoration_lowers_the_energy_at_every_step():
    images = _batch(2).images

    def energy(current: torch.Tensor) -> torch.Tensor:
        return 0.5 * (current - 0.4).square().flatten(1).sum(1)

    def total(steps: int) -> float:
        current = restored(images, torch.ones_like(images), energy, 1e-3, steps, weight=0.05)
        return float((energy(current) + 0.05 * total_variation(current - images)).sum())

    values = [total(steps) for steps in range(0, 60, 5)]
    assert all(later < earlier for earlier, later in pairwise(values))


def test_restoration_without_variation_is_the_closed_form_and_stays_in_the_mask():
    batch = _batch(2)
    current = restored(
        batch.images, batch.masks, lambda x: 0.5 * (x - 1.0).square().flatten(1).sum(1), 0.1, 10, weight=0.0
    )
    expected = 1.0 + (batch.images - 1.0) * 0.9**10
    torch.testing.assert_close(current, torch.where(batch.masks > 0, expected, batch.images))


def test_the_weight_of_least_change_is_found_by_trying():
    batch = _batch(1)

    def energy(current: torch.Tensor) -> torch.Tensor:
        return 0.5 * (current - batch.images.flip(3)).square().flatten(1).sum(1)

    def change(weight: float) -> float:
        return float((restored(batch.images, batch.masks, energy, 1e-2, 20, weight) - batch.images).abs().mean())

    candidates = (0.0, 0.2, 0.05)
    assert least_changing_weight(batch.images, batch.masks, energy, 1e-2, 20, candidates) == min(candidates, key=change)
    assert change(0.0) > 1.2 * min(map(change, candidates))


@family
def test_tuning_changes_nothing_but_the_weight_of_variation(detector_class):
    batch, config = _batch(1), CONFIGS[detector_class.name]
    with torch.no_grad():
        tuned = detector_class.tuned(_network(detector_class), config, batch.images, batch.masks)
    assert 0.0 <= tuned.tv_weight <= 1.9
    assert replace(tuned, tv_weight=config.tv_weight) == config


@family
def test_kl_gradient_is_the_numerical_derivative(detector_class):
    network, images = _network(detector_class), _batch(1).images
    gradient = input_gradient(images, lambda current: network(current).divergence)
    generator = torch.Generator().manual_seed(6)
    for direction in (gradient, gradient * torch.rand(gradient.shape, generator=generator), images):
        step = 0.05 * direction / direction.norm()
        with torch.no_grad():
            ahead, behind = (network(images + sign * step).divergence for sign in (1.0, -1.0))
        numerical = float(ahead - behind) / 2.0
        assert numerical == pytest.approx(float((gradient * step).sum()), rel=0.05, abs=2e-5)


def test_gradient_scores_of_a_quadratic():
    images = torch.zeros(1, 1, 15, 15)
    images[..., 7, 7] = -3.0
    score = gradient_score(images, lambda current: 0.5 * current.square().flatten(1).sum(1))
    assert float(score.sum()) == pytest.approx(3.0, rel=1e-5)
    weights = np.exp(-0.5 * (np.arange(-3, 4) / 3.0) ** 2)
    assert float(score[0, 0, 7, 7]) == pytest.approx(3.0 / weights.sum() ** 2, rel=1e-5)
    assert float(score[0, 0, 7, 11]) == 0.0
    combined = combined_score(score, torch.full_like(score, -2.0))
    torch.testing.assert_close(combined, 2.0 * score)
    assert smoothed(torch.ones(1, 1, 9, 9, 9))[0, 0, 4, 4, 4] == pytest.approx(1.0)


@family
@pytest.mark.parametrize("score", ["residual", "restoration", "kl_gradient", "combined"])
def test_each_score_is_what_it_says(detector_class, score):
    network, batch = _network(detector_class), _batch()
    config = replace(CONFIGS[detector_class.name], score=score)
    with torch.no_grad():
        result = detector_class.restore(network, config, batch.images, batch.masks, batch.generator)
        plain = network(batch.images)
    if score == "restoration":
        expected = restored(
            batch.images,
            batch.masks,
            lambda x: distances(network(x).image, x, "l1") + network(x).divergence,
            config.restoration_step,
            config.restoration_steps,
            config.tv_weight,
        )
        assert result.raw is None
        torch.testing.assert_close(result.pseudo_healthy, expected)
        return
    torch.testing.assert_close(result.pseudo_healthy, plain.image)
    gradient = gradient_score(batch.images, lambda x: network(x).divergence)
    if score == "residual":
        assert result.raw is None
    else:
        factor = (batch.images - plain.image).abs() if score == "combined" else 1.0
        torch.testing.assert_close(result.raw, gradient * factor)


@family
def test_scan_scores_are_those_of_the_drawn_codes(detector_class):
    network, batch, config = _network(detector_class), _batch(), CONFIGS[detector_class.name]
    with torch.no_grad():
        result = detector_class.restore(network, config, batch.images, batch.masks, torch.Generator().manual_seed(8))
        generator = torch.Generator().manual_seed(8)
        drawn_codes = [network(batch.images, generator) for _ in range(config.samples)]
        energies = torch.stack([distances(c.image, batch.images, "l1") + c.divergence for c in drawn_codes])
        plain = network(batch.images)
    torch.testing.assert_close(result.scan_scores["negative_elbo"], energies.mean(0))
    torch.testing.assert_close(result.scan_scores["waic"], energies.mean(0) + energies.var(0, correction=0))
    torch.testing.assert_close(result.scan_scores["kl"], plain.divergence)
    inside = batch.masks[0] > 0
    residual = (batch.images - plain.image).abs()[0][inside].mean()
    torch.testing.assert_close(result.scan_scores["l1"][0], residual)
    torch.testing.assert_close(result.latent, plain.mean)


@family
@pytest.mark.parametrize(
    "entry", [{"score": "guess"}, {"distance": "l3"}, {"crop": (20, 25)}, {"samples": 0}, {"norm": "MAGIC"}]
)
def test_impossible_configurations_are_refused(detector_class, entry):
    with pytest.raises(PackageError):
        detector_class.config_from_json({**TINY, **entry})


def test_impossible_mixtures_and_squares_are_refused():
    with pytest.raises(PackageError):
        MixtureAutoencoderDetector.config_from_json({**TINY, "components": 1})
    with pytest.raises(PackageError):
        ContextAutoencoderDetector.config_from_json({**TINY, "patch": 17})


@family
def test_half_precision_training_gives_the_same_losses_in_float32(detector_class):
    network, config = _network(detector_class), CONFIGS[detector_class.name]
    plain = detector_class.training_step(network, config, "autoencode", _batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = detector_class.training_step(network, config, "autoencode", _batch())
    assert all(value.dtype == torch.float32 for value in rough.values())
    assert float(rough["loss"].detach()) == pytest.approx(float(plain["loss"].detach()), rel=0.05)


# Limits for 200 steps (see Limits; tried with one to three seeds).
TRIALS = {
    "variational_autoencoder": Limits(0.9, 0.6, 0.1, 2.0, 2.5),
    "context_autoencoder": Limits(0.9, 0.6, 0.1, 2.0, 2.5),
    "mixture_autoencoder": Limits(0.9, 0.6, 0.1, 2.0, 2.5),
}


@lru_cache
def _trial(detector_class: type[VariationalDetector]) -> Proof:
    return try_out(detector_class, 200, kl_weight=2.0)


@family
def test_a_short_training_restores_unseen_brains_and_leaves_lesions_out(detector_class):
    assert not TRIALS[detector_class.name].broken(_trial(detector_class))


def _with_lesion() -> tuple[PreparedScan, PreparedScan, MaskArray]:
    """A brain that was not learned from, the same with a bright ball of 5 voxels' radius, and the ball."""
    brain = made_brains()[-1]
    return brain, *with_blob(brain, 0.8, (31, 28, 28), radius=5.0)


def test_every_score_of_one_trained_network_rises_in_a_lesion():
    """A large bright ball raises every score, and more than around it; small or dark ones hardly the KL gradient."""
    detector = _trial(VariationalAutoencoderDetector).detector
    scan, ill, lesion = _with_lesion()
    least = {"residual": 2.0, "restoration": 1.5, "kl_gradient": 1.15, "combined": 2.0}
    around = scan.brain_mask & ~lesion
    for score, ratio in least.items():
        scored = VariationalAutoencoderDetector(detector.network, replace(detector.config, score=score))
        before, after = raw_map(scored, scan), raw_map(scored, ill)
        rise = after[lesion].mean() / before[lesion].mean()
        assert rise > ratio, score
        assert rise > 1.1 * after[around].mean() / before[around].mean(), f"{score} rises everywhere"


def test_a_scan_with_a_lesion_is_less_likely_than_without():
    detector = _trial(VariationalAutoencoderDetector).detector
    scan, ill, _ = _with_lesion()
    before, after = (detector.reconstruct(each).scan_scores for each in (scan, ill))
    assert set(before) == {"l1", "kl", "negative_elbo", "waic"}
    assert after["l1"] > 1.1 * before["l1"]
    assert after["negative_elbo"] > 1.1 * before["negative_elbo"]
