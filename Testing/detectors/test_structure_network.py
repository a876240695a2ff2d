"""Painted scans and the structure network that learns from them, on anatomies made of nested boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from BrainAnomalyLib.detectors.anatomy.structure_network import (
    CHANNELS_SEEN,
    FIELD,
    NetworkSize,
    build,
    load_structure_network,
    look,
    normalized,
    with_places,
)
from BrainAnomalyLib.detectors.anatomy.structures import NAMES, OUTSIDE, index_of
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyTrainingLib.painting import structure_training
from BrainAnomalyTrainingLib.painting.anatomies import Anatomy, field_shape, made_anatomy
from BrainAnomalyTrainingLib.painting.bank import Bank, as_bytes
from BrainAnomalyTrainingLib.painting.contrasts import CONTRASTS, Values, contrast_values, painted
from BrainAnomalyTrainingLib.painting.fields import Random, blurred, sampled, smooth_noise
from BrainAnomalyTrainingLib.painting.painted_lesions import LesionBank, Shapes, blob, painted_lesions
from BrainAnomalyTrainingLib.painting.painter import painted_scan, with_lesions
from BrainAnomalyTrainingLib.painting.structure_training import (
    Batch,
    PaintedBatches,
    StructureRecipe,
    StructureTraining,
    lesion_loss,
    painted_batch,
    structure_loss,
)

RECIPE = StructureRecipe(steps=40, batch=1, real_share=0.0, warm_up=2, learning_rate=5e-3)
NO_MASS = (0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    """A head of boxes at 1 mm: cortex about white matter about a ventricle."""
    structures = np.zeros(grid_named("template_1mm").shape, dtype=np.uint8)
    for name, inset in (("outer fluid", 0), ("cortex", 6), ("white matter", 16), ("ventricle", 52)):
        structures[28 + inset : 164 - inset, 28 + inset : 196 - inset, 28 + inset : 164 - inset] = index_of(name)
    return torch.from_numpy(structures)


@pytest.fixture(scope="module")
def bank(labels: Tensor) -> Bank:
    at_2mm = labels[::2, ::2, ::2].numpy()
    image = np.choose(at_2mm.clip(max=8), [0.0, 1.0, 0.75, *[0.5] * 4, 0.25, 0.25])
    return Bank((labels.numpy(),), ("boxes",), (as_bytes(image, at_2mm > 0),))


@pytest.fixture(scope="module")
def anatomy(labels: Tensor) -> Anatomy:
    return made_anatomy(labels, Random(5))


@pytest.fixture(scope="module")
def lesions() -> LesionBank:
    cube = np.stack(np.meshgrid(*[np.arange(-3.0, 3.01, 0.5)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    shapes = Shapes(np.array([[40.0, 42.0, 24.0]], dtype=np.float32), (cube,), 1.0 / 8.0)
    return LesionBank(shapes, shapes)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_training, "NetworkSize", lambda: NetworkSize((8, 8)))


def cropped(batch: Batch) -> Batch:
    """A twentieth of a batch's scans."""
    part = (slice(24, 56), slice(28, 60), slice(24, 56))
    return Batch(*(one if one.ndim == 1 else one[(..., *part)].contiguous() for one in batch))


def test_an_anatomy_has_every_share_of_every_voxel_and_the_structures_of_its_map(labels, anatomy) -> None:
    assert anatomy.soft.shape == (len(NAMES), *field_shape())
    torch.testing.assert_close(anatomy.soft.sum(0), torch.ones(field_shape()))
    volumes = 8.0 * anatomy.soft.sum((1, 2, 3)).numpy()
    wanted = np.bincount(labels.numpy().ravel(), minlength=len(NAMES))
    assert {k for k, volume in enumerate(volumes) if volume > 400} == set(np.flatnonzero(wanted))
    assert volumes[index_of("white matter")] == pytest.approx(wanted[index_of("white matter")], rel=0.4)


def test_anatomies_differ_by_seed_and_repeat_by_seed(labels, anatomy) -> None:
    assert torch.equal(made_anatomy(labels, Random(5)).soft, anatomy.soft)
    assert (made_anatomy(labels, Random(6)).soft != anatomy.soft).float().mean() > 0.02


def test_lesions_are_painted_where_they_are_said_to_be_and_labels_stay_healthy(anatomy, lesions) -> None:
    random = Random(8)
    values = Values(contrast_values(CONTRASTS["FLAIR"], random), 1.0)
    healthy = painted(anatomy.soft, values, random)
    ill, share = painted_lesions(healthy, anatomy.soft, values, (40.0, 42.0, 39.0, 6.0), lesions, random)
    assert share.max() > 0.9
    assert torch.equal(ill[share == 0.0], healthy[share == 0.0])
    assert (ill - healthy).abs()[share > 0.9].mean() > 0.02
    scan = with_lesions(Anatomy(anatomy.soft, NO_MASS), lesions, Random(4))
    assert torch.equal(scan.structures, anatomy.soft)
    assert not scan.image[~scan.mask].any()


def test_a_real_scan_joins_in_with_lesions_but_says_nothing_of_structures(bank, lesions) -> None:
    scans = [painted_scan(bank, lesions, 1.0, Random(seed)) for seed in range(6)]
    assert not any(scan.known for scan in scans)
    assert max(float(scan.lesions.max()) for scan in scans) > 0.9
    assert all(0.1 < float(scan.mask.float().mean()) < 0.8 for scan in scans)
    assert painted_scan(bank, lesions, 0.0, Random(1)).known


def test_a_blob_has_about_the_volume_of_its_radius() -> None:
    sizes = [float(blob((60, 60, 60), (30, 30, 30), 9.0, Random(seed)).sum()) for seed in range(6)]
    assert np.median(sizes) == pytest.approx(4.0 / 3.0 * np.pi * 9.0**3, rel=0.4)


def test_blurring_and_reading_off_are_those_of_scipy() -> None:
    from scipy import ndimage

    volume = np.random.default_rng(2).normal(size=(14, 15, 16)).astype(np.float32)
    wanted = ndimage.gaussian_filter(volume, (1.0, 2.0, 0.0), mode="nearest", truncate=3.0)
    np.testing.assert_allclose(blurred(torch.from_numpy(volume), (1.0, 2.0, 0.0)).numpy(), wanted, atol=1e-5)
    points = np.random.default_rng(3).uniform(1.0, 12.0, (3, 4, 5, 6)).astype(np.float32)
    found = sampled(torch.from_numpy(volume), torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, ndimage.map_coordinates(volume, points, order=1), atol=1e-4)
    rough, smooth = (smooth_noise((40, 40, 40), sigma, Random(1)) for sigma in (1.0, 8.0))
    assert (rough.std().item(), smooth.std().item()) == pytest.approx((1.0, 1.0))
    assert rough.diff(dim=0).std() > 3.0 * smooth.diff(dim=0).std()


def test_a_batch_depends_on_seed_and_number_alone(bank, lesions) -> None:
    later = next(iter(PaintedBatches(bank, lesions, RECIPE, 7, "cpu")))
    direct = painted_batch(bank, lesions, RECIPE, (RECIPE.seed, 7), "cpu")
    assert all(torch.equal(one, other) for one, other in zip(later, direct, strict=True))


def test_the_loss_of_a_perfect_answer_is_near_nothing_and_of_a_wrong_one_is_not() -> None:
    shares = torch.zeros(1, len(NAMES), 8, 8, 8)
    shares[:, 1, :4], shares[:, 2, 4:] = 1.0, 1.0
    mask = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    right, wrong = (structure_loss(12.0 * answer, shares, mask).item() for answer in (shares, shares.flip(2)))
    assert right < 0.01
    assert wrong > 5.0


def test_lesions_are_told_by_the_last_channel_and_only_where_they_are_seen(anatomy, lesions) -> None:
    wanted = torch.zeros(1, 8, 8, 8)
    wanted[:, :4] = 1.0
    mask = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    right, wrong = (lesion_loss(12.0 * (2.0 * answer - 1.0), wanted, mask).item() for answer in (wanted, 1.0 - wanted))
    assert right < 0.01
    assert wrong > 5.0
    scans = [with_lesions(Anatomy(anatomy.soft, NO_MASS), lesions, Random(seed)) for seed in range(6)]
    assert all((scan.lesions <= 1.0).all() for scan in scans)
    assert any(scan.lesions.max() > 0.9 for scan in scans)


@pytest.mark.usefixtures("small_network")
def test_training_learns_goes_on_after_a_kill_and_ends_the_same(bank, lesions, tmp_path) -> None:
    batches = [cropped(painted_batch(bank, lesions, RECIPE, (RECIPE.seed, n), "cpu")) for n in (0, 1)]

    def steps(training: StructureTraining, end: int) -> list[float]:
        return [training.advance(batches[training.step % 2]) for _ in range(end - training.step)]

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = StructureTraining(RECIPE, tmp_path / "one")
    losses = steps(whole, 16)
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    first = StructureTraining(RECIPE, tmp_path / "two")
    steps(first, 8)
    first.save()
    second = StructureTraining(RECIPE, tmp_path / "two")
    second.resume()
    assert steps(second, 16) == losses[8:]
    for one, other in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_the_network_sees_knows_no_unit_and_has_its_mirror_image() -> None:
    random = torch.Generator().manual_seed(0)
    mask = torch.zeros(field_shape(), dtype=torch.bool)
    mask[20:60, 20:70, 30:50] = True
    image = torch.where(mask, 5.0 + torch.randn(mask.shape, generator=random), 0.0)
    for scale, offset in ((100.0, 0.0), (1.0, -50.0), (0.01, 3.0)):
        other = torch.where(mask, image * scale + offset, 0.0)
        torch.testing.assert_close(normalized(other, mask), normalized(image, mask), atol=2e-3, rtol=0.0)
    seen = with_places(image, mask)
    assert seen.shape == (CHANNELS_SEEN, *field_shape())
    assert torch.equal(seen[1], seen[0].flip(0))
    assert torch.equal(seen[3], seen[3].flip(0))


def test_probabilities_add_up_and_outside_is_outside() -> None:
    grid = grid_named("template_2mm")
    mask = np.zeros(grid.shape, dtype=bool)
    mask[30:60, 30:70, 40:43] = True
    mask[:4, 50, 50] = True  # beyond what the network sees
    image = np.random.default_rng(1).normal(0.0, 1.0, grid.shape).astype(np.float32)
    torch.manual_seed(0)
    found, lesion = look(build(NetworkSize((8, 16))).eval(), image, mask)
    assert not lesion[~mask].any()
    np.testing.assert_allclose(found.sum(axis=0), 1.0, atol=1e-5)
    assert (found[OUTSIDE][~mask] == 1.0).all()
    assert (found[OUTSIDE][:4] == 1.0).all()
    assert found[OUTSIDE][mask].min() < 0.5
    assert found[OUTSIDE][FIELD].shape == field_shape()


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
