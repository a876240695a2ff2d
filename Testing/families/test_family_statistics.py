"""Fitted and training-free families: voxel z-score, principal components, tissue mixture, asymmetry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from BrainAnomalyLib.detectors.baselines.asymmetry import AsymmetryConfig, AsymmetryDetector
from BrainAnomalyLib.detectors.baselines.gaussian_mixture import (
    GaussianMixtureConfig,
    GaussianMixtureDetector,
    TissueMixture,
    fit_mixture,
    mixture_distance,
)
from BrainAnomalyLib.detectors.baselines.principal_components import (
    PrincipalComponentsConfig,
    PrincipalComponentsDetector,
)
from BrainAnomalyLib.detectors.baselines.voxel_z_score import VoxelZScoreConfig, VoxelZScoreDetector
from BrainAnomalyLib.detectors.networks.statistics import masked_gaussian
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.errors import OptionsError, PackageError
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from family_proof import Limits, on_template, try_out, with_blob

SIZE = (8, 8, 8)
NONE = torch.Generator()


@dataclass(frozen=True, eq=False)
class Given:
    """A healthy scan of given values that is brain everywhere."""

    values: np.ndarray

    def image(self) -> np.ndarray:
        return self.values.astype(np.float32)

    def mask(self) -> np.ndarray:
        return np.ones(self.values.shape, dtype=bool)


def constant(value: float) -> Given:
    return Given(np.full(SIZE, value))


def ones() -> torch.Tensor:
    return torch.ones(1, 1, *SIZE)


def fitted(detector, config, scans):
    network = detector.build(config)
    detector.fit(network, config, scans)
    return network


def test_voxel_score_is_crawford_and_howells_t_by_hand():
    config = VoxelZScoreConfig(crop=SIZE, smoothing=0.0)
    network = fitted(VoxelZScoreDetector, config, [constant(value) for value in (0.8, 1.0, 1.2)])
    restored = VoxelZScoreDetector.restore(network, config, 0.4 * ones(), ones(), NONE)
    # mean 1, sample deviation 0.2, n = 3: |0.4 - 1| / (0.2 sqrt(4 / 3))
    assert restored.raw is not None
    torch.testing.assert_close(restored.raw, (0.6 / (0.2 * (4 / 3) ** 0.5)) * ones())
    torch.testing.assert_close(restored.pseudo_healthy, ones())
    assert float(restored.scan_scores["mean_absolute_z"]) == pytest.approx(2.598, abs=1e-3)


def test_voxel_deviation_has_a_floor_and_unseen_voxels_count_nothing():
    config = VoxelZScoreConfig(crop=(10, 8, 8), smoothing=0.0)
    network = fitted(VoxelZScoreDetector, config, [constant(1.0), constant(1.0)])
    images = torch.full((1, 1, 10, 8, 8), 1.04)
    raw = VoxelZScoreDetector.restore(network, config, images, torch.ones_like(images), NONE).raw
    assert float(raw[0, 0, 5, 4, 4]) == pytest.approx(1 / 1.5**0.5, rel=1e-4)
    assert (raw[:, :, [0, -1]] == 0).all()


def test_smoothing_stays_in_the_brain_and_keeps_constants():
    mask = ones()
    mask[..., :3] = 0
    smooth = masked_gaussian(2.0 * mask + 9.0 * (1 - mask), mask, 1.0)
    torch.testing.assert_close(smooth, 2.0 * mask)


def test_statistics_refuse_too_few_scans():
    for detector, count in ((VoxelZScoreDetector, 1), (PrincipalComponentsDetector, 2)):
        config = detector.Config(crop=SIZE)
        with pytest.raises(OptionsError, match="too few"):
            detector.fit(detector.build(config), config, [constant(1.0)] * count)


def patterns() -> list[np.ndarray]:
    """Two orthonormal patterns."""
    directions = np.random.default_rng(3).normal(size=(SIZE[0] ** 3, 2))
    return [column.reshape(SIZE) for column in np.linalg.qr(directions)[0].T]


def pattern_scans() -> tuple[list[Given], np.ndarray]:
    """Scans 1 + 3 a p0 + b p1 and their coefficients (3 a, b)."""
    first, second = patterns()
    weights = np.random.default_rng(4).normal(size=(12, 2)) * (3.0, 1.0)
    weights -= weights.mean(axis=0)
    return [Given(1.0 + a * first + b * second) for a, b in weights], weights


def components_config(**changes) -> PrincipalComponentsConfig:
    base = PrincipalComponentsConfig(crop=SIZE, components=4, coarsening=1, probabilistic=False)
    return replace(base, **changes)


def test_components_span_the_healthy_space_and_leave_out_what_is_not_in_it():
    scans, weights = pattern_scans()
    config = components_config(robust_iterations=0)
    network = fitted(PrincipalComponentsDetector, config, scans)
    found = network.variances[:2].numpy()
    np.testing.assert_allclose(found, np.linalg.eigvalsh(np.cov(weights.T))[::-1], rtol=1e-3)
    image = torch.from_numpy(scans[0].image())[None, None]
    restored = PrincipalComponentsDetector.restore(network, config, image, ones(), NONE)
    torch.testing.assert_close(restored.pseudo_healthy, image, atol=1e-3, rtol=0)
    # z' L^-1 z does not depend on the basis: Mahalanobis distance of the planted coefficients
    expected = weights[0] @ np.linalg.solve(np.cov(weights.T), weights[0])
    assert float(restored.scan_scores["leverage"]) == pytest.approx(expected, rel=1e-2)
    assert restored.latent is not None
    assert restored.latent.shape == (1, 4)


def test_robust_projection_is_not_pulled_by_a_lesion():
    scans, _ = pattern_scans()
    image = torch.from_numpy(scans[0].image())[None, None]
    ill = image.clone()
    ill[..., 2:5, 2:5, 2:5] += 3.0
    plain, robust = components_config(robust_iterations=0), components_config()
    network = fitted(PrincipalComponentsDetector, plain, scans)
    errors = [
        (PrincipalComponentsDetector.restore(network, config, ill, ones(), NONE).pseudo_healthy - image).abs().mean()
        for config in (plain, robust)
    ]
    assert errors[1] < 0.1 * errors[0]


def test_probabilistic_coefficients_shrink_and_components_never_exceed_scans_less_one():
    noise = np.random.default_rng(5)
    scans = [Given(1.0 + 0.5 * noise.normal(size=SIZE)) for _ in range(4)]
    config = components_config(components=6)
    assert int((fitted(PrincipalComponentsDetector, config, scans).variances > 1e-6).sum()) == 3
    plain, shrunk = (components_config(components=1, probabilistic=value) for value in (False, True))
    network = fitted(PrincipalComponentsDetector, plain, scans)
    image = torch.from_numpy(scans[0].image())[None, None]
    sizes = [
        PrincipalComponentsDetector.restore(network, c, image, ones(), NONE).latent.norm() for c in (plain, shrunk)
    ]
    assert sizes[1] < sizes[0]


def test_an_impossible_components_configuration_is_refused():
    with pytest.raises(PackageError, match="impossible"):
        PrincipalComponentsDetector.check(components_config(coarsening=3))


def test_components_learn_the_two_numbers_of_made_brains_and_the_voxel_mean_is_everyones():
    """Made brains are sums of three maps: their components restore them to the noise, the mean restores nobody."""
    components, voxels = try_out(PrincipalComponentsDetector, 1, coarsening=1), try_out(VoxelZScoreDetector, 1)
    assert not Limits(0.2, 0.2, 0.3, 4.0, 4.0).broken(components)
    assert voxels.trained_error == pytest.approx(voxels.mean_image_error, rel=0.1)
    assert voxels.trained_error == pytest.approx(voxels.others_error, rel=1e-3)
    assert min(voxels.lesion_ratios) > 1.5
    assert voxels.lesion_kept == (0.0, 0.0)
    assert voxels.repeats


def test_mixture_finds_the_tissues_of_a_made_brain_despite_a_lesion():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 30_000)
    priors = np.full((3, labels.size), 0.1, dtype=np.float32)
    priors[labels, np.arange(labels.size)] = 0.8
    means, deviations = np.array([0.7, 1.0, 0.3]), np.array([0.05, 0.04, 0.08])
    values = random.normal(means[labels], deviations[labels]).astype(np.float32)
    values[:1500] = 1.8
    mixture = fit_mixture(values, priors, GaussianMixtureConfig())
    np.testing.assert_allclose(mixture.means, means, atol=0.01)
    np.testing.assert_allclose(mixture.deviations, deviations, rtol=0.15)


def test_mixture_distance_is_mahalanobis_where_one_tissue_is_sure():
    mixture = TissueMixture(np.array([0.7, 1.0, 0.3]), np.array([0.1, 0.05, 0.1]))
    sure = np.array([[1e-30], [1.0], [1e-30]], dtype=np.float32)
    assert mixture_distance(np.array([1.15], dtype=np.float32), sure, mixture)[0] == pytest.approx(3.0, rel=1e-4)
    half = np.array([[0.5], [0.5], [1e-30]], dtype=np.float32)
    expected = np.sqrt(-2 * np.log(0.5 * np.exp(-0.5 * 4.5**2) + 0.5 * np.exp(-0.5 * 9)))
    assert mixture_distance(np.array([1.15], dtype=np.float32), half, mixture)[0] == pytest.approx(expected, rel=1e-4)


def made_scan(white: float, gray: float, fluid: float, recipe: Recipe):
    """A brain with the template's tissues at given intensities, a little noisy."""
    template = load_template(recipe.grid)
    image = white * template.white_matter + gray * template.gray_matter + fluid * template.cerebrospinal_fluid
    noise = np.random.default_rng(1).normal(0.0, 0.02, image.shape)
    return on_template((image + noise).astype(np.float32), template.brain_mask, recipe)


@pytest.mark.parametrize(
    "intensities", [(1.0, 0.7, 0.4), (1.0, 1.2, 0.5), (1.0, 1.3, 2.2)], ids=["T1w", "FLAIR", "T2w"]
)
def test_tissue_mixture_sees_lesions_in_every_contrast(intensities):
    detector = GaussianMixtureDetector()
    scan = made_scan(*intensities, Recipe(grid="template_2mm"))
    ill, lesion = with_blob(scan, 0.6)
    before, after = (detector.score(each, detector.reconstruct(each)).anomaly for each in (scan, ill))
    assert after[lesion].mean() > 2.0 * before[lesion].mean()
    assert after[lesion].mean() > np.quantile(before[scan.brain_mask], 0.99)
    assert (after[~scan.brain_mask] == 0).all()


def test_asymmetry_is_small_in_a_symmetric_brain_and_marks_a_lesion_and_the_place_opposite():
    detector = AsymmetryDetector()
    scan = made_scan(1.0, 0.7, 0.4, detector.recipe)
    ill, lesion = with_blob(scan, -0.4)
    healthy, found = (detector.reconstruct(each) for each in (scan, ill))
    before, after = (detector.score(*pair).anomaly for pair in ((scan, healthy), (ill, found)))
    assert after[lesion].mean() > 5.0 * before[lesion].mean()
    assert after[lesion[::-1]].mean() > 5.0 * before[lesion[::-1]].mean()
    assert np.median(before[scan.brain_mask]) < 0.06
    again = detector.score(ill, detector.reconstruct(ill)).anomaly
    np.testing.assert_array_equal(again, after)


def test_registration_takes_away_a_tilt_that_mirroring_doubles():
    from BrainAnomalyLib.io.resampling import resample

    detector = AsymmetryDetector(AsymmetryConfig(nonlinear=False))
    scan = made_scan(1.0, 0.7, 0.4, detector.recipe)
    angle, turn = np.deg2rad(4.0), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = scan.template.grid
    tilted = replace(scan, image=resample(scan.image, grid, grid, turn))
    inside = tilted.image > 0.2
    registered = detector.reconstruct(tilted).pseudo_healthy
    plain = np.abs(tilted.image - tilted.image[::-1])[inside].mean()
    assert np.abs(tilted.image - registered)[inside].mean() < 0.7 * plain


def test_training_free_families_load_by_name_and_give_thresholds():
    for name in ("gaussian_mixture", "asymmetry"):
        detector = load_detector(name)
        for contrast in ("T1w", "T2w", "FLAIR"):
            assert detector.threshold_for(contrast).value > 0.0
            assert detector.threshold_for(contrast).source
