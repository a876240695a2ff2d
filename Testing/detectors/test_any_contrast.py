"""Synthetic lesions in random contrasts, the network that learns from them, and the evidence it is combined by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from BrainAnomalyLib.detectors.learning import Batch
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.detectors.shipped.any_contrast import AnyContrastConfig, AnyContrastDetector
from BrainAnomalyLib.detectors.shipped.lesion_synthesis import (
    Groups,
    lesion_group,
    lesion_shape,
    random_acquisition,
    random_contrast,
    with_lesions,
)
from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.scoring.evidence import (
    LEVELS,
    MOST_EVIDENCE,
    evidence,
    weighted_evidence,
)
from BrainAnomalyTrainingLib.calibrate.calibration_statistics import PooledQuantiles, evidence_table
from BrainAnomalyTrainingLib.train.sampling import training_batch
from family_proof import (
    HELD_OUT_SCANS,
    ArrayScan,
    coarse_preset,
    healthy_scan,
    made_brains,
    raw_map,
    train_small,
    with_blob,
)
from shared_data import needs

GROUPS = Groups(many=0.3, paired=0.4)


def table_of(values: np.ndarray) -> np.ndarray:
    pooled = PooledQuantiles()
    pooled.add(values)
    return evidence_table(pooled)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slices(count: int = 6, size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Discs with a dark middle (fluid), a gray ring and a white rest."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    radius = (axes[0] ** 2 + axes[1] ** 2).sqrt()
    mask = (radius < 0.9).float()
    image = torch.where(radius < 0.25, 0.42, torch.where(radius > 0.7, 0.74, 1.0)) * mask
    return image.expand(count, 1, size, size).clone(), mask.expand(count, 1, size, size).clone()


def test_lesions_stay_in_the_brain_repeat_with_their_seed_and_truth_is_where_the_image_changed():
    images, masks = slices(12)
    ill, truth = with_lesions(images, masks, seeded(3), 0.0, GROUPS)
    again, _ = with_lesions(images, masks, seeded(3), 0.0, GROUPS)
    assert torch.equal(ill, again)
    assert (ill[masks == 0] == 0).all()
    assert (truth[masks == 0] == 0).all()
    assert set(truth.unique().tolist()) <= {0.0, 1.0}
    assert all(float(one.sum()) > 0 for one in truth[:8]) or float(truth.sum()) > 50
    changed = (ill - images).abs()
    assert float(changed[truth > 0].mean()) > 5 * float(changed[truth == 0].mean())


def test_clean_slices_stay_clean_and_empty_ones_do_not_fail():
    images, masks = slices()
    ill, truth = with_lesions(images, masks, seeded(), 1.0, GROUPS)
    assert torch.equal(ill, images)
    assert not truth.any()
    with_lesions(images * 0, masks * 0, seeded(), 0.0, GROUPS)


def test_lesions_are_brighter_and_darker_and_of_all_sizes():
    images, masks = slices(60)
    ill, truth = with_lesions(images, masks, seeded(1), 0.0, GROUPS)
    change = [float((a - b)[t > 0].mean()) for a, b, t in zip(ill, images, truth, strict=True) if t.any()]
    assert min(change) < -0.1 < 0.1 < max(change)
    areas = [float(lesion_group(masks[0], seeded(seed), GROUPS).sum()) for seed in range(40)]
    assert min(areas) < 20 < 200 < max(areas)


def test_a_lesion_lies_about_its_place_and_grows_with_its_radius():
    mask = torch.ones(1, 96, 112)
    shapes = [lesion_shape(mask, seeded(seed), (20, 90), radius) for seed in range(10) for radius in (2.0, 8.0)]
    i, j = (values.float() for values in torch.meshgrid(torch.arange(96), torch.arange(112), indexing="ij"))
    for shape in shapes:
        assert abs(float((shape * i).sum() / shape.sum()) - 20) < 4
        assert abs(float((shape * j).sum() / shape.sum()) - 90) < 4
    small, large = (torch.stack(shapes[start::2]).sum() for start in (0, 1))
    assert 8 < float(large / small) < 32


def test_some_groups_lie_on_both_sides_and_some_are_many():
    mask = torch.zeros(1, 96, 112)
    mask[:, 10:86, 10:102] = 1.0
    pairs = 0
    counts = []
    for seed in range(60):
        found = lesion_group(mask, seeded(seed), GROUPS)[0] > 0.5
        counts.append(int(ndimage.label(found.numpy())[1]))
        left, right = float(found[:46].sum()), float(found[50:].sum())
        pairs += min(left, right) > 0.2 * max(left, right, 1.0)
    assert 10 < pairs < 50
    assert min(counts) <= 1 < 6 < max(counts)


def test_another_scanner_changes_brightness_slowly_noise_quickly_and_nothing_outside():
    images, masks = slices(60)
    made = random_acquisition(images, masks, seeded(1), 0.4)
    assert (made[masks == 0] == 0).all()
    change = [float((one - image)[mask > 0].std()) for one, image, mask in zip(made, images, masks, strict=True)]
    assert min(change) == 0.0
    assert 0.03 < max(change) < 0.4
    assert torch.equal(made, random_acquisition(images, masks, seeded(1), 0.4))


def test_contrasts_keep_white_matter_in_place_and_reorder_the_other_tissues():
    images, masks = slices(80)
    made = random_contrast(images, masks, seeded(2), 0.0)
    middle = images.shape[-1] // 2
    fluid, white = made[:, 0, middle, middle], made[:, 0, middle, middle + 12]
    assert float((white - 1.0).abs().median()) < 0.1
    assert float(fluid.min()) < 0.6
    assert float(fluid.max()) > 1.5
    assert (made[masks == 0] == 0).all()
    assert torch.equal(random_contrast(images, masks, seeded(2), 1.0), images)


def test_the_loss_falls_to_nothing_for_a_perfect_answer():
    images, masks = slices(2)

    config = AnyContrastConfig(natural_probability=1.0, clean_probability=0.0, crop=(48, 48))
    generator = seeded(5)
    probe = seeded(5)
    healthy = random_acquisition(random_contrast(images, masks, probe, 1.0), masks, probe, 0.4)

    class Perfect(torch.nn.Module):
        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            ill, truth = with_lesions(healthy, masks, probe, 0.0, GROUPS)
            assert torch.allclose(seen[:, :1], ill)
            assert torch.allclose(seen[:, 1:], ill.flip(2))
            return torch.cat([ill - healthy, 40.0 * truth - 20.0], dim=1)

    parts = AnyContrastDetector.training_step(Perfect(), config, "find", Batch(images, masks, generator))
    assert float(parts["loss"]) < 1e-3


def test_a_mirrored_scan_gives_the_mirrored_answer():
    torch.manual_seed(0)
    config = AnyContrastConfig(channels=(8, 16), residual_units=1, crop=(48, 48))
    network = AnyContrastDetector.build(config).eval()
    images = torch.rand((2, 1, 48, 48), generator=seeded())
    with torch.no_grad():
        one, other = (
            AnyContrastDetector.restore(network, config, seen, torch.ones_like(seen), seeded())
            for seen in (images, images.flip(2))
        )
    assert one.raw is not None
    assert other.raw is not None
    torch.testing.assert_close(one.raw, other.raw.flip(2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.pseudo_healthy, other.pseudo_healthy.flip(2), atol=1e-5, rtol=1e-4)


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(PackageError):
        AnyContrastDetector.check(AnyContrastConfig(crop=(95, 112)))


@needs("ds002748_t1_brain_2mm")
def test_the_embedded_network_marks_dark_and_bright_lesions_in_a_healthy_scan():
    """A training takes too long here; that its steps lead somewhere is the next test, what it reached is this."""
    detector, scan = load_detector("any_contrast", device="cpu"), healthy_scan(8)
    before = raw_map(detector, scan)
    for change in (-0.4, 0.4):
        ill, lesion = with_blob(scan, change)
        assert raw_map(detector, ill)[lesion].mean() > 3.0 * before[lesion].mean(), change


def test_a_short_training_answers_unseen_lesions_better_than_an_untrained_network():
    preset = coarse_preset(AnyContrastDetector)
    scans = [ArrayScan(scan) for scan in made_brains()]
    trained = train_small(AnyContrastDetector, scans[:-HELD_OUT_SCANS], 100, preset=preset).network
    torch.manual_seed(0)
    untrained = AnyContrastDetector.build(preset.config).eval()
    images, masks, _ = training_batch(scans[-HELD_OUT_SCANS:], preset.config.crop, 2, 24, 9, 0)
    losses = []
    for network in (untrained, trained):
        with torch.no_grad():
            batch = Batch(images, masks, seeded(9))
            losses.append(AnyContrastDetector.training_step(network, preset.config, "find", batch))
    for part in ("entropy", "restoration"):
        assert losses[1][part] < 0.85 * losses[0][part], part


def test_evidence_is_minus_log_p_inside_the_table_rises_beyond_it_and_is_bounded():
    healthy = np.random.default_rng(0).exponential(size=400_000).astype(np.float32)
    table = table_of(healthy)
    np.testing.assert_allclose(evidence(table, table), LEVELS, atol=1e-3)
    # For exponential values, p = exp(-x).
    np.testing.assert_allclose(evidence(np.float32([2.3026, 4.6052]), table), [1.0, 2.0], atol=0.03)
    far = evidence(np.float32([table[-1] + 1.0, table[-1] + 2.0, 1e9]), table)
    assert LEVELS[-1] < far[0] < far[1] < far[2] == MOST_EVIDENCE


def test_evidence_of_a_map_that_is_mostly_zero_is_zero_there():
    healthy = np.concatenate([np.zeros(9000), np.linspace(0.1, 1.0, 1000)]).astype(np.float32)
    table = table_of(healthy)
    assert evidence(np.float32([0.0]), table)[0] == 0.0
    assert evidence(np.float32([1.0]), table)[0] > 2.5
    maps = [np.float32([1.0, 3.0]), np.float32([3.0, 3.0])]
    np.testing.assert_array_equal(weighted_evidence(maps, (1.0, 1.0)), [2.0, 3.0])
    np.testing.assert_array_equal(weighted_evidence(maps, (3.0, 1.0)), [1.5, 3.0])
