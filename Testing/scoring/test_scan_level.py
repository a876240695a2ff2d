"""Scan-level scores, conformal p-values and the guard against scans a detector does not know."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.stats import wasserstein_distance

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.scoring import conformal, guard
from BrainAnomalyLib.scoring.guard import GuardBank, assess, bank_from_tensors
from BrainAnomalyLib.scoring.scan_level import (
    FEATURE_NAMES,
    QUANTILES,
    intensity_quantiles,
    leave_one_out_distances,
    mahalanobis,
    quantile_distance,
    scan_features,
    scan_scores,
    shrunk_covariance,
    tissue_ratios,
    weighted_median,
)
from made_scans import SHAPE, TEMPLATE, made_map, made_scan
from shared_data import FOLDER, needs

# Conformal p-values


def test_the_p_value_counts_healthy_scores_at_least_as_high():
    healthy = np.array([1.0, 2.0, 3.0, 3.0])
    assert conformal.p_value(3.0, healthy) == pytest.approx(3 / 5)
    assert conformal.p_value(4.0, healthy) == pytest.approx(1 / 5)
    assert conformal.p_value(0.0, healthy) == 1.0


@pytest.mark.parametrize(("level", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.5, 1), (0.03, 33), (1 / 7, 6)])
def test_a_level_needs_so_many_healthy_scans(level, needed):
    assert conformal.needed_scans(level) == needed
    highest = [conformal.p_value(1.0, np.zeros(count)) for count in (needed, needed - 1) if count]
    assert highest[0] <= level + 1e-12
    assert all(p > level for p in highest[1:])
    assert conformal.refusal(needed, level) == ""
    assert str(needed) in conformal.refusal(needed - 1, level)


@pytest.mark.parametrize("scans", [19, 20, 50])
def test_p_values_of_healthy_scans_keep_their_promise(scans):
    """Coverage over 20 000 simulated calibrations: P(p <= alpha) = floor(alpha (n + 1)) / (n + 1)."""
    scores = np.random.default_rng(1).gamma(2.0, size=(20_000, scans + 1))
    p = np.array([conformal.p_value(row[0], row[1:]) for row in scores])
    for level in (0.05, 0.1, 0.3):
        expected = np.floor(level * (scans + 1) + 1e-9) / (scans + 1)
        assert np.mean(p <= level + 1e-12) == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))


def test_ties_only_make_p_values_larger():
    scores = np.random.default_rng(2).integers(0, 3, (5000, 21)).astype(float)
    p = np.array([conformal.p_value(row[0], row[1:]) for row in scores])
    assert np.mean(p <= 0.1) <= 0.1 + 3 * np.sqrt(0.1 / 5000)


@pytest.mark.parametrize("healthy", [[], [1.0, np.nan], [[1.0]]])
def test_a_bank_without_meaning_is_refused(healthy):
    with pytest.raises(OptionsError):
        conformal.p_value(1.0, np.array(healthy))


def test_impossible_statements_are_refused():
    assert "needs 19" in conformal.refusal(18, 0.05)
    with pytest.raises(OptionsError, match="not a finite"):
        conformal.p_value(float("nan"), np.arange(3.0))
    for level in (0.0, 1.0, -1.0):
        with pytest.raises(OptionsError):
            conformal.needed_scans(level)


# Scores and features


def test_scan_scores_by_hand():
    anomaly = np.zeros((10, 20, 10), dtype=np.float32)
    anomaly.ravel()[:4] = (1.0, 2.0, 3.0, 4.0)
    mask = np.ones(anomaly.shape, dtype=bool)
    assert scan_scores(anomaly, mask) == {"mean_anomaly": 0.005, "max_anomaly": 4.0, "top_anomaly": 3.5}
    mask.ravel()[3] = False
    assert scan_scores(anomaly, mask)["max_anomaly"] == 3.0
    assert set(scan_scores(anomaly, np.zeros_like(mask)).values()) == {0.0}


def test_weighted_median():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])) == 2.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0, 1.0])) == 3.0
    assert weighted_median(np.array([3.0, 1.0]), np.array([1.0, 1.0])) == 1.0


def test_quantiles_are_those_of_the_brain_only():
    image = np.zeros(SHAPE, dtype=np.float32)
    image[:, :, 10:] = np.linspace(1.0, 2.0, 10)
    quantiles = intensity_quantiles(image, image > 0)
    assert len(quantiles) == QUANTILES
    assert (np.diff(quantiles) >= 0.0).all()
    assert (quantiles[0], quantiles[-1]) == pytest.approx((1.0, 2.0))


def test_the_quantile_distance_is_wassersteins():
    random = np.random.default_rng(3)
    first, second = random.normal(size=4096), random.normal(0.5, 2.0, size=4096)
    mask = np.ones((16, 16, 16), dtype=bool)
    quantiles = [intensity_quantiles(values.reshape(mask.shape).astype(np.float32), mask) for values in (first, second)]
    assert quantile_distance(*quantiles) == pytest.approx(wasserstein_distance(first, second), rel=0.05)
    assert quantile_distance(quantiles[0], quantiles[0] + 0.25) == pytest.approx(0.25)


@pytest.mark.parametrize(("count", "dimensions"), [(21, 38), (5, 3), (200, 10)])
def test_the_shrunk_covariance_is_ledoit_and_wolfs(count, dimensions):
    covariance = pytest.importorskip("sklearn.covariance")
    random = np.random.default_rng(count)
    rows = random.normal(size=(count, dimensions)) @ random.normal(size=(dimensions, dimensions))
    estimate, reference = shrunk_covariance(rows), covariance.LedoitWolf().fit(rows)
    assert estimate.shrinkage == pytest.approx(reference.shrinkage_)
    np.testing.assert_allclose(estimate.covariance, reference.covariance_, rtol=1e-9)
    assert np.linalg.eigvalsh(estimate.covariance).min() > 0.0


def test_the_mahalanobis_distance_is_scipys():
    random = np.random.default_rng(4)
    rows, point = random.normal(size=(50, 4)) @ random.normal(size=(4, 4)), random.normal(size=4)
    estimate = shrunk_covariance(rows)
    expected = distance.mahalanobis(point, estimate.mean, np.linalg.inv(estimate.covariance))
    assert mahalanobis(point, estimate) == pytest.approx(expected)
    left_out = distance.mahalanobis(
        rows[7],
        np.delete(rows, 7, axis=0).mean(axis=0),
        np.linalg.inv(shrunk_covariance(np.delete(rows, 7, axis=0)).covariance),
    )
    assert leave_one_out_distances(rows)[7] == pytest.approx(left_out)


def test_equal_observations_have_distance_zero():
    estimate = shrunk_covariance(np.ones((5, 3)))
    assert estimate.shrinkage == 1.0
    assert mahalanobis(np.ones(3), estimate) == 0.0


# The guard on a made cohort


def made_bank(scans: int = 25, contrasts=("T1w",)) -> GuardBank:
    made = [(made_scan(seed), made_map(seed)) for seed in range(scans)]
    scores = [scan_scores(anomaly, scan.brain_mask) for scan, anomaly in made]
    banks = {name: np.array([score[name] for score in scores]) for name in scores[0]}
    return GuardBank(np.stack([scan_features(*pair) for pair in made]), banks, contrasts)


BANK = made_bank()


def judged(scan: PreparedScan, anomaly: np.ndarray, bank: GuardBank = BANK, **latent) -> guard.Guard:
    return assess(scan, anomaly, scan_scores(anomaly, scan.brain_mask), bank, **latent)


def test_features_of_a_made_scan_by_hand():
    scan = made_scan(3)
    found = dict(zip(FEATURE_NAMES, scan_features(scan, made_map(3)), strict=True))
    gray, fluid = tissue_ratios(scan)
    assert (gray, fluid) == pytest.approx((scan.contrast.gray_to_white, scan.contrast.fluid_to_white), abs=0.02)
    assert found["log_gray_to_white"] == pytest.approx(np.log(gray))
    assert found["log_fluid_to_white"] == pytest.approx(np.log(fluid))
    assert found["log_brain_ml"] == pytest.approx(np.log(TEMPLATE.brain_mask.sum() * 0.008))
    assert np.exp(found["log_median_anomaly"]) == pytest.approx(0.69, abs=0.02)
    assert found["mask_overlap"] == scan.quality.mask_overlap
    assert found["tissue_agreement"] == scan.quality.tissue_agreement


def test_healthy_scans_are_in_distribution_but_for_about_one_in_twenty():
    verdicts = [judged(made_scan(seed), made_map(seed)).verdict for seed in range(100, 140)]
    assert "out of distribution" not in verdicts
    assert verdicts.count("unusual") <= 7


def test_p_values_of_the_appearance_are_honest():
    """Full conformal: over fresh banks and fresh healthy scans P(p <= 0.1) is 0.1, with few scans for many features."""
    random, hits, rounds = np.random.default_rng(5), 0, 250
    for _ in range(rounds):
        rows = random.normal(size=(20, 12)) @ np.diag(np.linspace(1.0, 3.0, 12))
        found = guard._mahalanobis_distance("appearance", rows[-1], rows[:-1], "")
        hits += found.score.p <= 0.1 + 1e-9
    assert hits / rounds == pytest.approx(0.1, abs=3.5 * np.sqrt(0.09 / rounds))


def test_a_lesion_raises_the_scores_but_not_the_verdict():
    scan, anomaly = made_scan(200), made_map(200)
    before = judged(scan, anomaly)
    anomaly[8:12, 8:12, 8:12] = 9.0
    after = judged(scan, anomaly)
    assert (before.verdict, after.verdict) == ("in distribution", "in distribution")
    p = {score.name: score.p for score in after.scores}
    assert p["max_anomaly"] == p["top_anomaly"] == pytest.approx(1 / 26)
    assert min(score.p for score in before.scores) > 1 / 26


def test_another_contrast_is_out_of_distribution_even_if_nobody_named_it():
    flair = made_scan(0, gray=1.2, fluid=0.4, contrast="FLAIR")
    named = judged(flair, made_map(0))
    assert named.verdict == "out of distribution"
    assert named.reasons[0] == "The scan looks like FLAIR; the detector knows T1w."
    unnamed = judged(flair, made_map(0), replace(BANK, contrasts=()))
    assert unnamed.verdict == "out of distribution"
    assert any("Gray matter is brighter" in reason for reason in unnamed.reasons)
    assert any("histogram" in reason for reason in unnamed.reasons)


def test_a_given_contrast_counts_where_the_intensities_leave_doubts():
    unsure = made_scan(201, contrast="unknown", given="T1w")
    assert not any("contrast" in reason for reason in judged(unsure, made_map(201)).reasons)
    other = judged(made_scan(201, given="T2w"), made_map(201))
    assert other.verdict == "out of distribution"
    assert other.reasons[0] == "The scan was given as T2w; the detector knows T1w."
    lied = judged(made_scan(0, gray=1.2, fluid=0.4, contrast="FLAIR", given="T1w"), made_map(0))
    assert lied.verdict == "out of distribution"


def test_an_unsure_contrast_is_unusual():
    scan = made_scan(201, contrast="unknown")
    assert judged(scan, made_map(201)).verdict == "unusual"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda scan: {"brain_mask": scan.brain_mask & (np.arange(20)[:, None, None] < 10)}, "smaller"),
        (lambda scan: {"image": (scan.image**3).astype(np.float32)}, "Gray matter is darker"),
        (lambda scan: {"quality": replace(scan.quality, mask_overlap=0.6)}, "outline"),
        (lambda scan: {"quality": replace(scan.quality, tissue_agreement=0.01)}, "tissues agree less"),
        (lambda scan: {"image": np.full(SHAPE, np.nan, dtype=np.float32)}, "not finite"),
    ],
)
def test_spoiled_scans_are_out_of_distribution_for_a_plain_reason(harm, words):
    scan = made_scan(202)
    found = judged(replace(scan, **harm(scan)), made_map(202))
    assert found.verdict == "out of distribution"
    assert any(words in reason for reason in found.reasons)


def test_a_map_that_is_high_all_over_is_told():
    found = judged(made_scan(203), made_map(203) * 4.0)
    assert found.verdict == "out of distribution"
    assert any("higher all over the brain" in reason for reason in found.reasons)


@pytest.mark.parametrize(("verdict", "expected"), [("doubtful", "unusual"), ("failed", "out of distribution")])
def test_the_alignment_counts(verdict, expected):
    scan = made_scan(204)
    quality = replace(scan.quality, verdict=verdict, reason="The brain is turned.")
    found = judged(replace(scan, quality=quality), made_map(204))
    assert found.verdict == expected
    assert found.reasons[0] == f"Alignment with the template is {verdict}: The brain is turned."


def test_few_healthy_scans_give_no_p_values_but_still_a_verdict():
    bank = made_bank(8)
    healthy = judged(made_scan(205), made_map(205), bank)
    foreign = judged(made_scan(205, gray=1.3, fluid=2.0), made_map(205), bank)
    assert all(score.p is None and "needs 19" in score.reason for score in healthy.scores)
    assert (healthy.verdict, foreign.verdict) == ("in distribution", "out of distribution")


@pytest.mark.parametrize("scans", [1, 2])
def test_one_or_two_healthy_scans_leave_contrast_and_alignment(scans):
    bank = made_bank(scans)
    assert judged(made_scan(206), made_map(206), bank).verdict == "in distribution"
    assert judged(made_scan(206, contrast="T2w"), made_map(206), bank).verdict == "out of distribution"


@pytest.mark.parametrize(
    ("unexplained", "expected"),
    [(0.12, "in distribution"), (0.15, "in distribution"), (0.19, "unusual"), (0.4, "out of distribution")],
)
def test_what_the_scans_own_structures_explain_decides_where_it_is_known(unexplained, expected):
    scores = {**BANK.scores, guard.UNEXPLAINED: np.linspace(0.11, 0.14, BANK.scans)}
    bank = replace(BANK, scores=scores)
    scan, anomaly = made_scan(99), made_map(99)
    other = replace(scan, image=scan.image**1.3)
    assert judged(other, anomaly).verdict != "in distribution"
    verdict = guard.assess(other, anomaly, {guard.UNEXPLAINED: unexplained}, bank)
    assert verdict.verdict == expected
    told = [reason for reason in verdict.reasons if "calibrate on healthy scans of this scanner" in reason]
    assert len(told) == (expected != "in distribution")
    if told:
        assert f"explain {1.0 - unexplained:.0%} of it, 88% of healthy scans" in told[0]


def test_codes_of_the_network_are_compared_too():
    codes = np.random.default_rng(7).normal(size=(25, 6))
    bank = replace(BANK, latents=codes)
    near, far = (judged(made_scan(207), made_map(207), bank, latent=code) for code in (np.zeros(6), np.full(6, 50.0)))
    assert (near.verdict, far.verdict) == ("in distribution", "out of distribution")
    assert "latent" in {score.name for score in near.scores}
    assert "latent" not in {score.name for score in judged(made_scan(207), made_map(207), bank).scores}


def test_scores_without_a_bank_or_a_number_say_so():
    scores = {"likelihood": 3.0, "max_anomaly": float("nan")}
    found = {score.name: score for score in assess(made_scan(208), made_map(208), scores, BANK).scores}
    assert found["likelihood"].p is None
    assert "no healthy values" in found["likelihood"].reason
    assert "not a finite" in found["max_anomaly"].reason


def test_the_verdict_travels_as_json():
    found = judged(made_scan(0, contrast="FLAIR"), made_map(0)).to_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["scans"] == 25
    assert again["verdict"] == "out of distribution"
    assert {"name", "value", "p", "reason"} == set(again["scores"][0])


def test_a_bank_survives_its_tensors():
    bank = replace(BANK, latents=np.ones((25, 2)))
    again = bank_from_tensors(bank.tensors(), bank.entries(), ("T1w",))
    np.testing.assert_allclose(again.features, bank.features, rtol=1e-6)
    np.testing.assert_allclose(again.scores["top_anomaly"], bank.scores["top_anomaly"], rtol=1e-6)
    assert again.latents.shape == (25, 2)
    assert set(bank.tensors()) == {"guard_features", "guard_latents"} | {f"scan_score_{name}" for name in bank.scores}


def test_no_bank_or_one_of_other_features_is_none():
    assert bank_from_tensors({}, {}) is None
    assert bank_from_tensors(BANK.tensors(), {"guard_features": ["of yesterday"]}) is None


# The guard on real scans

T1W = [FOLDER / "ds002748_t1_brain_2mm" / f"sub-{number:02d}_T1w.nii.gz" for number in range(1, 6)]
FLAIR = FOLDER / "mslub_ms" / "patient19" / "patient19_FLAIR_MNI_brain.nii.gz"


@needs("ds002748_t1_brain_2mm")
@needs("mslub_ms", "patient19")
def test_a_real_flair_is_foreign_to_a_t1w_bank_and_a_held_out_t1w_is_not():
    recipe = Recipe(grid="template_2mm", bias_correction=False)
    scans = [prepare(read_scan(path), recipe) for path in (*T1W, FLAIR)]
    maps = [np.abs(scan.image - scan.template.brain).astype(np.float32) for scan in scans]
    features = np.stack([scan_features(*pair) for pair in zip(scans[:4], maps[:4], strict=True)])
    bank = GuardBank(features, {}, ("T1w",))
    assert assess(scans[4], maps[4], {}, bank).verdict == "in distribution"
    found = assess(scans[5], maps[5], {}, bank)
    assert found.verdict == "out of distribution"
    assert found.reasons[0] == "The scan looks like FLAIR; the detector knows T1w."
    blind = assess(scans[5], maps[5], {}, replace(bank, contrasts=()))
    assert blind.verdict == "out of distribution"
