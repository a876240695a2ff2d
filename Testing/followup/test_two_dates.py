"""Two dates compared: registered halfway, brought to one scale, and what differs told from noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from BrainAnomalyLib.followup.change_map import change_map
from BrainAnomalyLib.followup.halfway import halfway_space, inside_both
from BrainAnomalyLib.followup.one_scale import on_one_scale
from BrainAnomalyLib.io.geometry import apply_affine, inverse, regular_grid
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.pair_registration import BrainImage, halfway, nearest_rigid, register_pair
from BrainAnomalyLib.preparation.space.template import load_template

SHAPE = (60, 70, 60)
NOT_SAMPLED = np.zeros(SHAPE, dtype=np.float32)
LESION = (slice(20, 26), slice(30, 36), slice(28, 34))


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth textured ball of about 1, the same for every seed, with noise of its own."""
    axes = np.meshgrid(*[np.arange(size) - (size - 1) / 2 for size in SHAPE], indexing="ij")
    inside = sum((axis / (size * 0.45)) ** 2 for axis, size in zip(axes, SHAPE, strict=True)) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 3.0)
    image = 1.0 + 0.2 * texture / texture.std() + 0.03 * np.random.default_rng(seed).standard_normal(SHAPE)
    return np.where(inside, image, 0.0).astype(np.float32), inside


def test_another_gain_a_curve_and_a_drift_are_no_change() -> None:
    (now, inside), (before, _) = head(1), head(2)
    drift = 1.0 + 0.2 * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    first, second = on_one_scale(now, np.where(inside, 300.0 * before**1.3 * drift, 0.0), inside)
    assert np.abs(first - second)[inside].mean() < 0.06
    changes = change_map(first, second, NOT_SAMPLED, inside)
    assert np.quantile(np.abs(changes[inside]), 0.999) < 6.5


def test_a_lesion_that_came_stands_out_with_its_sign_and_both_orders_agree() -> None:
    (now, inside), (before, _) = head(1), head(2)
    now[LESION] += 0.6
    forth, back = (
        change_map(*on_one_scale(*pair, inside), NOT_SAMPLED, inside) for pair in ((now, before), (before, now))
    )
    assert forth[LESION].min() > 2.0
    assert forth[LESION].max() > 8.0
    assert np.allclose(forth, -back, atol=1e-3)


def test_what_came_does_not_bend_the_scale() -> None:
    (now, inside), (before, _) = head(1), head(2)
    plain, _ = on_one_scale(now, before, inside)
    now[LESION] += 0.6
    changed, _ = on_one_scale(now, before, inside)
    away = inside.copy()
    away[tuple(slice(side.start - 20, side.stop + 20) for side in LESION)] = False
    assert np.abs(plain - changed)[away].max() < 0.02


def turned(degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("xyz", (degrees, -degrees / 2, degrees / 3), degrees=True).as_matrix()
    found[:3, 3] = shift
    return found


def test_half_a_map_twice_is_the_map() -> None:
    whole = turned(12.0, (3.0, -8.0, 5.0))
    assert np.allclose(halfway(whole) @ halfway(whole), whole)


def test_the_nearest_rigid_map_leaves_a_rigid_one_and_takes_stretch_away() -> None:
    rigid = turned(7.0, (1.0, 2.0, 3.0))
    stretched = rigid @ np.diag([1.05, 0.97, 1.02, 1.0])
    center = (4.0, -10.0, 6.0)
    found = nearest_rigid(stretched, center)
    assert np.allclose(nearest_rigid(rigid, center), rigid)
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3))
    assert np.allclose(apply_affine(found, np.array([center])), apply_affine(stretched, np.array([center])))


@pytest.fixture(scope="module")
def pair() -> tuple[BrainImage, BrainImage, np.ndarray]:
    """The template brain, and the same one turned, on a grid of thicker slices and in another contrast."""
    template = load_template("template_2mm")
    onto = regular_grid((88, 100, 60), (2.0), (2.0, -15.0, 4.0))
    truth = turned(6.0, (4.0, -3.0, 2.0))
    image = resample((1.2 - template.brain).astype(np.float32), template.grid, onto, inverse(truth))
    mask = resample(template.brain_mask, template.grid, onto, inverse(truth))
    first = BrainImage(template.brain, template.brain_mask, template.grid)
    return first, BrainImage(np.where(mask, image, 0.0).astype(np.float32), mask, onto), truth


def test_two_contrasts_are_registered_to_a_fraction_of_a_voxel(pair: tuple[BrainImage, BrainImage, np.ndarray]) -> None:
    first, second, truth = pair
    found = register_pair(first, second, [np.eye(4)])
    points = first.grid.to_world(np.argwhere(first.mask)[::100])
    wrong = np.linalg.norm(apply_affine(found, points) - apply_affine(truth, points), axis=1)
    assert wrong.mean() < 0.5


def test_both_dates_meet_halfway(pair: tuple[BrainImage, BrainImage, np.ndarray]) -> None:
    first, second, truth = pair
    space = halfway_space(first, truth)
    both = inside_both(space, first, second)
    assert np.allclose(inverse(space.now_from_here) @ space.now_from_here, np.eye(4))
    assert np.allclose(space.before_from_here @ inverse(space.now_from_here), truth)
    assert space.grid.volume_ml(both) == pytest.approx(first.grid.volume_ml(first.mask), rel=0.12)
