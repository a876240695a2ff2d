"""How high a map is in healthy brains, place by place."""

import numpy as np

from BrainAnomalyLib.scoring.normal_level import covered, on_grid, relative, smoothed_inside
from BrainAnomalyTrainingLib.calibrate.healthy_fits import normal_level

SHAPE = (48, 56, 40)


def healthy_scans(count=10):
    """Maps of random values that are twice as high on the right; brains that end at different heights."""
    random = np.random.default_rng(0)
    for index in range(count):
        values = random.exponential(size=SHAPE).astype(np.float32)
        values[24:] *= 2.0
        mask = np.zeros(SHAPE, dtype=bool)
        mask[4:44, 4:52, 4 : 20 + 2 * index] = True
        yield {"map": values}, mask


def test_a_map_that_is_high_in_every_healthy_brain_comes_down_by_the_root_of_that():
    found = normal_level(healthy_scans())
    assert found.levels["map"].shape == found.coverage.shape == (24, 28, 20)
    values = np.ones(SHAPE, dtype=np.float32)
    seen = relative(values, found.levels["map"])
    left, right = seen[8:16, 20:36, 8:16].mean(), seen[32:40, 20:36, 8:16].mean()
    assert np.isclose(left / right, 2.0**0.5, rtol=0.05)


def test_the_level_is_about_one_where_a_map_is_the_same_everywhere():
    maps = [({"map": np.full(SHAPE, height, dtype=np.float32)}, np.ones(SHAPE, dtype=bool)) for height in (1.0, 3.0)]
    np.testing.assert_allclose(normal_level(maps).levels["map"], 1.0, rtol=1e-5)


def test_values_outside_the_brain_and_unknown_ones_do_not_count():
    maps = {"map": np.ones(SHAPE, dtype=np.float32)}
    mask = np.zeros(SHAPE, dtype=bool)
    mask[8:40, 8:48, 8:32] = True
    maps["map"][~mask] = 1e6
    maps["map"][10, 10, 10] = np.nan
    level = normal_level([(maps, mask)]).levels["map"]
    assert np.isfinite(level).all()
    assert level.max() < 1.1


def test_a_place_that_few_healthy_brains_reach_is_not_covered():
    found = normal_level(healthy_scans())
    inside = covered(found.coverage, SHAPE)
    assert inside[24, 28, 10]
    assert inside[24, 28, 34]
    assert not inside[24, 28, 38]
    assert not inside[1, 28, 10]


def test_half_resolution_comes_back_in_its_place():
    half = np.arange(24, dtype=np.float32)[:, None, None] * np.ones((24, 28, 20), dtype=np.float32)
    full = on_grid(half, SHAPE)
    assert full.shape == SHAPE
    np.testing.assert_allclose(full[2:46, 30, 20], (np.arange(2, 46) - 0.5) / 2.0, atol=1e-4)


def test_smoothing_takes_nothing_from_outside_and_keeps_constants():
    inside = np.zeros(SHAPE, dtype=bool)
    inside[10:30, 10:30, 10:30] = True
    values = np.where(inside, 2.0, 50.0).astype(np.float32)
    made = smoothed_inside(values, inside, 1.2)
    np.testing.assert_allclose(made[inside], 2.0, rtol=1e-4)
    assert (made[~inside] == 0).all()
    values[20, 20, 20] = 30.0
    assert made[20, 20, 20] < smoothed_inside(values, inside, 1.2)[20, 20, 20] < 10.0
