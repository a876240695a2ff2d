"""Calibration on healthy scans: thresholds, expected false positives, what left-out scans get, in bounded memory."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from BrainAnomalyLib.evaluation.healthy import clopper_pearson
from BrainAnomalyLib.findings.components import connected_components
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyLib.packages.schema import fault
from BrainAnomalyLib.scoring.guard import FEATURE_NAMES, bank_from_tensors
from BrainAnomalyLib.scoring.residuals import cleaned
from BrainAnomalyTrainingLib.calibrate import calibration, calibration_statistics
from BrainAnomalyTrainingLib.calibrate.calibration import (
    RATES,
    CalibrationError,
    CohortCalibrator,
    available_presets,
    calibrate_maps,
    curve_thresholds,
    false_positive_ml,
    left_out_map,
)
from BrainAnomalyTrainingLib.calibrate.calibration_statistics import (
    HISTOGRAM_RELATIVE_ERROR,
    HealthyMaps,
    HealthyResidual,
    PooledQuantiles,
    ResidualSums,
    clustered_rate,
    counted_rate,
    histogram,
    histogram_quantile,
)
from made_package import make_package, metadata
from made_scans import made_map, made_scan

SHAPE = (24, 24, 24)
VOXEL_MM3 = 8.0


def smooth_map(seed: int, level: float = 1.0) -> np.ndarray:
    """A healthy map with blobs of several voxels, 0 outside of a ball."""
    from scipy import ndimage

    values = np.abs(ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.5))
    return np.where(ball(), level * 5.0 * values, 0.0).astype(np.float32)


def ball() -> np.ndarray:
    axes = np.meshgrid(*[np.arange(size) - 11.5 for size in SHAPE], indexing="ij")
    return np.sqrt(sum(axis**2 for axis in axes)) < 10.5


def cohort(scans: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(smooth_map(seed), ball()) for seed in range(scans)]


COHORT = cohort(12)
CALIBRATED = calibrate_maps(COHORT, VOXEL_MM3)


# Residual maps


def _residuals(count: int = 4) -> list[HealthyResidual]:
    return [HealthyResidual(smooth_map(seed), ball() & (np.arange(24) < 20 - seed)) for seed in range(count)]


def _summed(residuals: list[HealthyResidual]) -> ResidualSums:
    sums = ResidualSums()
    for residual in residuals:
        sums.add(residual)
    return sums


def test_the_rms_of_equal_residuals_is_the_residual():
    residuals = [HealthyResidual(np.full(SHAPE, 0.3, dtype=np.float32), np.ones(SHAPE, dtype=bool))] * 3
    np.testing.assert_allclose(_summed(residuals).rms(), 0.3, rtol=1e-5)


def test_the_rms_map_weighs_each_scan_alike():
    residuals = [HealthyResidual(np.full(SHAPE, v, dtype=np.float32), np.ones(SHAPE, dtype=bool)) for v in (0.1, 0.7)]
    np.testing.assert_allclose(_summed(residuals).rms(), math.sqrt((0.01 + 0.49) / 2), rtol=1e-5)


def test_leaving_one_scan_out_of_the_sums_is_never_having_added_it():
    residuals = _residuals()
    for index, residual in enumerate(residuals):
        others = _summed(residuals[:index] + residuals[index + 1 :]).rms()
        expected = cleaned((residual.absolute / np.maximum(others, 0.02)).astype(np.float32), residual.brain_mask)
        found = left_out_map(_summed(residuals), residual, 0.02)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "words"), [(0, "none"), (1, "only one")])
def test_too_few_scans_are_refused_in_plain_words(count, words, tmp_path):
    with pytest.raises(CalibrationError, match=f"at least 2 healthy scans.*{words}") as caught:
        calibrate_maps(COHORT[:count], VOXEL_MM3)
    assert "other subjects" in caught.value.remedy
    with pytest.raises(CalibrationError):
        CohortCalibrator(tmp_path).finish(("T1w",))


def test_one_scan_has_no_others_to_be_scaled_by():
    with pytest.raises(CalibrationError):
        left_out_map(_summed(_residuals(1)), _residuals(1)[0], 0.02)


# Quantiles in bounded memory


def test_quantiles_are_exact_while_memory_allows():
    pooled = PooledQuantiles()
    parts = [np.random.default_rng(seed).gamma(2.0, size=5000).astype(np.float32) for seed in range(3)]
    for part in parts:
        pooled.add(part)
    for rate in RATES:
        assert pooled.quantile(1 - rate) == float(np.quantile(np.concatenate(parts), 1 - rate))
    assert (pooled.relative_error, pooled.size, pooled.highest) == (0.0, 15_000, np.concatenate(parts).max())


def test_quantiles_beyond_that_are_off_by_no_more_than_stated():
    pooled, parts = PooledQuantiles(exact_values=6000), []
    for seed in range(4):
        parts.append(np.random.default_rng(seed).lognormal(0.0, 3.0, size=5000).astype(np.float32))
        pooled.add(parts[-1])
    assert pooled.relative_error == HISTOGRAM_RELATIVE_ERROR < 0.0005
    assert pooled._kept == []
    for rate in RATES:
        pool = np.concatenate(parts)
        low, high = (np.quantile(pool, 1 - rate, method=method) for method in ("lower", "higher"))
        error = HISTOGRAM_RELATIVE_ERROR
        assert low * (1 - error) <= pooled.quantile(1 - rate) <= high * (1 + error)


def test_the_histogram_counts_every_value_once_and_in_order():
    values = np.array([0.0, 1e-30, 0.5, 1.0, 1.0001, 2.0, 1e30], dtype=np.float32)
    assert histogram(values).sum() == len(values)
    middles = [histogram_quantile(histogram(values[index : index + 1]), 0.5) for index in range(len(values))]
    assert middles[0] == 0.0
    assert middles == pytest.approx(values.tolist(), rel=HISTOGRAM_RELATIVE_ERROR)


def test_maps_wait_in_files_and_come_back_one_at_a_time(tmp_path):
    maps = HealthyMaps(tmp_path)
    for pair in COHORT[:3]:
        maps.add(*pair)
    assert len(maps) == 3
    for _ in range(2):
        for (anomaly, mask), (stored, stored_mask) in zip(COHORT, maps, strict=False):
            np.testing.assert_array_equal(stored[stored_mask], anomaly[mask])
            assert stored.size < anomaly.size


# Thresholds


def test_thresholds_from_files_equal_those_from_memory(tmp_path):
    maps = HealthyMaps(tmp_path)
    for pair in COHORT:
        maps.add(*pair)
    assert calibrate_maps(maps, VOXEL_MM3) == CALIBRATED


def test_quantiles_leave_the_stated_part_of_the_brain_above():
    values = np.concatenate([anomaly[mask] for anomaly, mask in COHORT])
    for rate, threshold in CALIBRATED.quantiles.items():
        assert np.mean(values > threshold) == pytest.approx(rate, abs=2 / len(values))


def test_the_default_threshold_is_the_smallest_that_keeps_its_promise():
    def mean_ml(threshold: float) -> float:
        return float(np.mean([false_positive_ml(anomaly, threshold, VOXEL_MM3) for anomaly, _ in COHORT]))

    assert mean_ml(CALIBRATED.default_threshold) <= 1.0
    assert mean_ml(0.99 * CALIBRATED.default_threshold) > 1.0
    assert CALIBRATED.entries()["default_threshold"] >= CALIBRATED.default_threshold


def test_fewer_milliliters_allowed_mean_a_higher_threshold():
    allowed = [calibrate_maps(COHORT[:4], VOXEL_MM3, most_ml=most).default_threshold for most in (4.0, 1.0, 0.2)]
    assert allowed == sorted(allowed)
    assert len(set(allowed)) == 3


def test_expected_false_positives_fall_as_the_threshold_rises():
    thresholds, volumes = np.array(CALIBRATED.mean_ml_by_threshold).T
    assert 15 <= len(thresholds) <= 25
    assert (np.diff(thresholds) > 0.0).all()
    assert (np.diff(volumes) <= 0.0).all()
    assert volumes[0] > 1.0 > volumes[-1] == 0.0
    for place in (0, 7, 15):
        labels = [connected_components(anomaly > thresholds[place], VOXEL_MM3, 20.0) for anomaly, _ in COHORT]
        assert volumes[place] == pytest.approx(np.mean(np.count_nonzero(labels, axis=(1, 2, 3))) * VOXEL_MM3 / 1000.0)


def test_two_blobs_worked_out_by_hand():
    """A blob of 27 voxels of value 3 in one scan, one of 8 voxels of value 5 in the other; 8 mm3 voxels."""
    first, second = np.zeros((2, 12, 12, 12), dtype=np.float32)
    first[2:5, 2:5, 2:5], second[6:8, 6:8, 6:8] = 3.0, 5.0
    mask = np.ones(first.shape, dtype=bool)
    found = calibrate_maps([(first, mask), (second, mask)], VOXEL_MM3, most_ml=0.05)
    curve = dict(found.mean_ml_by_threshold)
    assert curve[min(curve)] == pytest.approx((27 + 8) * 8 / 1000 / 2)
    assert found.default_threshold == pytest.approx(3.0, abs=0.01)
    stricter = calibrate_maps([(first, mask), (second, mask)], VOXEL_MM3, most_ml=0.02)
    assert stricter.default_threshold == pytest.approx(5.0, abs=0.01)


def test_curve_thresholds_reach_from_the_quantile_to_the_maximum():
    thresholds = curve_thresholds(1.0, 8.0)
    assert (thresholds[0], thresholds[-1], len(thresholds)) == (1.0, 8.0, 20)
    assert curve_thresholds(0.0, 8.0)[0] == pytest.approx(0.008)
    assert curve_thresholds(8.0, 8.0).tolist() == [8.0]


def test_maps_without_meaning_are_refused():
    anomaly, mask = COHORT[0]
    for spoiled in (np.where(mask, np.nan, 0.0), np.where(mask, np.inf, 0.0)):
        with pytest.raises(CalibrationError, match="not finite"):
            calibrate_maps([COHORT[1], (spoiled.astype(np.float32), mask)], VOXEL_MM3)
    with pytest.raises(CalibrationError, match="empty brain mask"):
        calibrate_maps([COHORT[1], (anomaly, np.zeros_like(mask))], VOXEL_MM3)
    with pytest.raises(CalibrationError, match="are empty"):
        calibrate_maps([(np.zeros_like(anomaly), mask)] * 2, VOXEL_MM3)


# What left-out scans get


def test_realised_rates_are_those_of_scans_left_out():
    realised = CALIBRATED.realised["voxel_rates"]["0.05"]
    by_hand = []
    for index, (anomaly, mask) in enumerate(COHORT):
        others = np.concatenate([a[m] for place, (a, m) in enumerate(COHORT) if place != index])
        by_hand.append(float(np.mean(anomaly[mask] > np.quantile(others, 0.95))))
    assert realised["per_scan"] == pytest.approx(by_hand, abs=3e-4)
    assert realised["rate"] == pytest.approx(np.mean(by_hand), abs=3e-4)
    assert realised["low"] < 0.05 < realised["high"]


def test_another_scan_of_the_same_person_is_left_out_too():
    twice = [*COHORT[:5], (smooth_map(99, level=2.0), ball()), (smooth_map(99, level=2.0), ball())]
    names = [*"abcde", "f", "f"]
    apart = calibrate_maps(twice, VOXEL_MM3).realised["voxel_rates"]["0.01"]["per_scan"]
    together = calibrate_maps(twice, VOXEL_MM3, subjects=names).realised["voxel_rates"]["0.01"]["per_scan"]
    alone = calibrate_maps(twice[:6], VOXEL_MM3).realised["voxel_rates"]["0.01"]["per_scan"]
    assert together[-1] == pytest.approx(alone[-1])
    assert together[-1] > 2 * apart[-1]


def test_another_residual_of_the_same_person_does_not_scale_a_map():
    residuals = _residuals()
    found = left_out_map(_summed(residuals), residuals[0], 0.02, False, residuals[1:2])
    others = _summed(residuals[2:]).rms()
    np.testing.assert_allclose(found, residuals[0].absolute / np.maximum(others, 0.02), rtol=1e-4, atol=1e-5)
    with pytest.raises(CalibrationError):
        left_out_map(_summed(residuals), residuals[0], 0.02, False, residuals[1:])


def test_an_odd_scan_shows_in_the_realised_rates():
    odd = [*COHORT[:5], (smooth_map(99, level=2.0), ball())]
    realised = calibrate_maps(odd, VOXEL_MM3).realised
    rates = realised["voxel_rates"]["0.01"]["per_scan"]
    assert rates[-1] > 5 * max(rates[:-1])
    volumes = realised["default_threshold"]["ml_per_scan"]
    assert volumes[-1] == max(volumes) > 1.0
    assert realised["default_threshold"]["scans_over_limit"]["rate"] >= 1 / 6


def test_the_interval_is_clopper_and_pearsons():
    for successes, trials in ((0, 20), (3, 20), (20, 20)):
        expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
        assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high))
    assert counted_rate(3, 20).rate == 0.15


def test_intervals_over_scans_cover_the_true_rate():
    """Rates of 12 scans vary with a beta distribution of mean 0.05; 95 % intervals hold the truth about that often."""
    random, hits, rounds = np.random.default_rng(8), 0, 400
    for _ in range(rounds):
        found = clustered_rate(random.beta(2.0, 38.0, size=12))
        hits += found.low <= 0.05 <= found.high
    assert 0.90 <= hits / rounds <= 1.0
    assert clustered_rate([0.05] * 12).low < 0.05 < clustered_rate([0.05] * 12).high


def test_independent_voxels_give_the_plain_interval():
    """Many scans of 1000 independent voxels each: the effective number is close to all of them."""
    rates = np.random.default_rng(9).binomial(1000, 0.05, size=400) / 1000
    found, plain = clustered_rate(rates), clopper_pearson(rates.sum() * 1000, 400_000)
    assert (found.low, found.high) == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize(
    ("scans", "available"), [(2, []), (8, []), (9, ["0.1"]), (19, ["0.1", "0.05"]), (99, ["0.1", "0.05", "0.01"])]
)
def test_presets_say_what_so_many_scans_allow(scans, available):
    presets = available_presets(scans)
    assert [level for level, entry in presets["scan_levels"].items() if entry["available"]] == available
    assert presets["scan_levels"]["0.05"]["needed_scans"] == 19
    assert all(entry["available"] for entry in presets["voxel_rates"].values())


# The whole calibration of a package


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    calibrator = CohortCalibrator(tmp_path_factory.mktemp("maps"))
    for seed in range(5):
        anomaly = made_map(seed)
        anomaly[4:7, 9:12, 9:12] += seed
        calibrator.add(made_scan(seed), anomaly, {"likelihood": float(seed)}, np.full(3, float(seed)))
    return calibrator.finish(("T1w",), site="Hospital A")


def test_a_cohort_calibration_goes_into_a_package_and_comes_back(finished, tmp_path):
    import torch

    entries = json.loads(json.dumps(finished.entries(), allow_nan=False))
    assert fault(metadata(calibration=entries)) == ""
    assert entries["site"] == "Hospital A"
    assert "5 held-out healthy scans of Hospital A" in entries["default_source"]
    assert entries["scan_scores"] == ["mean_anomaly", "max_anomaly", "top_anomaly", "likelihood"]
    tensors = {name: torch.from_numpy(values) for name, values in finished.tensors().items()}
    assert tensors["healthy_slice_means"].shape == (5, 20)
    package = make_package(tmp_path / "package", calibration=entries)
    from BrainAnomalyLib.packages.read import write_package

    written = write_package(tmp_path / "whole", package.metadata, package.weights(), tensors, "# card", "CC0")
    stored = {name: value.numpy() for name, value in read_package(written.folder).calibration().items()}
    bank = bank_from_tensors(stored, entries, ("T1w",))
    assert bank is not None
    assert (bank.scans, bank.contrasts, bank.latents.shape) == (5, ("T1w",), (5, 3))
    assert bank.features.shape == (5, len(FEATURE_NAMES))
    assert bank.scores["likelihood"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_score_that_some_scans_lack_is_left_out(tmp_path):
    calibrator = CohortCalibrator(tmp_path)
    for seed, scores in enumerate(({"a": 1.0, "b": 2.0}, {"a": float("nan"), "b": 1.0}, {"b": 3.0})):
        calibrator.add(made_scan(seed), made_map(seed), scores)
    bank = calibrator.finish(("T1w",)).bank
    assert set(bank.scores) == {"mean_anomaly", "max_anomaly", "top_anomaly", "b"}
    assert bank.latents is None


def test_the_curve_is_not_read_from_all_maps_at_once(tmp_path, monkeypatch):
    """With room for fewer voxels than one cohort has, nothing but the stated error changes."""
    monkeypatch.setattr(calibration, "PooledQuantiles", lambda: PooledQuantiles(exact_values=1000))
    found = calibrate_maps(COHORT, VOXEL_MM3)
    assert found.quantile_relative_error == calibration_statistics.HISTOGRAM_RELATIVE_ERROR
    for rate, threshold in found.quantiles.items():
        assert threshold == pytest.approx(CALIBRATED.quantiles[rate], rel=2 * HISTOGRAM_RELATIVE_ERROR)
    assert found.default_threshold == pytest.approx(CALIBRATED.default_threshold, rel=0.001)


def test_sums_need_two_volumes_however_many_scans_come():
    sums = ResidualSums()
    for residual in _residuals():
        sums.add(residual)
    assert sums.scans == 4
    assert [part.shape for part in sums._sums] == [SHAPE] * 2
