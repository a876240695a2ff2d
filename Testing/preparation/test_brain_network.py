"""The embedded brain mask network: its file checks, shapes and one real head."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.preparation.brain import network as brain_network

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A copy of the weights in a folder of the test's own, used instead of the embedded ones."""
    copy = tmp_path / "BrainMask"
    shutil.copytree(brain_network.weights_folder(), copy)
    monkeypatch.setattr(brain_network, "weights_folder", lambda: copy)
    return copy


def soft_ball(shape):
    """A bright ball on a dark ground, as a stand-in for a head."""
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    return (1000.0 * (sum(axis**2 for axis in axes) < 0.5)).astype(np.float32)


def test_changed_weights_are_refused(weights):
    damaged = bytearray((weights / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (weights / "model.safetensors").write_bytes(damaged)
    with pytest.raises(PackageError, match="SHA-256"):
        brain_network.segment_brain_2mm(soft_ball((32, 32, 32)))


def test_missing_checksums_are_refused(weights):
    (weights / "SHA256SUMS.json").unlink()
    with pytest.raises(PackageError):
        brain_network.segment_brain_2mm(soft_ball((32, 32, 32)))


def test_weights_of_another_size_are_refused(weights):
    description = json.loads((weights / "network.json").read_text())
    description["features"] = [8, 8, 16, 16, 32, 8]
    (weights / "network.json").write_text(json.dumps(description))
    sums = json.loads((weights / "SHA256SUMS.json").read_text())
    from BrainAnomalyLib.resources import sha256

    sums["network.json"] = sha256(weights / "network.json")
    (weights / "SHA256SUMS.json").write_text(json.dumps(sums))
    with pytest.raises(PackageError, match="do not fit"):
        brain_network.segment_brain_2mm(soft_ball((32, 32, 32)))


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"features": "__import__('os')"},
        {"features": [16, 32, 48, 96, 128]},
        {"features": [16, 32, 48, 96, 128, 10**9]},
        {"features": [16, True, 2.5, 96, 128, 16]},
    ],
)
def test_nonsense_descriptions_are_refused(description):
    with pytest.raises(PackageError):
        brain_network.build_network(description)


def test_cells_lose_nothing():
    image = torch.arange(8.0 * 12 * 4).reshape(1, 1, 8, 12, 4)
    cells = brain_network.to_cells(image)
    assert cells.shape == (1, 8, 4, 6, 2)
    assert torch.equal(cells[0, :, 0, 0, 0], image[0, 0, :2, :2, :2].flatten())
    assert torch.equal(brain_network.from_cells(cells), image)


@pytest.mark.parametrize("shape", [(32, 32, 32), (37, 51, 44), (96, 96, 7), (1, 40, 40)])
def test_shape_is_kept(shape):
    probability = brain_network.segment_brain_2mm(soft_ball(shape))
    assert probability.shape == shape
    assert probability.dtype == np.float32
    assert 0.0 <= probability.min() <= probability.max() <= 1.0


def test_flat_and_broken_images_give_finite_answers():
    broken = soft_ball((40, 40, 40))
    broken[3, 3, 3] = np.nan
    broken[4, 4, 4] = np.inf
    for image in (np.full((20, 20, 20), 5.0, np.float32), broken):
        assert np.isfinite(brain_network.segment_brain_2mm(image)).all()


def test_two_dimensional_image_is_refused():
    with pytest.raises(ValueError, match="3D"):
        brain_network.segment_brain_2mm(np.zeros((10, 10), np.float32))


def test_intensity_unit_does_not_matter():
    image = np.random.default_rng(0).gamma(2.0, 1.0, (48, 48, 48)).astype(np.float32)
    first = brain_network.normalized_intensities(image)
    np.testing.assert_allclose(first, brain_network.normalized_intensities(image * 1e6), atol=1e-4)
    np.testing.assert_allclose(first, brain_network.normalized_intensities(image / 1e6 + 1e-6), atol=1e-2)


def test_clean_mask_keeps_the_largest_part_and_fills_it():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[2:12, 2:12, 2:12] = 0.9
    probability[6, 6, 6] = 0.1
    probability[15:18, 15:18, 15:18] = 0.99
    mask = brain_network.clean_mask(probability)
    assert mask.sum() == 1000
    assert mask[6, 6, 6]
    assert not mask[16, 16, 16]
    assert not brain_network.clean_mask(np.zeros((5, 5, 5), np.float32)).any()


def test_real_head():
    if not (SHARED / "ixi_t1_2mm").is_dir():
        pytest.skip("the shared IXI heads are not here")
    from BrainAnomalyTrainingLib.brain_mask.training import ixi_heads

    _, image, brain = ixi_heads(SHARED, test=True, most=1)[0]
    found = brain_network.clean_mask(brain_network.segment_brain_2mm(image))
    assert 2.0 * (found & brain).sum() / (found.sum() + brain.sum()) >= 0.95
