"""The program's own U-Nets are those of MONAI: same start from a seed, same names, same values."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch
from monai.networks.nets import BasicUNet, UNet

from BrainAnomalyLib.detectors.networks.residual_unet import ResidualUNet
from BrainAnomalyLib.preparation.brain.unet import BrainUNet


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("residual_units", [0, 1, 2])
@pytest.mark.parametrize("strides", [(2, 2), (2, 1)])
def test_residual_unet(dimensions, residual_units, strides):
    torch.manual_seed(0)
    own = ResidualUNet(dimensions, 2, 3, (4, 8, 6), strides, residual_units)
    torch.manual_seed(0)
    reference = UNet(dimensions, 2, 3, (4, 8, 6), strides, num_res_units=residual_units, norm="INSTANCE")
    assert_same(own, reference, torch.randn(2, 2, *[16] * dimensions))


def test_brain_unet():
    features = (4, 6, 8, 10, 12, 5)
    torch.manual_seed(0)
    own = BrainUNet(3, features)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = BasicUNet(3, 3, 3, features, norm=("instance", {"affine": True, "eps": 1e-3}))
    assert_same(own, reference, torch.randn(1, 3, 32, 32, 48))


def assert_same(own, reference, images):
    expected = reference.state_dict()
    assert list(own.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in own.state_dict().items())
    with torch.inference_mode():
        torch.testing.assert_close(own(images), reference(images), rtol=0.0, atol=0.0)
