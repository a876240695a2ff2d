"""Autoencoders: dense and spatial residual, Bayesian with gated skips, scale space."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from BrainAnomalyLib.detectors.families.autoencoders.residual_autoencoder import (
    ResidualAutoencoderConfig,
    ResidualAutoencoderDetector,
    SpatialAutoencoderConfig,
    SpatialAutoencoderDetector,
)
from BrainAnomalyLib.detectors.families.autoencoders.scale_space_autoencoder import (
    ScaleSpaceAutoencoderConfig,
    ScaleSpaceAutoencoderDetector,
)
from BrainAnomalyLib.detectors.families.autoencoders.skip_autoencoder import (
    SkipAutoencoderConfig,
    SkipAutoencoderDetector,
)
from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.networks.coarse import AtCoarseScale
from BrainAnomalyLib.detectors.networks.slice_autoencoder import Gate, collapsed, laplacian_pyramid
from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.preparation.recipe import Recipe
from family_proof import Limits, try_out

TINY = ResidualAutoencoderConfig(crop=(16, 16, 16), channels=(2, 4, 4), latent=5, grid="template_2mm")
TINY_SKIP = SkipAutoencoderConfig(crop=(16, 16), channels=(4, 4), latent=2, passes=6)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def on_meta(detector, config) -> torch.nn.Module:
    with torch.device("meta"):
        return detector.build(config)


def batch_of_noise(*shape: int) -> Batch:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.ones(shape), torch.Generator().manual_seed(2))


def test_published_network_has_198_million_parameters_most_of_them_in_two_dense_layers():
    """Luo et al. with z = 512 on 160 x 192 x 96: 198.0 M, 188.9 M dense (10 x 12 x 6 x 256 features)."""
    network = on_meta(ResidualAutoencoderDetector, ResidualAutoencoderConfig())
    features = 10 * 12 * 6 * 256
    dense = features * 512 + 512 + 512 * features + features
    assert parameters(network.inside.bottleneck) == dense == 188_928_512
    assert parameters(network) == 198_030_449
    with torch.device("meta"):
        code = network.inside.encode(torch.empty(2, 1, 160, 192, 96))
    assert code.shape == (2, 512)
    assert network.inside.decode(code).shape == (2, 1, 160, 192, 96)


@pytest.mark.parametrize("latent", [128, 256, 1024])
def test_every_dense_size_of_the_paper_builds(latent):
    network = on_meta(ResidualAutoencoderDetector, ResidualAutoencoderConfig(latent=latent))
    assert parameters(network) == 198_030_449 - 188_928_512 + 184_320 * (2 * latent + 1) + latent


@pytest.mark.parametrize("latent", [1, 64])
def test_spatial_bottleneck_keeps_a_map_of_the_published_size(latent):
    network = on_meta(SpatialAutoencoderDetector, SpatialAutoencoderConfig(latent=latent))
    code = network.inside.encode(torch.empty(1, 1, 160, 192, 96, device="meta"))
    assert code.shape == (1, latent, 10, 12, 6)


def test_published_recipe_and_optimization():
    detector, preset = ResidualAutoencoderDetector, ResidualAutoencoderDetector.presets["paper"]
    assert detector.recipe_for(preset.config) == Recipe(grid="luo_1mm", intensity="unit_range")
    (phase,) = detector.phases(preset.config)
    assert (phase.optimizer.learning_rate, phase.optimizer.weight_decay) == (1e-4, 1e-5)
    assert (preset.batch, preset.config.channels) == (8, (16, 32, 64, 128, 256))
    assert preset.steps == pytest.approx(200 * 463 / 8, rel=0.01)


def test_activation_comes_before_the_batch_norm():
    stem = ResidualAutoencoderDetector.build(TINY).inside.encoder[0]
    assert [type(layer).__name__ for layer in stem] == ["Conv3d", "LeakyReLU", "BatchNorm3d"]
    assert stem[1].negative_slope == pytest.approx(0.2)


def test_residual_loss_is_the_mean_square_error_over_the_whole_crop():
    class Half(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images / 2

    images = torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 1, 2)
    batch = Batch(images, (images > 0).float(), torch.Generator())
    assert float(ResidualAutoencoderDetector.training_step(Half(), TINY, "reconstruct", batch)["loss"]) == 0.5


def test_restoring_runs_in_evaluation_mode_and_gives_the_dense_code():
    detector = ResidualAutoencoderDetector(ResidualAutoencoderDetector.build(TINY), TINY)
    batch = batch_of_noise(1, 1, 16, 16, 16)
    with torch.no_grad():
        restored, again = (
            detector.restore(detector.network, TINY, batch.images, batch.masks, batch.generator) for _ in range(2)
        )
        torch.testing.assert_close(restored.pseudo_healthy, detector.network(batch.images))
    assert not any(layer.training for layer in detector.network.modules())
    assert torch.equal(restored.pseudo_healthy, again.pseudo_healthy)
    assert restored.latent is not None
    assert restored.latent.shape == (1, 5)


def test_coarse_scale_averages_and_interpolates_back():
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images

    ramp = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 1, 8, 8).contiguous()
    out = AtCoarseScale(Watching(), 2)(ramp)
    torch.testing.assert_close(seen[0][0, 0, :, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    torch.testing.assert_close(out[0, 0, 1:-1, 0], torch.arange(1.0, 7.0))


def test_impossible_residual_configurations_are_refused():
    for changes in ({"crop": (15, 16, 16)}, {"latent": 0}, {"grid": "nowhere"}, {"crop": (16, 16)}):
        with pytest.raises(PackageError):
            ResidualAutoencoderDetector.check(replace(TINY, **changes))


def test_gates_close_whole_connections_at_their_rate_and_pass_the_mean_otherwise():
    gate = Gate(0.8)
    torch.manual_seed(0)
    passed = gate(torch.ones(5000, 3, 2, 2)).reshape(5000, -1)
    assert set(passed.unique().tolist()) == {0.0, 1.0}
    assert (passed.amax(1) == passed.amin(1)).all()
    assert float(passed.mean()) == pytest.approx(0.2, abs=0.02)
    torch.testing.assert_close(gate.eval()(torch.ones(1, 1, 2, 2)), torch.full((1, 1, 2, 2), 0.2))


def test_dropout_passes_give_mean_spread_and_the_standardized_score():
    config = replace(TINY_SKIP, score="standardized")
    detector = SkipAutoencoderDetector(SkipAutoencoderDetector.build(config), config)
    batch = batch_of_noise(3, 1, 16, 16)
    torch.manual_seed(3)
    with torch.no_grad():
        restored = detector.restore(detector.network, config, batch.images, batch.masks, batch.generator)
        torch.manual_seed(3)
        plain = detector.restore(detector.network, TINY_SKIP, batch.images, batch.masks, batch.generator)
    assert restored.uncertainty is not None
    assert float(restored.uncertainty.mean()) > 0.0
    residual = (batch.images - restored.pseudo_healthy).abs()
    torch.testing.assert_close(restored.raw, residual / restored.uncertainty.clamp(min=0.02))
    assert plain.raw is None
    torch.testing.assert_close(plain.pseudo_healthy, restored.pseudo_healthy)
    assert not any(layer.training for layer in detector.network.modules()), "evaluation mode is back afterwards"


def test_without_skips_only_the_bottleneck_reaches_the_decoder():
    network = SkipAutoencoderDetector.build(replace(TINY_SKIP, skip_dropout=0.5)).eval()
    closed = SkipAutoencoderDetector.build(TINY_SKIP).eval()
    for layer in (*network.bottleneck, *closed.bottleneck):
        layer.register_forward_hook(lambda _module, _seen, out: torch.zeros_like(out))
    closed.gate.closed = 1.0
    images = batch_of_noise(2, 1, 16, 16).images
    with torch.no_grad():
        assert not torch.equal(network(images)[0], network(images)[1])
        assert torch.equal(closed(images)[0], closed(images)[1])


def test_unknown_scores_and_dropouts_are_refused():
    for changes in ({"score": "ratio"}, {"skip_dropout": 1.0}, {"passes": 0}):
        with pytest.raises(PackageError):
            SkipAutoencoderDetector.check(replace(TINY_SKIP, **changes))


def test_laplacian_pyramid_is_lossless_and_its_bands_are_details():
    images = batch_of_noise(2, 1, 24, 28).images
    bands = laplacian_pyramid(images, 3)
    assert [tuple(band.shape[2:]) for band in bands] == [(24, 28), (12, 14), (6, 7)]
    torch.testing.assert_close(collapsed(bands), images)
    flat = laplacian_pyramid(torch.full((1, 1, 8, 8), 0.7), 3)
    assert float(flat[0].abs().max()) < 1e-6
    torch.testing.assert_close(flat[2], torch.full((1, 1, 2, 2), 0.7))


def test_scale_space_loss_sums_the_bands_and_each_has_its_own_autoencoder():
    config = ScaleSpaceAutoencoderConfig(crop=(16, 16), channels=(2,), latent=1)
    network = ScaleSpaceAutoencoderDetector.build(config).eval()
    batch = batch_of_noise(2, 1, 16, 16)
    parts = ScaleSpaceAutoencoderDetector.training_step(network, config, "reconstruct", batch)
    bands = laplacian_pyramid(batch.images, 3)
    by_hand = [((level(band) - band) ** 2).mean() for level, band in zip(network.levels, bands, strict=True)]
    torch.testing.assert_close(parts["loss"], sum(by_hand))
    torch.testing.assert_close(parts["band_2"], by_hand[2])
    parts["band_1"].backward()
    touched = [any(p.grad is not None for p in level.parameters()) for level in network.levels]
    assert touched == [False, True, False]
    with pytest.raises(PackageError):
        ScaleSpaceAutoencoderDetector.check(ScaleSpaceAutoencoderConfig(crop=(18, 16)))


# Settings that learn in seconds, and limits (see Limits; tried with one to three seeds). After so few steps volumes are
# still blurred and the outermost band of the scale space is too dark: dark lesions do not raise these scores yet.
TRIALS = [
    (ResidualAutoencoderDetector, 120, {"latent": 8}, Limits(1.3, 0.75, 0.1, None, 1.7)),
    (SpatialAutoencoderDetector, 120, {"latent": 2}, Limits(1.3, 0.75, 0.3, None, 1.7)),
    (SkipAutoencoderDetector, 300, {}, Limits(0.8, 0.5, 0.5, 1.5, 2.0)),
    (ScaleSpaceAutoencoderDetector, 300, {}, Limits(1.2, 0.65, 0.2, None, 1.8)),
]


@pytest.mark.parametrize(
    ("detector", "steps", "changes", "limits"), TRIALS, ids=[detector.name for detector, *_ in TRIALS]
)
def test_a_short_training_restores_unseen_brains_and_leaves_lesions_out(detector, steps, changes, limits):
    assert not limits.broken(try_out(detector, steps, **changes))
