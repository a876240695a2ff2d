"""The VQ-VAE with transformers: tokens, likelihoods and healing on toys, and its proof."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import asdict, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from BrainAnomalyLib.detectors.families.variational.vq_transformer import (
    VQTransformerConfig,
    VQTransformerDetector,
    smooth_map,
    token_grid,
)
from BrainAnomalyLib.detectors.fitting import center_fit
from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.networks.token_transformer import TokenTransformer, reading_order
from BrainAnomalyLib.errors import DependencyError, PackageError
from family_proof import Limits, Proof, made_brains, try_out

TINY = replace(
    VQTransformerDetector.presets["small"].config,
    crop=(32, 24),
    channels=(4, 8, 8),
    codes=8,
    code_size=4,
    transformer_size=8,
    members=2,
)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny() -> TokenTransformer:
    torch.manual_seed(0)
    return VQTransformerDetector.build(TINY).eval()


class Counter(nn.Module):
    """Always foretells the token after the one before, with probability 0.9."""

    max_seq_len = 12

    def forward(self, x: torch.Tensor, context: None = None) -> torch.Tensor:
        following = nn.functional.one_hot((x + 1) % 8, 9).float()
        return torch.log(following * 0.9 + (1.0 - following) * 0.1 / 8)


def counting(member: int = 0) -> TokenTransformer:
    network = tiny()
    network.transformers[member] = Counter()
    return network


def test_eight_millimeter_tokens_on_the_template_grid():
    assert token_grid(VQTransformerConfig()) == (24, 28)
    assert token_grid(TINY) == (4, 3)
    assert tiny().tokens(torch.rand(5, 1, 32, 24)).shape == (5, 4, 3)


def test_the_paper_preset_has_an_ensemble_of_eight_orders():
    config = VQTransformerDetector.presets["paper"].config
    VQTransformerDetector.check(config)
    assert config.members == 8
    with torch.device("meta"):
        network = VQTransformerDetector.build(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 62_642_505


def test_every_order_reads_every_token_once():
    orders = [tuple(reading_order((4, 3), index).get_sequence_ordering()) for index in range(8)]
    assert orders[0] == tuple(range(12))
    assert len(set(orders)) == 8
    assert all(sorted(order) == list(range(12)) for order in orders)


def test_the_likelihood_is_that_of_each_token_after_the_one_before():
    network = counting()
    counted = torch.arange(12).reshape(1, 4, 3) % 8
    counted[0, 2, 0] = 1
    network.autoencoder.index_quantize = lambda images: counted
    found = network.log_likelihood(torch.zeros(1, 1, 32, 24), 0).flatten()
    expected = [math.log(0.9)] * 12
    expected[6] = expected[7] = math.log(0.1 / 8)
    assert found[1:].tolist() == pytest.approx(expected[1:], rel=1e-4)


@pytest.mark.parametrize("member", [0, 1])
def test_the_loss_is_the_mean_negative_log_likelihood(member):
    network, images = tiny(), torch.rand((3, 1, 32, 24), generator=chance())
    loss = network.cross_entropy(images, member)
    assert loss.item() == pytest.approx(-network.log_likelihood(images, member).mean().item(), rel=1e-4)


def test_healing_draws_only_unlikely_tokens_given_the_healed_ones():
    network = counting()
    tokens = torch.arange(12).reshape(1, 4, 3) % 8
    ill = tokens.clone()
    ill[0, 1] = 0
    unlikely = torch.zeros_like(tokens, dtype=torch.bool)
    unlikely[0, 1] = True
    draws = [network.heal(ill, unlikely, 0, chance(seed)) for seed in range(40)]
    assert all(torch.equal(draw[~unlikely], tokens[~unlikely]) for draw in draws)
    healed = np.mean([bool(torch.equal(draw, tokens)) for draw in draws])
    assert 0.5 < healed < 0.95  # 0.9^3 = 0.73


def test_healing_follows_the_members_own_order():
    network = counting(1)
    order = torch.as_tensor(network.orders[1].get_sequence_ordering().copy())
    tokens = torch.empty(12, dtype=torch.long)
    tokens[order] = torch.arange(12) % 8
    ill, unlikely = tokens.clone(), torch.zeros(12, dtype=torch.bool)
    ill[order[5]], unlikely[order[5]] = 0, True
    draws = [network.heal(ill.view(1, 4, 3), unlikely.view(1, 4, 3), 1, chance(seed)) for seed in range(40)]
    healed = np.mean([bool(torch.equal(draw.flatten(), tokens)) for draw in draws])
    assert healed > 0.7


def test_nothing_unlikely_means_nothing_healed_and_no_score():
    network, images = tiny(), torch.rand((2, 1, 32, 24), generator=chance())
    config = replace(TINY, threshold=1e-12)
    restored = VQTransformerDetector.restore(network, config, images, torch.ones_like(images), chance())
    plain = network.decode(network.tokens(images))
    assert torch.allclose(restored.pseudo_healthy, plain, atol=1e-6)
    assert not restored.raw.any()
    assert restored.scan_scores["negative_log_likelihood"].shape == (2,)


def test_the_score_is_the_residual_where_tokens_are_unlikely():
    unlikely = torch.zeros((1, 4, 3), dtype=torch.bool)
    unlikely[0, 1, 1] = True
    images = torch.zeros(1, 1, 32, 24)
    sharp, smooth = (smooth_map(unlikely, images, sigma)[0, 0] for sigma in (0.0, 2.0))
    assert torch.equal(sharp.nonzero().amin(0), torch.tensor([8, 8]))
    assert float(sharp.sum()) == 64.0
    assert float(smooth.sum()) == pytest.approx(64.0, rel=0.01)
    assert 0.0 < float(smooth[12, 6]) < float(smooth[12, 12]) <= 1.0


def test_the_transformers_leave_the_codebook_alone():
    network = tiny().train()
    before = {name: value.clone() for name, value in network.autoencoder.state_dict().items()}
    images = torch.rand((3, 1, 32, 24), generator=chance())
    VQTransformerDetector.training_step(
        network, TINY, "transformers", Batch(images, torch.ones_like(images), chance())
    )["loss"].backward()
    assert all(torch.equal(before[name], value) for name, value in network.autoencoder.state_dict().items())
    assert all(parameter.grad is None for parameter in network.autoencoder.parameters())
    assert network.autoencoder.training


def test_idle_codes_start_again_from_encodings():
    network, images = tiny(), torch.rand((3, 1, 32, 24), generator=chance())
    codebook = network.autoencoder.quantizer.quantizer
    codebook.ema_cluster_size[:] = torch.tensor([5.0, 0.0, 5.0, 0.05, 5.0, 5.0, 5.0, 5.0])
    before = codebook.embedding.weight.clone()
    network.revive(images, chance())
    encodings = network.autoencoder.encode(images).movedim(1, -1).flatten(0, -2)
    for code, (old, new) in enumerate(zip(before, codebook.embedding.weight, strict=True)):
        fresh = float((encodings - new).abs().sum(1).min()) < 1e-5
        assert fresh == (code in (1, 3))
        assert torch.equal(old, new) == (code not in (1, 3))


@pytest.mark.parametrize(
    "change",
    [{"crop": (30, 24)}, {"members": 9}, {"threshold": 0.0}, {"transformer_heads": 3}],
    ids=lambda change: next(iter(change)),
)
def test_impossible_configurations_are_refused(change):
    with pytest.raises(PackageError):
        VQTransformerDetector.check(replace(TINY, **change))


def test_settings_and_weights_survive_a_package():
    config = VQTransformerDetector.presets["paper"].config
    assert VQTransformerDetector.config_from_json(json.loads(json.dumps(asdict(config)))) == config
    network, other = tiny(), VQTransformerDetector.build(TINY)
    other.load_state_dict(load(save(network.state_dict())))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_missing_einops_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="einops"):
        VQTransformerDetector.build(TINY)


@lru_cache
def _trial() -> Proof:
    return try_out(VQTransformerDetector, 250)


def test_a_short_training_restores_unseen_brains_and_leaves_lesions_out():
    """Limits: see Limits."""
    assert not Limits(0.95, 0.6, 0.4, 1.5, 1.5).broken(_trial())


def test_after_training_many_codes_are_used_and_a_brains_tokens_are_likelier_than_shuffled_ones():
    network, brain = _trial().detector.network, made_brains()[-1]
    images = torch.from_numpy(center_fit(brain.image, (48, 48))).permute(2, 0, 1)[26:30, None]
    with torch.no_grad():
        tokens = network.tokens(images)
        likely = float(network.log_likelihood(images, 0).mean())
        shuffled = tokens.flatten(1)[:, torch.randperm(tokens[0].numel(), generator=chance())].view_as(tokens)
        network.autoencoder.index_quantize = lambda _images: shuffled
        unlikely = float(network.log_likelihood(images, 0).mean())
        del network.autoencoder.index_quantize
    assert len(tokens.unique()) >= 8
    assert likely > unlikely + 1.0
