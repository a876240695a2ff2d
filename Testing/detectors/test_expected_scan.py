"""The expected scan: levels of the scan itself, deviations that know no unit, healthy texture kept."""

from __future__ import annotations

import numpy as np
import pytest

from BrainAnomalyLib.detectors.anatomy.expected_scan import expected_scan, pseudo_healthy, with_place
from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE, from_freesurfer, index_of

SHAPE = (40, 40, 20)


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image (white 100, cortex 70, ventricle 30; noise 2), mask, shares, and where a lesion of 40 lies."""
    random = np.random.default_rng(3)
    shares = np.zeros((len(NAMES), *SHAPE), dtype=np.float32)
    shares[index_of("white matter"), 5:35, 5:25] = 1.0
    shares[index_of("cortex"), 5:35, 25:35] = 1.0
    shares[index_of("ventricle"), 15:25, 10:20] = 1.0
    shares[index_of("white matter"), 15:25, 10:20] = 0.0
    shares[OUTSIDE] = 1.0 - shares.sum(axis=0)
    values = np.zeros(len(NAMES), dtype=np.float32)
    for name, value in (("white matter", 100.0), ("cortex", 70.0), ("ventricle", 30.0)):
        values[index_of(name)] = value
    mask = shares[OUTSIDE] == 0.0
    image = np.tensordot(values, shares, axes=1) + np.where(mask, random.normal(0.0, 2.0, SHAPE), 0.0)
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[7:11, 7:11, 5:9] = True
    return np.where(lesion, 40.0, image).astype(np.float32), mask, shares, lesion


def test_a_lesion_deviates_and_what_is_expected_there_is_healthy(brain) -> None:
    image, mask, shares, lesion = brain
    found = expected_scan(image, mask, shares)
    assert found.deviation[lesion].max() < -8.0
    assert np.abs(found.deviation[mask & ~lesion]).mean() < 1.2
    np.testing.assert_allclose(found.expected[lesion], 100.0, atol=3.0)
    assert not found.deviation[~mask].any()


@pytest.mark.parametrize(("scale", "offset"), [(37.0, -500.0), (0.01, -3.6), (1.0, 1000.0)])
def test_unit_and_offset_change_nothing(brain, scale, offset) -> None:
    image, mask, shares, _ = brain
    other = np.where(mask, image * scale + offset, offset).astype(np.float32)
    before, after = (expected_scan(one, mask, shares).deviation for one in (image, other))
    np.testing.assert_allclose(after, before, atol=0.02)


def test_what_is_explained_falls_with_noise_and_ghosts_but_not_with_unit_offset_or_lesion(brain) -> None:
    image, mask, shares, lesion = brain
    noise = 20.0 * np.random.default_rng(1).standard_normal(SHAPE)
    changed = {
        "as it is": image,
        "unit": 0.01 * image - 3.6,
        "no lesion": np.where(lesion, 100.0, image),
        "noise": image + noise,
        "ghost": image + 0.5 * np.roll(image, 7, axis=1),
        "nothing": np.ones(SHAPE),
    }
    found = {name: expected_scan(one.astype(np.float32), mask, shares).explained for name, one in changed.items()}
    assert found["as it is"] > 0.9
    assert found["unit"] == pytest.approx(found["as it is"], abs=1e-3)
    assert found["no lesion"] == pytest.approx(found["as it is"], abs=0.01)
    assert found["noise"] < found["as it is"] - 0.1
    assert found["ghost"] < found["as it is"] - 0.1
    assert found["nothing"] == 0.0


def test_the_pseudo_healthy_scan_loses_the_lesion_and_keeps_texture(brain) -> None:
    image, mask, shares, lesion = brain
    healed = pseudo_healthy(image, expected_scan(image, mask, shares), np.zeros_like(image))
    inner = np.zeros_like(lesion)
    inner[8:10, 8:10, 6:8] = True
    np.testing.assert_allclose(healed[inner], 100.0, atol=4.0)
    far = mask.copy()
    far[4:14, 4:14] = False
    assert np.mean(np.abs(healed - image)[far] > 2.0) < 0.05


def test_place_outweighs_a_doubtful_structure() -> None:
    shares, prior = np.zeros((2, len(NAMES), 1, 1, 1), dtype=np.float32)
    shares[index_of("white matter")], shares[index_of("ventricle")] = 0.4, 0.6
    prior[index_of("white matter")] = 0.9
    placed = with_place(shares, prior)
    assert placed[index_of("white matter")].item() > 0.9
    assert placed.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_labels_of_both_sides_and_lesions_are_one_structure() -> None:
    found = from_freesurfer(np.array([2, 41, 25, 3, 42, 24, 0, 999]))
    white, cortex, fluid = (index_of(name) for name in ("white matter", "cortex", "outer fluid"))
    assert found.tolist() == [white, white, white, cortex, cortex, fluid, OUTSIDE, OUTSIDE]


def test_what_a_lesion_covers_for_sure_is_healed_however_small_its_deviation(brain) -> None:
    image, mask, shares, _ = brain
    covered = np.zeros(SHAPE, dtype=np.float32)
    covered[25:30, 8:12, 5:9] = 1.0
    found = expected_scan(image, mask, shares)
    np.testing.assert_array_equal(pseudo_healthy(image, found, covered)[covered > 0], found.expected[covered > 0])
