"""Painted scans and the structure network that learns from them, on anatomies made of nested boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from BrainAnomalyLib.detectors.anatomy.expected_scan import expected_scan
from BrainAnomalyLib.detectors.anatomy.structure_network import (
    CHANNELS_SEEN,
    NetworkSize,
    build,
    load_structure_network,
    look,
    normalized,
)
from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE, index_of
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyTrainingLib.painting.anatomies import LabelMap, made_anatomy
from BrainAnomalyTrainingLib.painting.bank import Bank
from BrainAnomalyTrainingLib.painting.contrasts import CONTRASTS, contrast_values, painted
from BrainAnomalyTrainingLib.painting.painted_lesions import LesionBank, Shapes, blob, painted_lesions
from BrainAnomalyTrainingLib.painting.painter import painted_slab
from BrainAnomalyTrainingLib.painting.structure_training import (
    PaintedBatches,
    StructureRecipe,
    StructureTraining,
    lesion_loss,
    painted_batch,
    structure_loss,
)

RECIPE = StructureRecipe(steps=40, slabs=1, warm_up=5)


@pytest.fixture(scope="module")
def label_map() -> LabelMap:
    """A head of boxes at 2 mm: cortex about white matter about a ventricle."""
    grid = grid_named("template_2mm")
    structures = np.zeros(grid.shape, dtype=np.uint8)
    for name, inset in (("outer fluid", 0), ("cortex", 3), ("white matter", 8), ("ventricle", 26)):
        structures[14 + inset : 82 - inset, 14 + inset : 98 - inset, 14 + inset : 82 - inset] = index_of(name)
    return LabelMap("boxes", structures, np.linalg.inv(grid.affine))


@pytest.fixture(scope="module")
def bank(label_map: LabelMap) -> Bank:
    made = made_anatomy(label_map, np.random.default_rng(5))
    return Bank((np.ascontiguousarray(np.moveaxis(made.soft, -1, 0)),), (made.mass,), ("boxes",))


@pytest.fixture(scope="module")
def lesions() -> LesionBank:
    cube = np.stack(np.meshgrid(*[np.arange(-2.0, 3.0)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    shapes = Shapes(np.array([[48.0, 50.0, 40.0]], dtype=np.float32), (cube,), 1.0 / 8.0)
    return LesionBank(shapes, shapes)


def test_an_anatomy_has_every_share_of_every_voxel_and_the_structures_of_its_map(label_map) -> None:
    made = made_anatomy(label_map, np.random.default_rng(1))
    assert made.soft.shape == (len(NAMES), *grid_named("template_2mm").shape)
    np.testing.assert_allclose(made.soft.sum(axis=0, dtype=int), 255, atol=3)
    volumes = made.soft.sum(axis=(1, 2, 3), dtype=float) / 255.0
    wanted = np.bincount(label_map.structures.ravel(), minlength=len(NAMES))
    assert {k for k, volume in enumerate(volumes) if volume > 50} == set(np.flatnonzero(wanted))
    assert volumes[index_of("white matter")] == pytest.approx(wanted[index_of("white matter")], rel=0.4)


def test_anatomies_differ_by_seed_and_repeat_by_seed(label_map) -> None:
    first, again, other = (made_anatomy(label_map, np.random.default_rng(seed)).soft for seed in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.02


def test_lesions_are_painted_where_they_are_said_to_be_and_labels_stay_healthy(bank, lesions) -> None:
    soft, random = bank.slab(0, 34, 11), np.random.default_rng(8)
    values = contrast_values(CONTRASTS["FLAIR"], random)
    healthy = painted(soft, values, random)
    ill, share = painted_lesions(healthy, soft, values, 34, (48.0, 50.0, 39.0, 6.0), lesions, random)
    assert share.max() > 0.9
    np.testing.assert_array_equal(ill[share == 0.0], healthy[share == 0.0])
    assert np.abs(ill - healthy)[share > 0.9].mean() > 0.02
    slab = painted_slab(soft, 34, (0.0, 0.0, 0.0, 0.0), lesions, np.random.default_rng(4))
    np.testing.assert_array_equal(slab.structures, soft[..., 3:-3])
    assert not slab.image[~slab.mask].any()


def test_a_blob_has_about_the_volume_of_its_radius() -> None:
    sizes = [blob((60, 60, 60), (30, 30, 30), 9.0, np.random.default_rng(seed)).sum() for seed in range(6)]
    assert np.median(sizes) == pytest.approx(4.0 / 3.0 * np.pi * 9.0**3, rel=0.4)


def test_a_batch_depends_on_seed_and_number_alone(bank, lesions) -> None:
    later = next(iter(PaintedBatches(bank, lesions, RECIPE, 7)))
    direct = painted_batch(bank, lesions, RECIPE.slabs, (RECIPE.seed, 7))
    assert all(torch.equal(one, other) for one, other in zip(later, direct, strict=True))


def test_the_loss_of_a_perfect_answer_is_near_nothing_and_of_a_wrong_one_is_not() -> None:
    shares = torch.zeros(1, len(NAMES), 8, 8)
    shares[:, 1, :4], shares[:, 2, 4:] = 1.0, 1.0
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    right, wrong = (structure_loss(12.0 * answer, shares, mask).item() for answer in (shares, shares.flip(2)))
    assert right < 0.01
    assert wrong > 5.0


def test_lesions_are_told_by_the_last_channel_and_only_where_they_are_seen(bank, lesions) -> None:
    wanted = torch.zeros(1, 8, 8)
    wanted[:, :4] = 1.0
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    right, wrong = (lesion_loss(12.0 * (2.0 * answer - 1.0), wanted, mask).item() for answer in (wanted, 1.0 - wanted))
    assert right < 0.01
    assert wrong > 5.0
    soft = bank.slab(0, 34, 15)
    alike = [painted_slab(soft, 34, (0.0, 0.0, 0.0, 0.0), lesions, np.random.default_rng(seed)) for seed in range(12)]
    assert all((slab.lesions <= 1.0).all() for slab in alike)
    assert any(slab.lesions.max() > 0.9 for slab in alike)


def test_training_learns_goes_on_after_a_kill_and_ends_the_same(bank, lesions, tmp_path) -> None:
    def steps(training: StructureTraining, end: int) -> list[float]:
        batches = iter(PaintedBatches(bank, lesions, RECIPE, training.step))
        return [training.advance(next(batches)) for _ in range(end - training.step)]

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = StructureTraining(RECIPE, tmp_path / "one")
    losses = steps(whole, 24)
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    first = StructureTraining(RECIPE, tmp_path / "two")
    steps(first, 12)
    first.save()
    second = StructureTraining(RECIPE, tmp_path / "two")
    second.resume()
    assert steps(second, 24) == losses[12:]
    for one, other in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_the_network_sees_knows_no_unit() -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[2:10, 2:10, 2:10] = True
    image = np.where(mask, random.normal(5.0, 1.0, mask.shape), 0.0).astype(np.float32)
    for scale, offset in ((100.0, 0.0), (1.0, -50.0), (0.01, 3.0)):
        other = np.where(mask, image * scale + offset, 0.0).astype(np.float32)
        np.testing.assert_allclose(normalized(other, mask), normalized(image, mask), atol=2e-3)


def test_probabilities_add_up_and_outside_is_outside() -> None:
    grid = grid_named("template_2mm")
    mask = np.zeros(grid.shape, dtype=bool)
    mask[30:60, 30:70, 40:43] = True
    image = np.random.default_rng(1).normal(0.0, 1.0, grid.shape).astype(np.float32)
    torch.manual_seed(0)
    found, lesion = look(build(NetworkSize((8, 16))).eval(), image, mask)
    assert not lesion[~mask].any()
    np.testing.assert_allclose(found.sum(axis=0), 1.0, atol=1e-5)
    assert (found[OUTSIDE][~mask] == 1.0).all()
    assert next(build(NetworkSize((8, 16))).parameters()).shape[1] == CHANNELS_SEEN


def test_the_embedded_network_knows_the_template_brains_tissues() -> None:
    template = load_template("template_2mm")
    embedded = load_structure_network()
    found = look(embedded.network, template.brain, template.brain_mask).shares
    gray = ("cortex", "thalamus", "striatum", "pallidum", "hippocampus and amygdala")
    for names, prior in ((("white matter",), template.white_matter), (gray, template.gray_matter)):
        sure = (prior > 0.9) & template.brain_mask
        sure[:, :, :40] = False  # below lie cerebellum and brainstem
        assert sum(found[index_of(name)] for name in names)[sure].mean() > 0.7


def test_the_detector_finds_and_heals_a_spot_in_any_unit() -> None:
    template = load_template("template_2mm")
    spot = np.zeros(template.grid.shape, dtype=bool)
    spot[32:38, 55:61, 55:60] = True
    values = np.where(spot, 1.5, template.brain) * template.brain_mask * 100.0
    scan = Scan(values.astype(np.float32), template.grid, "T1w", "spot")
    detector = load_detector("anatomy")
    prepared = prepare(scan, detector.recipe, template.brain_mask)
    reconstruction = detector.reconstruct(prepared)
    assert reconstruction is not None
    score = detector.score(prepared, reconstruction)
    assert score.anomaly[spot].mean() > 5.0 * score.anomaly[template.brain_mask & ~spot].mean()
    assert score.components["brighter"][spot].mean() > 10.0 * score.components["darker"][spot].mean()
    left = np.abs(reconstruction.pseudo_healthy - 1.0)[spot].mean() / np.abs(prepared.image - 1.0)[spot].mean()
    assert left < 0.4
    other = replace(prepared, image=np.where(prepared.brain_mask, prepared.image * 40.0 + 7.0, 0.0).astype(np.float32))
    again = detector.score(other, detector.reconstruct(other))
    np.testing.assert_allclose(again.anomaly, score.anomaly, atol=0.2)


def test_the_deviation_knows_no_unit() -> None:
    template = load_template("template_2mm")
    embedded = load_structure_network()
    image = np.where(template.brain_mask, template.brain, 0.0).astype(np.float32)
    other = np.where(template.brain_mask, image * 40.0 - 7.0, 0.0).astype(np.float32)
    first, second = (look(embedded.network, one, template.brain_mask) for one in (image, other))
    np.testing.assert_allclose(first.lesion, second.lesion, atol=0.05)
    found = [expected_scan(one, template.brain_mask, first.shares).deviation for one in (image, other)]
    np.testing.assert_allclose(*found, atol=0.05)
