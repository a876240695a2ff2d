from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from BrainAnomalyLib.detectors.baselines.histogram import HistogramDetector, equalize
from BrainAnomalyLib.detectors.baselines.tissue import (
    TissueConfig,
    TissueDetector,
    gray_matter_reference,
    weighted_quantile,
)
from BrainAnomalyLib.detectors.registry import detector_names, load_detector
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.preparation.intensity.contrast import ContrastGuess
from BrainAnomalyLib.preparation.intensity.scale import IntensityScale
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.scoring.residuals import cleaned, eroded_mask, median_5, signed_residual


def _prepared(image: np.ndarray) -> PreparedScan:
    """A scan that already lies in template space."""
    template = load_template("template_1mm")
    return PreparedScan(
        image=np.where(template.brain_mask, image, 0.0).astype(np.float32),
        brain_mask=template.brain_mask,
        template=template,
        recipe=Recipe(grid="template_1mm"),
        native_grid=template.grid,
        native_brain_mask=template.brain_mask,
        native_from_template=np.eye(4),
        contrast=ContrastGuess("FLAIR", 1.0, 1.1, 0.5),
        quality=RegistrationQuality(1.0, 1.0, 1.0, "good", ""),
        brain_mask_method="given",
        intensity_scale=IntensityScale(0.0, 1.0),
    )


@pytest.fixture(scope="module")
def flair() -> np.ndarray:
    """A FLAIR-like brain painted from the template's tissues, with a little noise."""
    template = load_template("template_1mm")
    tissues = 1.1 * template.gray_matter + 0.9 * template.white_matter + 0.3 * template.cerebrospinal_fluid
    return (tissues + np.random.default_rng(0).normal(0.0, 0.03, tissues.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def lesion() -> np.ndarray:
    template = load_template("template_1mm")
    indices = np.argwhere(template.brain_mask)
    center = template.grid.to_index(np.array([[26.0, -10.0, 28.0]]))[0]
    near = indices[np.linalg.norm(indices - center, axis=1) < 6.0]
    mask = np.zeros(template.grid.shape, dtype=bool)
    mask[tuple(near.T)] = True
    return mask


def test_equalization_equals_scikit_image():
    exposure = pytest.importorskip("skimage.exposure", reason="scikit-image, the paper's implementation, is missing")
    random = np.random.default_rng(1)
    image = random.gamma(2.0, 1.0, (20, 22, 24)).astype(np.float32)
    mask = random.random(image.shape) > 0.4
    expected = np.where(mask, exposure.equalize_hist(image, nbins=256, mask=mask), 0.0)
    np.testing.assert_allclose(equalize(image, mask), expected, atol=1e-6)


def test_equalized_threshold_is_a_fraction_of_the_brain(flair):
    prepared = _prepared(flair)
    score = HistogramDetector().score(prepared, None)
    above = (score.anomaly[prepared.brain_mask] > 0.98).mean()
    assert above == pytest.approx(0.02, abs=0.005)
    assert (score.anomaly[~prepared.brain_mask] == 0).all()


def test_tissue_map_is_highest_in_a_bright_lesion(flair, lesion):
    prepared = _prepared(np.where(lesion, 1.7, flair))
    detector = TissueDetector()
    score = detector.score(prepared, detector.reconstruct(prepared))
    assert np.median(score.anomaly[lesion]) > 4.0 * detector.threshold.value
    outside = score.evaluated & ~lesion
    assert np.quantile(score.anomaly[outside], 0.99) < detector.threshold.value


def test_tissue_leaves_bright_ventricles_alone():
    template = load_template("template_1mm")
    bright_fluid = 1.3 * template.gray_matter + 1.0 * template.white_matter + 2.4 * template.cerebrospinal_fluid
    prepared = _prepared(bright_fluid.astype(np.float32))
    ventricle = ndimage.binary_erosion(template.cerebrospinal_fluid > 0.95, iterations=3)
    as_t2w = replace(prepared, contrast=ContrastGuess("T2w", 1.0, 1.3, 2.4))
    before, after = (TissueDetector().score(scan, None).anomaly[ventricle].max() for scan in (prepared, as_t2w))
    assert after < 0.05 * before


def _t2w(image: np.ndarray) -> PreparedScan:
    """A T2w-like brain, a little noise upon it."""
    noisy = image + np.random.default_rng(0).normal(0.0, 0.05, image.shape)
    return replace(_prepared(noisy.astype(np.float32)), contrast=ContrastGuess("T2w", 1.0, 1.3, 2.6))


def test_wide_ventricles_are_not_taken_for_lesions_of_t2w(lesion):
    template = load_template("template_1mm")
    ventricles = ndimage.binary_opening(template.cerebrospinal_fluid > 0.9, iterations=2)
    wide = ndimage.binary_dilation(ventricles, iterations=4) & (template.cerebrospinal_fluid < 0.2)
    tissues = 1.25 * template.gray_matter + template.white_matter + 2.6 * template.cerebrospinal_fluid
    scan = _t2w(np.where(wide, 2.6, np.where(lesion & ~wide, 1.7, tissues)))
    detector = TissueDetector()
    anomaly = detector.score(scan, None).anomaly
    assert np.median(anomaly[wide]) < detector.threshold_for("T2w").value < 0.7 * np.median(anomaly[lesion])
    assert np.median(anomaly[wide]) < 0.4 * np.median(anomaly[lesion])


def test_a_lesion_as_bright_as_fluid_is_seen_far_from_fluid():
    template = load_template("template_1mm")
    fluid_near = ndimage.gaussian_filter(template.cerebrospinal_fluid, 4.0) > 0.04
    depth = ndimage.distance_transform_edt((template.white_matter > 0.8) & ~fluid_near)
    deep = depth > 0.4 * depth.max()
    tissues = 1.25 * template.gray_matter + template.white_matter + 2.6 * template.cerebrospinal_fluid
    anomaly = TissueDetector().score(_t2w(np.where(deep, 2.6, tissues)), None).anomaly
    assert deep.sum() > 100
    assert np.median(anomaly[deep]) > 2.0 * TissueDetector().threshold_for("T2w").value


def test_tissue_pseudo_healthy_paints_white_matter_over_the_lesion(flair, lesion):
    reconstruction = TissueDetector().reconstruct(_prepared(np.where(lesion, 1.7, flair)))
    assert np.median(reconstruction.pseudo_healthy[lesion]) == pytest.approx(0.9, abs=0.06)


def test_a_large_lesion_hardly_moves_the_robust_reference():
    random = np.random.default_rng(3)
    values = random.normal(1.0, 0.1, 10_000).astype(np.float32)
    values[:2000] = 3.0
    prior = np.ones_like(values)
    robust, plain = (gray_matter_reference(values, prior, robust) for robust in (True, False))
    assert robust[0] == pytest.approx(1.03, abs=0.02)
    assert robust[1] < 0.2 < 0.5 < plain[1]


def test_plain_moments_are_weighted_by_the_squared_prior():
    center, spread = gray_matter_reference(np.array([1.0, 3.0], np.float32), np.array([1.0, 0.5], np.float32), False)
    assert center == pytest.approx(1.4)
    assert spread == pytest.approx(0.8)


def test_weighted_quantile_by_hand():
    assert weighted_quantile(np.array([3.0, 1.0, 2.0], np.float32), np.array([1.0, 1.0, 8.0]), 0.5) == 2.0


def test_tissue_evaluates_only_the_eroded_brain(flair):
    prepared = _prepared(flair)
    shallow, deep = (TissueDetector(TissueConfig(erosion_mm=mm)).score(prepared, None) for mm in (1.0, 6.0))
    assert deep.evaluated.sum() < shallow.evaluated.sum() < prepared.brain_mask.sum()


def test_unknown_detector_names_the_known_ones():
    with pytest.raises(OptionsError) as caught:
        load_detector("magic")
    assert all(name in caught.value.sentence() for name in detector_names())
    assert {"histogram", "tissue", "denoising", "latent_diffusion"} <= set(detector_names())


def test_a_family_without_a_package_says_how_to_get_one():
    with pytest.raises(OptionsError, match="needs a model package of its own") as caught:
        load_detector("residual_autoencoder")
    assert "BrainAnomalyTrainingLib train" in caught.value.remedy


def test_a_package_for_a_detector_without_one_is_refused(tmp_path):
    with pytest.raises(OptionsError, match="needs no model package"):
        load_detector("histogram", tmp_path)


def test_cleaning_removes_single_voxels_and_the_rim():
    mask = np.zeros((30, 30, 30), bool)
    mask[5:25, 5:25, 5:25] = True
    anomaly = np.zeros(mask.shape, np.float32)
    anomaly[15, 15, 15] = 9.0
    anomaly[5:7, 5:25, 5:25] = 5.0
    anomaly[10:16, 10:16, 18:24] = 3.0
    clean = cleaned(anomaly, mask)
    assert clean[15, 15, 15] == 0.0
    assert clean[:7].max() == 0.0
    assert clean[12, 12, 20] == 3.0
    assert eroded_mask(mask)[7, 15, 15]
    assert not eroded_mask(mask)[6, 15, 15]
    assert median_5(anomaly).max() <= 5.0
    noise = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    assert (cleaned(noise, mask) == np.where(eroded_mask(mask), ndimage.median_filter(noise, size=5), 0.0)).all()


def test_residual_keeps_its_sign():
    mask = np.array([[[True, True, False]]])
    residual = signed_residual(np.array([[[1.0, 2.0, 9.0]]]), np.array([[[2.0, 1.0, 0.0]]]), mask)
    assert residual.tolist() == [[[-1.0, 1.0, 0.0]]]
