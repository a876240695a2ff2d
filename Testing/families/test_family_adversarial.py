"""Adversarial families: losses against numbers made by hand, what learns in which phase, and a short training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from BrainAnomalyLib.detectors.families.adversarial.adversarial_autoencoder import (
    AdversarialAutoencoderDetector,
    AdversarialConfig,
)
from BrainAnomalyLib.detectors.families.adversarial.anovaegan import AnoVAEGANConfig, AnoVAEGANDetector, patch_loss
from BrainAnomalyLib.detectors.families.adversarial.f_anogan import FAnoGANConfig, FAnoGANDetector, anomaly_score
from BrainAnomalyLib.detectors.families.adversarial.ganomaly import GANomalyConfig, GANomalyDetector, generator_losses
from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.networks.adversarial import (
    ResidualLayout,
    critic_loss,
    dense_critic,
    gradient_penalty,
    held_still,
)
from BrainAnomalyLib.errors import PackageError
from family_proof import Limits, try_out

FAMILIES = (AnoVAEGANDetector, AdversarialAutoencoderDetector, FAnoGANDetector, GANomalyDetector)
family = pytest.mark.parametrize("detector_class", FAMILIES, ids=lambda kind: kind.name)
CONFIGS = {
    "anovaegan": AnoVAEGANConfig(
        crop=(16, 24), channels=(4, 8), squeeze=2, latent=3, discriminator_channels=4, discriminator_layers=1
    ),
    "adversarial_autoencoder": AdversarialConfig(
        crop=(16, 24), stem=4, channels=(4, 6), latent=3, critic_widths=(5, 4), critic_steps=2
    ),
    "f_anogan": FAnoGANConfig(crop=(16, 24), stem=4, channels=(4, 6), latent=3, coarseness=2, critic_steps=3),
    "ganomaly": GANomalyConfig(crop=(16, 24), channels=(4, 8), latent=3),
}
PHASES = [(kind, phase) for kind in FAMILIES for phase in kind.phases(CONFIGS[kind.name])]
each_phase = pytest.mark.parametrize(
    ("detector_class", "phase"), PHASES, ids=[f"{kind.name}-{phase.name}" for kind, phase in PHASES]
)


def _batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(count, 1, 16, 24)
    masks[..., 3:-3, 4:-4] = 1.0
    return Batch(torch.rand(masks.shape, generator=generator) * masks, masks, generator)


def _network(detector_class) -> nn.Module:
    torch.manual_seed(3)
    return detector_class.build(CONFIGS[detector_class.name])


@family
def test_paper_networks_have_the_stated_size_and_see_128_by_128(detector_class):
    config = detector_class.presets["paper"].config
    assert config.crop == (128, 128)
    with torch.device("meta"):
        network = detector_class.build(config)
        images = torch.zeros(2, 1, 128, 128)
        restored = detector_class.restore(network.eval(), config, images, images, torch.Generator("cpu"))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f"{count:,} parameters" in detector_class.__doc__
    assert restored.pseudo_healthy.shape == (2, 1, 128, 128)
    assert restored.latent.shape == (2, config.latent)
    assert all(value.shape == (2,) for value in restored.scan_scores.values())


def test_paper_discriminators_give_what_their_papers_say():
    with torch.device("meta"):
        images = torch.zeros(2, 1, 128, 128)
        patches = AnoVAEGANDetector.build(AnoVAEGANConfig()).judge(images)
        critic = FAnoGANDetector.build(FAnoGANConfig()).critic
        discriminator = GANomalyDetector.build(GANomalyConfig()).discriminator
        codes = AdversarialAutoencoderDetector.build(AdversarialConfig()).critic(torch.zeros(2, 128))
        assert patches.shape == (2, 1, 14, 14)
        assert critic(images).shape == (2, 1)
        assert critic.features(images).shape == (2, 512 * 8 * 8)
        assert discriminator.features(images).shape == (2, 1024, 4, 4)
        assert codes.shape == (2, 1)


def test_gradient_penalty_of_a_linear_critic():
    weights = torch.tensor([3.0, 4.0])
    real, fake = torch.randn(5, 2), torch.randn(5, 2)
    assert float(gradient_penalty(lambda x: x @ weights, real, fake, torch.rand(5, 1))) == pytest.approx(16.0)


def test_gradient_penalty_is_taken_between_real_and_fake_and_teaches_the_critic():
    slope = torch.tensor(1.0, requires_grad=True)
    real, fake, mix = torch.tensor([[2.0], [4.0]]), torch.tensor([[0.0], [0.0]]), torch.tensor([[0.5], [0.25]])
    penalty = gradient_penalty(lambda x: slope * x.square(), real, fake, mix)
    # slopes 2 x at x = 1 and 3: (2 - 1)^2 and (6 - 1)^2
    assert float(penalty.detach()) == pytest.approx(13.0, rel=1e-5)
    penalty.backward()
    # d/ds of ((2 s - 1)^2 + (6 s - 1)^2) / 2 at s = 1
    assert float(slope.grad) == pytest.approx(2.0 * 1.0 + 6.0 * 5.0, rel=1e-5)


def test_critic_loss_of_a_linear_critic():
    weights = torch.tensor([0.0, 2.0])
    real, fake = torch.tensor([[1.0, 5.0]]), torch.tensor([[7.0, 1.0]])
    losses = critic_loss(lambda x: x @ weights, real, fake, torch.tensor([[0.3]]), penalty=10.0)
    assert float(losses["wasserstein"]) == pytest.approx(8.0)
    assert float(losses["loss"]) == pytest.approx(-8.0 + 10.0 * 1.0, rel=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_gradient_penalty_is_exact_under_autocast(kind):
    torch.manual_seed(0)
    critic, real, fake, mix = dense_critic(6, (8, 4)), torch.randn(4, 6), torch.randn(4, 6), torch.rand(4, 1)
    exact = gradient_penalty(critic, real, fake, mix)
    with torch.autocast("cpu", kind):
        rough = gradient_penalty(critic, real, fake, mix)
    assert rough.dtype == torch.float32
    assert torch.equal(rough, exact)
    rough.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for n, p in critic.named_parameters() if "w" in n)


def test_modules_held_still_pass_gradients_on_and_wake_up():
    module, values = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.randn(4, 2, requires_grad=True)
    module[0].bias.requires_grad_(False)
    with held_still(module):
        assert not module[1].training
        total = module(values).sum()
    total.backward()
    assert values.grad is not None
    assert all(parameter.grad is None for parameter in module.parameters())
    assert [parameter.requires_grad for parameter in module.parameters()] == [True, False, True, True]
    assert module[1].training
    assert module[1].num_batches_tracked == 0


@each_phase
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_each_phase_teaches_its_modules_and_no_others(detector_class, phase, autocast):
    network = _network(detector_class)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = detector_class.training_step(network, CONFIGS[detector_class.name], phase.name, _batch())
    assert all(value.dtype == torch.float32 and value.ndim == 0 for value in losses.values())
    losses["loss"].backward()
    taught = {name.split(".")[0] for name, value in network.named_parameters() if value.grad is not None}
    assert set(phase.modules) <= taught
    others = {"critic", "discriminator"} - set(phase.modules)
    assert not taught & others, "an adversary must hold still while it is deceived"
    if set(phase.modules) <= {"critic", "discriminator"}:
        assert taught == set(phase.modules), "what an adversary judges must be cut from what made it"
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_f_anogan_trains_in_two_stages():
    critic, generator, encoder = FAnoGANDetector.phases(replace(FAnoGANConfig(), gan_share=0.6, critic_steps=5))
    at = {p.name: [s for s in range(20) if p.active(s, 20)] for p in (critic, generator, encoder)}
    assert at["critic"] == list(range(12))
    assert at["generator"] == [0, 5, 10]
    assert at["encoder"] == list(range(12, 20))
    assert (critic.optimizer.learning_rate, critic.optimizer.betas) == (1e-4, (0.0, 0.9))
    assert encoder.optimizer.learning_rate == 5e-5


def test_adversarial_autoencoder_gives_its_critic_more_steps():
    autoencode, critic, deceive = AdversarialAutoencoderDetector.phases(AdversarialConfig())
    assert (autoencode.every, critic.every, deceive.every) == (1, 1, 20)


class _Features:
    """A critic whose features are the image's voxel sums and three times these."""

    @staticmethod
    def features(images: torch.Tensor) -> torch.Tensor:
        total = images.flatten(1).sum(1, keepdim=True)
        return torch.cat([total, 3.0 * total], dim=1)


def test_f_anogan_score_by_hand():
    images, generated = torch.zeros(2, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    # image distance 2 / 4; features 2 and 6 away: (4 + 36) / 2
    assert anomaly_score(_Features, images, generated, kappa=1.0).tolist() == [20.5, 0.0]
    assert anomaly_score(_Features, images, generated, kappa=0.5).tolist() == [10.5, 0.0]


def test_ganomaly_losses_by_hand():
    losses = generator_losses(
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])),
        (torch.tensor([0.0, 1.0]), torch.tensor([2.0, 0.0])),
        (torch.tensor([3.0]), torch.tensor([0.0])),
    )
    assert {name: float(value) for name, value in losses.items()} == {"adversarial": 2.0, "context": 1.5, "latent": 9.0}
    step = GANomalyDetector.training_step(_network(GANomalyDetector), CONFIGS["ganomaly"], "generate", _batch())
    expected = step["adversarial"] + 50.0 * step["context"] + step["latent"]
    torch.testing.assert_close(step["loss"], expected)


def test_patch_loss_is_the_squared_distance_from_the_label():
    judged = torch.tensor([[0.5, 2.0]])
    assert float(patch_loss(judged, real=True, for_discriminator=True)) == pytest.approx((0.25 + 1.0) / 2)
    assert float(patch_loss(judged, real=False, for_discriminator=True)) == pytest.approx((0.25 + 4.0) / 2)
    assert float(patch_loss(-judged, real=False, for_discriminator=True)) == pytest.approx((0.25 + 4.0) / 2)


def test_latent_constraint_is_the_distance_of_codes():
    network, batch, config = _network(AdversarialAutoencoderDetector), _batch(), CONFIGS["adversarial_autoencoder"]
    step = AdversarialAutoencoderDetector.training_step(network, replace(config, consistency=3.0), "autoencode", batch)
    codes = network.encoder(batch.images)
    healthy = network.decoder(codes)
    distance = ((healthy - batch.images) ** 2).mean()
    consistency = ((network.encoder(healthy) - codes) ** 2).mean()
    torch.testing.assert_close(step["loss"], distance + 3.0 * consistency)
    result = AdversarialAutoencoderDetector.restore(network, config, batch.images, batch.masks, batch.generator)
    torch.testing.assert_close(result.scan_scores["latent_distance"].mean(), consistency)
    torch.testing.assert_close(result.scan_scores["critic"], -network.critic(codes)[:, 0])


def test_scan_scores_of_the_gans_are_their_papers():
    batch = _batch()
    network, config = _network(FAnoGANDetector).eval(), CONFIGS["f_anogan"]
    result = FAnoGANDetector.restore(network, config, batch.images, batch.masks, batch.generator)
    assert result.raw is None
    expected = anomaly_score(network.critic, batch.images, network.generator(network.encoder(batch.images)), 1.0)
    torch.testing.assert_close(result.scan_scores["f_anogan"], expected)
    network, config = _network(GANomalyDetector).eval(), CONFIGS["ganomaly"]
    result = GANomalyDetector.restore(network, config, batch.images, batch.masks, batch.generator)
    again = network.second_encoder(network.decoder(network.encoder(batch.images)))
    expected = ((again - network.encoder(batch.images)) ** 2).mean(1)
    torch.testing.assert_close(result.scan_scores["latent_distance"], expected)


def test_residual_layouts_know_their_deepest_features():
    assert ResidualLayout((128, 128), 64, (128, 256, 512, 512)).inner_shape == (512, 8, 8)
    assert ResidualLayout((80, 96), 16, (16, 32, 32), coarseness=2).inner_shape == (32, 5, 6)


@family
def test_impossible_configurations_are_refused(detector_class):
    for entry in ({"crop": [20, 25]}, {"crop": [16, 16, 16]}, {"latent": 0}):
        with pytest.raises(PackageError):
            detector_class.config_from_json(entry)


# Settings that learn in seconds, and limits (see Limits; tried with one to three seeds). The adversarial autoencoder
# gives everyone the same brain after so few steps: that is what a lesion stands out from.
TRIALS = [
    (AnoVAEGANDetector, 150, {"kl_weight": 2.0}, Limits(0.95, 0.65, 0.1, 2.0, 2.5)),
    (AdversarialAutoencoderDetector, 120, {}, Limits(1.4, 1.1, 0.1, 2.0, 2.0)),
    (FAnoGANDetector, 300, {}, Limits(1.4, 0.85, 0.1, 1.3, 2.0)),
    (GANomalyDetector, 120, {}, Limits(0.9, 0.6, 0.1, 1.8, 2.5)),
]


@pytest.mark.parametrize(
    ("detector", "steps", "changes", "limits"), TRIALS, ids=[detector.name for detector, *_ in TRIALS]
)
def test_a_short_training_restores_unseen_brains_and_leaves_lesions_out(detector, steps, changes, limits):
    assert not limits.broken(try_out(detector, steps, **changes))
