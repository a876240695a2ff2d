"""How far a scan's intensities are from those of healthy scans at the same place."""

import numpy as np
import pytest

from BrainAnomalyLib.scoring.normative_intensity import deviation_map
from BrainAnomalyTrainingLib.calibrate.healthy_fits import normative_intensity

SHAPE = (40, 48, 36)


def healthy(seed):
    """Dark in front, bright behind; brightness differs by 10 % between scans in front, by 2 % behind."""
    random = np.random.default_rng(seed)
    image = np.empty(SHAPE, dtype=np.float32)
    image[:, :24], image[:, 24:] = 0.7 + 0.1 * random.standard_normal(), 1.0 + 0.02 * random.standard_normal()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:36, 4:44, 4:32] = True
    return np.where(mask, image, 0.0).astype(np.float32), mask


@pytest.fixture(scope="module")
def normal():
    return normative_intensity(healthy(seed) for seed in range(40))


def test_mean_and_deviation_are_those_of_the_place(normal):
    assert normal.mean.shape == normal.deviation.shape == tuple(size // 2 for size in SHAPE)
    assert normal.mean[10, 6, 9] == pytest.approx(0.7, abs=0.04)
    assert normal.mean[10, 18, 9] == pytest.approx(1.0, abs=0.01)
    assert 0.07 < normal.deviation[10, 6, 9] < 0.14
    assert 0.03 < normal.deviation[10, 18, 9] < 0.045


def test_a_lesion_stands_out_where_healthy_brains_are_alike_even_with_another_tissues_brightness(normal):
    image, mask = healthy(100)
    image[18:22, 32:36, 16:20] = 0.7
    image[18:22, 12:16, 16:20] = 0.85
    found = deviation_map(image, mask, normal)
    assert found[20, 34, 18] > 4.0
    assert found[20, 34, 18] > 2.0 * found[20, 14, 18]
    assert (found[~mask] == 0).all()


def test_a_healthy_scan_deviates_by_about_one(normal):
    image, mask = healthy(200)
    assert 0.1 < np.sqrt(np.mean(deviation_map(image, mask, normal)[mask] ** 2)) < 2.5


def test_a_place_without_healthy_brain_gives_finite_values(normal):
    everywhere = np.ones(SHAPE, dtype=bool)
    assert np.isfinite(deviation_map(np.ones(SHAPE, dtype=np.float32), everywhere, normal)).all()
