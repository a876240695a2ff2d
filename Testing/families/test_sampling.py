"""Batches for training: the same for the same seed, step and process, whatever came before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyTrainingLib.train.augmentation import augment
from BrainAnomalyTrainingLib.train.sampling import MOST_SLICES, MOST_VOLUMES, training_batch, validation_batch


@dataclass(frozen=True)
class Ball:
    """A healthy scan in memory: a ball whose intensity names the scan and whose slices differ."""

    value: float
    shape: tuple[int, int, int] = (20, 24, 16)

    def mask(self) -> np.ndarray:
        axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in self.shape], indexing="ij")
        return np.asarray(sum(axis**2 for axis in axes) < 0.8)

    def image(self) -> np.ndarray:
        layers = 1.0 + np.arange(self.shape[2]) / 1000.0
        return np.where(self.mask(), self.value * layers, 0.0).astype(np.float32)


SCANS = [Ball(float(value)) for value in range(1, 7)]


def test_volumes_are_fitted_about_their_middle():
    images, masks, _ = training_batch(SCANS, (16, 32, 16), 3, 5, seed=1, step=0)
    assert images.shape == masks.shape == (5, 1, 16, 32, 16)
    assert images.dtype == masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    scan = SCANS[round(float(images[0].max())) - 1]
    assert torch.equal(images[0, 0, :, 4:28], torch.from_numpy(scan.image())[2:18])
    assert (images[:, :, :, :4] == 0).all()


def test_slices_come_from_many_scans_and_heights_and_hold_brain():
    images, masks, _ = training_batch(SCANS, (24, 24), 2, 40, seed=1, step=0)
    assert images.shape == (40, 1, 24, 24)
    values = images.amax(dim=(1, 2, 3))
    assert len(values.round().unique()) >= 4
    assert len((values / values.round()).mul(1e4).round().unique()) >= 6
    assert (masks.mean(dim=(1, 2, 3)) > 0.01).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_batch_depends_on_seed_step_and_process_alone(dimensions):
    crop = (16, 16, 16)[:dimensions]

    def batch(seed: int, step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, masks, generator = training_batch(SCANS, crop, dimensions, 6, seed, step, rank)
        return augment(images, masks, generator)[0], torch.rand(3, generator=generator)

    first = batch(3, 40, 0)
    batch(3, 41, 0)
    again = batch(3, 40, 0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for other in ((4, 40, 0), (3, 41, 0), (3, 40, 1)):
        assert not torch.equal(first[1], batch(*other)[1])


def test_every_scan_is_drawn_sooner_or_later():
    drawn = [training_batch(SCANS, (8, 8, 8), 3, 2, 0, step)[0].amax(dim=(1, 2, 3, 4)).round() for step in range(20)]
    assert set(torch.cat(drawn).tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_the_validation_batch_is_fixed_and_small():
    many = [Ball(float(value)) for value in range(1, 31)]
    images, masks = validation_batch(many, (16, 16, 16), 3)
    assert images.shape == masks.shape == (MOST_VOLUMES, 1, 16, 16, 16)
    assert len(images.amax(dim=(1, 2, 3, 4)).round().unique()) == MOST_VOLUMES
    slices, _ = validation_batch(many, (16, 16), 2)
    assert len(slices) <= MOST_SLICES
    assert torch.equal(slices, validation_batch(many, (16, 16), 2)[0])
    assert validation_batch(many[:1], (16, 16), 2)[0].shape[0] > 5


def test_a_scan_without_brain_is_told():
    with pytest.raises(OptionsError, match="no axial slice"):
        training_batch([EMPTY], (8, 8), 2, 1, 0, 0)


class _Empty(Ball):
    def mask(self) -> np.ndarray:
        return np.zeros(self.shape, dtype=np.bool_)


EMPTY = _Empty(1.0)


def test_axial_slices_are_augmented_one_by_one():
    image = torch.from_numpy(Ball(1.0).image())[None, None, :, :, 8].repeat(6, 1, 1, 1)
    masks = (image > 0).float()
    changed, moved = augment(image, masks, torch.Generator().manual_seed(5))
    assert changed.shape == moved.shape == image.shape
    assert (changed[moved == 0] == 0).all()
    assert not torch.equal(moved[0], moved[1])
    medians = torch.stack([one[mask > 0].median() for one, mask in zip(changed, moved, strict=True)])
    assert 0.5 < float(medians.min()) < float(medians.max()) < 1.6


def test_the_mirror_turns_left_and_right_only():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 2:14, 4:10] = 1.0
    sides = set()
    for seed in range(12):
        changed, _ = augment(image, image, torch.Generator().manual_seed(seed))
        weights = changed[0, 0] / changed.sum()
        sides.add(bool((weights.sum(1) * torch.arange(32)).sum() > 16))
        assert float((weights.sum(0) * torch.arange(32)).sum()) < 14
    assert sides == {True, False}
