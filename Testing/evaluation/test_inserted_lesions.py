"""Lesions written into healthy scans: where they lie, how bright they are, what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from BrainAnomalyLib.io.geometry import regular_grid
from BrainAnomalyLib.io.volumes import write_volume
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from family_proof import on_template
from inserted_lesions import insert_lesion, insert_scattered, lesion_shapes

RECIPE = Recipe(grid="template_2mm")


@pytest.fixture(scope="module")
def healthy():
    template = load_template("template_2mm")
    image = 0.7 * template.gray_matter + template.white_matter + 0.3 * template.cerebrospinal_fluid
    return on_template(image.astype(np.float32), template.brain_mask, RECIPE)


@pytest.fixture
def shapes(tmp_path):
    """Small balls right of the midline on a 1 mm grid, and one that is too large to scatter."""
    folder = tmp_path / "Läsionen"
    folder.mkdir()
    grid = regular_grid((100, 100, 100), 1.0, (0.0, -10.0, 20.0))
    voxels = np.stack(np.meshgrid(*[np.arange(100)] * 3, indexing="ij"), axis=-1)
    small = [((25.0, -20.0 + 4.0 * n, 28.0), 4.0) for n in range(6)]
    for index, (center, radius) in enumerate([*small, ((0.0, 0.0, 20.0), 30.0)]):
        place = grid.to_index(np.array([center]))[0]
        ball = np.linalg.norm(voxels - place, axis=-1) < radius
        write_volume(folder / f"shape{index}.nii.gz", ball.astype(np.uint8), grid)
    return lesion_shapes(folder)


def test_scattered_lesions_lie_in_white_matter_on_both_sides(healthy, shapes):
    case = insert_scattered(healthy, shapes, 0.4, np.random.default_rng(0))
    middle = case.lesion.shape[0] // 2
    left, right = case.lesion[:middle].sum(), case.lesion[middle:].sum()
    assert min(left, right) > 10
    assert (healthy.template.white_matter[case.lesion] > 0.4).all()
    assert case.volume_ml == pytest.approx(case.lesion.sum() * 0.008)
    assert case.volume_ml < 6 * 4.0


def test_scattered_lesions_are_brighter_and_the_rest_is_as_it_was(healthy, shapes):
    case = insert_scattered(healthy, shapes, 0.4, np.random.default_rng(0))
    change = case.prepared.image - healthy.image
    assert change[case.lesion].mean() > 0.15
    assert change.min() >= 0.0
    far = change[~case.lesion]
    assert np.quantile(far, 0.99) < 0.02


def test_the_same_seed_scatters_the_same_lesions(healthy, shapes):
    first, again, other = (insert_scattered(healthy, shapes, 0.4, np.random.default_rng(s)).lesion for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_lesion_darkens_by_its_contrast(healthy, shapes):
    case = insert_lesion(healthy, shapes[-1], -0.25)
    ratio = case.prepared.image[case.lesion].sum() / healthy.image[case.lesion].sum()
    assert ratio == pytest.approx(0.75, abs=0.04)
