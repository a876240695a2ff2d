"""Every metric against numbers worked out by hand, or against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from BrainAnomalyLib.evaluation.bootstrap import PooledCounts, estimate_mean
from BrainAnomalyLib.evaluation.healthy import clopper_pearson, rate_thresholds, reconstruction_health, uniformity
from BrainAnomalyLib.evaluation.lesions import froc_part, froc_points, lesion_counts
from BrainAnomalyLib.evaluation.scan import EvaluatedScan
from BrainAnomalyLib.evaluation.slices import slice_counts, slice_metrics
from BrainAnomalyLib.evaluation.summary import summarize
from BrainAnomalyLib.evaluation.voxels import (
    auroc,
    auroc_with_background,
    average_precision,
    best_threshold,
    bisected_threshold,
    dice,
    fixed_grid,
    found_mask,
    linear_grid,
    pooled,
    quantile_grid,
    ranking,
    trapezoid_auprc,
)

SHAPE = (12, 12, 12)


def scan_of(anomaly: np.ndarray, truth: np.ndarray, subject: str = "one", voxel_mm3: float = 1.0) -> EvaluatedScan:
    return EvaluatedScan(subject, anomaly.astype(np.float32), truth, np.ones(anomaly.shape, dtype=bool), voxel_mm3)


def blank() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool)


def values_of(scans: list[EvaluatedScan], source: str = "") -> dict[str, float]:
    """What the table says, by metric: with the threshold from ``source``, or without one."""
    rows = summarize(scans, bootstrap=0)
    return {row.metric: row.estimate.value for row in rows if not source or row.threshold_source == source}


def two_scans() -> list[EvaluatedScan]:
    """27 lesion voxels of score 5 beside 20 healthy ones of score 5; 12 lesion voxels of score 3."""
    anomaly, truth = blank()
    truth[1:4, 1:4, 1:4] = True
    anomaly[truth] = 5.0
    anomaly[6:11, 6:10, 8] = 5.0
    other, small = blank()
    small[2:4, 2:4, 2:5] = True
    other[small] = 3.0
    return [scan_of(anomaly, truth), scan_of(other, small, "two")]


def test_average_precision_and_auroc_by_hand() -> None:
    # Scores 4+ 3- 2+ 1-: AP = 1/2 * 1 + 1/2 * 2/3; of the 4 pairs 3 are in order.
    ranked = ranking(np.array([True, False, True, False]), np.array([4.0, 3.0, 2.0, 1.0]))
    assert average_precision(ranked) == pytest.approx(5.0 / 6.0)
    assert auroc(ranked) == pytest.approx(0.75)
    # Trapezoids through (0, 1), (.5, 1), (.5, .5), (1, 2/3): 1/2 + 1/2 * (1/2 + 2/3) / 2.
    assert trapezoid_auprc(ranked) == pytest.approx(0.5 + 7.0 / 24.0)


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_ranking_agrees_with_scikit_learn_whatever_the_ties(levels: int) -> None:
    random = np.random.default_rng(levels)
    truth = random.random(3000) < 0.1
    scores = np.floor(levels * (random.random(3000) + 0.3 * truth))
    ranked = ranking(truth, scores)
    precision, recall, _ = reference.precision_recall_curve(truth, scores)
    assert average_precision(ranked) == pytest.approx(reference.average_precision_score(truth, scores))
    assert auroc(ranked) == pytest.approx(reference.roc_auc_score(truth, scores))
    assert trapezoid_auprc(ranked) == pytest.approx(reference.auc(recall, precision))


def test_without_lesions_there_is_no_precision() -> None:
    ranked = ranking(np.zeros(3, dtype=bool), np.arange(3.0))
    assert np.isnan([average_precision(ranked), trapezoid_auprc(ranked), auroc(ranked)]).all()


def test_background_inflates_the_auroc_as_the_formula_says() -> None:
    random = np.random.default_rng(1)
    truth = np.append(random.random(500) < 0.2, np.zeros(1500, dtype=bool))
    scores = np.append(1.0 + random.random(500) + 0.2 * truth[:500], np.zeros(1500))
    negatives = int((~truth[:500]).sum())
    whole, fraction = auroc_with_background(auroc(ranking(truth[:500], scores[:500])), negatives, 1500)
    assert fraction == pytest.approx(negatives / (negatives + 1500))
    assert whole == pytest.approx(reference.roc_auc_score(truth, scores))


@pytest.mark.parametrize(("name", "grid"), [("linear", linear_grid), ("quantile", quantile_grid)])
def test_best_dice_of_two_scans_without_and_with_the_component_rule(name: str, grid) -> None:
    scans = two_scans()
    truth, scores = pooled(scans)
    threshold, raw = best_threshold(ranking(truth, scores), grid(scores))
    # Below 3: 39 hits, 59 found, 39 true. Then the 20 healthy voxels go, and so does the lesion of 12.
    assert threshold < 3.0
    assert raw == pytest.approx(2 * 39 / (59 + 39))
    assert values_of(scans)[f"best Dice, {name} grid"] == pytest.approx(2 * 27 / (27 + 39))


def test_the_component_rule_is_a_volume() -> None:
    anomaly, truth = blank()
    anomaly[:5, :4, 0], truth[:5, :4, 0] = 1.0, True
    small, large = (values_of([scan_of(anomaly, truth, voxel_mm3=volume)]) for volume in (1.0, 2.0))
    assert (small["best Dice, linear grid"], large["best Dice, linear grid"]) == (0.0, 1.0)


def test_fixed_grid_and_bisection_find_the_optimum_of_a_unimodal_curve() -> None:
    scores = np.linspace(0.0, 1.0, 1001)
    ranked = ranking(scores > 0.7, scores)
    assert best_threshold(ranked, fixed_grid())[1] == pytest.approx(1.0, abs=0.01)
    threshold, value = bisected_threshold(ranked, 0.0, 1.0)
    assert threshold == pytest.approx(0.7, abs=0.01)
    assert value > 0.98


def test_dice_of_nothing() -> None:
    empty, full = np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)
    assert np.isnan(dice(empty, empty))
    assert dice(empty, full) == 0.0
    assert dice(full, empty) == 0.0


def test_pooling_favors_large_lesions() -> None:
    anomaly, truth = blank()
    truth[:10, :10, 0] = True
    anomaly[truth] = 1.0
    missed, small = blank()
    small[:5, :2, 0] = True
    scans = [scan_of(anomaly, truth), scan_of(missed, small, "two")]
    seen = values_of(scans, "oracle-dataset")
    assert seen["best Dice, linear grid"] == pytest.approx(200.0 / 210.0)
    assert seen["Dice per scan"] == 0.5


def lesions() -> EvaluatedScan:
    """A lesion of 100 voxels hit by 10, one of 30 hit by 2, one missed, a false finding of 24; minimum size 0."""
    anomaly, truth = blank()
    truth[:10, :10, 0] = True
    truth[:5, :6, 4] = True
    truth[0, 0, 8] = True
    anomaly[:10, 0, 0] = 1.0
    anomaly[:2, 0, 4] = 1.0
    anomaly[6:12, 8:12, 11] = 1.0
    return scan_of(anomaly, truth, voxel_mm3=10.0)


def test_lesions_by_ten_percent_and_by_any_voxel() -> None:
    counts = lesion_counts(lesions(), 0.5, 0.0)
    assert (counts.recall(), counts.recall(0.0)) == pytest.approx((1 / 3, 2 / 3))
    assert counts.precision() == pytest.approx(2 / 3)
    assert counts.f1() == pytest.approx(2 * (1 / 3) * (2 / 3) / 1.0)
    assert counts.false_findings() == 1.0


def test_lesions_by_size() -> None:
    seen = values_of([lesions(), lesions()], "oracle-dataset")
    # 1000, 300 and 10 mm3: the first counts among 1 to 10 mL.
    assert [seen[f"lesions hit, {size} mL (n = 2)"] for size in ("0-0.1", "0.1-1", "1-10")] == [0.0, 0.0, 1.0]
    assert np.isnan(seen["lesions hit, >10 mL (n = 0)"])
    assert seen["false findings per scan"] == 1.0


def test_froc_counts_false_findings_per_scan() -> None:
    anomaly, truth = blank()
    truth[:3, :3, :3] = True
    anomaly[truth] = 1.0
    anomaly[8:11, 8:11, 8:11] = 2.0
    curve = froc_part(froc_points([scan_of(anomaly, truth)], [0.0]), np.ones(1))
    # The only false finding outranks the lesion: none of it at half a false finding, all of it at one.
    assert curve == {0.5: 0.0, 1.0: 1.0, 2.0: 1.0, 4.0: 1.0, 8.0: 1.0}


def slices() -> EvaluatedScan:
    """Four slices with sums 144, 288, 432 and 720; the last two hold lesions."""
    anomaly = np.broadcast_to(np.array([1.0, 2.0, 3.0, 5.0]), (12, 12, 4)).copy()
    truth = np.zeros((12, 12, 4), dtype=bool)
    truth[:3, :3, 2:] = True
    return scan_of(anomaly, truth)


def test_slices_in_both_conventions() -> None:
    seen = slice_metrics([slices()])
    assert (seen.slices, seen.prevalence, seen.auroc) == (4, 0.5, 1.0)
    assert (seen.ap_abnormal, seen.auprc_normal) == (1.0, 1.0)


def test_slice_sensitivity_and_specificity() -> None:
    # Slices hit of those with a lesion, slices spared of those without.
    assert slice_counts(slices(), 4.0) == (1, 2, 2, 2)
    assert slice_counts(slices(), 0.5) == (2, 2, 0, 2)


def test_a_constant_map_ranks_no_slice() -> None:
    truth = np.zeros((12, 12, 4), dtype=bool)
    truth[0, 0, 0] = True
    seen = slice_metrics([scan_of(np.full((12, 12, 4), 2.0), truth)])
    assert seen.auroc == 0.5
    assert seen.ap_abnormal == seen.prevalence == 0.25


def test_a_higher_threshold_never_finds_more_on_healthy_scans() -> None:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(2).random((24, 24, 24)), 1.5)
    healthy = scan_of(noise / noise.max(), np.zeros(noise.shape, dtype=bool))
    volumes = [healthy.ml(found_mask(healthy, threshold)) for threshold in np.linspace(0.0, 1.0, 21)]
    assert volumes == sorted(volumes, reverse=True)
    assert volumes[0] > volumes[-1] == 0.0


def test_false_positives_per_scan() -> None:
    anomaly, truth = blank()
    anomaly[:3, :3, :3] = 1.0
    scans = [scan_of(anomaly, truth, voxel_mm3=100.0), scan_of(np.zeros(SHAPE), truth, "two")]
    seen = values_of([replace(scan, threshold=0.5) for scan in scans], "package default")
    assert (seen["healthy scans: mL of findings"], seen["healthy scans: findings"]) == (1.35, 0.5)
    assert seen["healthy scans with more than 1 mL (Clopper-Pearson)"] == 0.5


def test_thresholds_by_rate_keep_their_promise_where_they_were_made() -> None:
    scan = scan_of(np.arange(1728.0).reshape(SHAPE), np.zeros(SHAPE, dtype=bool))
    thresholds = rate_thresholds([scan])
    assert thresholds[0.1] == pytest.approx(1727 * 0.9)
    for rate, threshold in thresholds.items():
        assert np.mean(scan.anomaly > threshold) == pytest.approx(rate, abs=1 / 1728)


def test_clopper_pearson_by_hand() -> None:
    assert clopper_pearson(0, 19) == pytest.approx((0.0, 1.0 - 0.025 ** (1 / 19)))
    assert clopper_pearson(19, 19) == pytest.approx((0.025 ** (1 / 19), 1.0))


def test_uniformity_by_hand() -> None:
    assert uniformity(np.array([0.5])) == pytest.approx(0.5)
    assert uniformity((np.arange(100) + 0.5) / 100) == pytest.approx(0.005)


def test_reconstruction_is_judged_on_healthy_tissue() -> None:
    anomaly, truth = np.ones(SHAPE), np.zeros(SHAPE, dtype=bool)
    truth[:2], anomaly[:2] = True, 3.0
    image = np.full(SHAPE, 10.0, dtype=np.float32)
    wrong = np.where(truth, 0.0, 9.0).astype(np.float32)
    brain = np.ones(SHAPE, dtype=bool)
    seen = reconstruction_health(EvaluatedScan("one", anomaly, truth, brain, 1.0, image, wrong))
    assert seen is not None
    assert (seen.l1, seen.psnr, seen.lesion_contrast) == pytest.approx((1.0, 20.0, 3.0))
    perfect = reconstruction_health(EvaluatedScan("one", anomaly, truth, brain, 1.0, image, image))
    assert perfect is not None
    assert (perfect.l1, perfect.ssim) == pytest.approx((0.0, 1.0))


def test_intervals_come_from_subjects() -> None:
    seen = estimate_mean([0.2, 0.4, float("nan"), 0.6])
    assert (seen.value, seen.subjects) == (pytest.approx(0.4), 3)
    assert 0.2 <= seen.low < 0.4 < seen.high <= 0.6
    assert estimate_mean([0.2, 0.4, 0.6], seed=3) == estimate_mean([0.2, 0.4, 0.6], seed=3)
    assert np.isnan(estimate_mean([0.5]).low)


def test_binned_counts_agree_with_the_exact_metric() -> None:
    random = np.random.default_rng(5)
    scans = []
    for index in range(5):
        truth = np.zeros(SHAPE, dtype=bool)
        truth[2:6, 2:6, 2 + index : 5 + index] = True
        scans.append(scan_of(random.random(SHAPE) + 0.5 * truth, truth, str(index)))
    counts, ranked = PooledCounts(scans), ranking(*pooled(scans))
    once = np.ones(5, dtype=np.int64)
    assert counts.average_precision(once) == pytest.approx(average_precision(ranked), abs=0.01)
    assert counts.auroc(once) == pytest.approx(auroc(ranked), abs=0.002)
