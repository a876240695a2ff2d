"""Noise and ghosts, seen without healthy scans to compare with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.preparation.intensity.artifacts import air_level, artifact_warnings, noise_level, white_matter
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from shared_data import FOLDER, needs

IDENTITY = np.eye(4)
FLAIR = FOLDER / "single_healthy" / "synthsr_FLAIR_1mm.nii.gz"


def head(noise: float = 0.02) -> Scan:
    """The template's tissues at T1w intensities inside a scalp, white matter at 200."""
    template = load_template("template_2mm")
    brain = 0.72 * template.gray_matter + template.white_matter + 0.35 * template.cerebrospinal_fluid
    outside = ndimage.distance_transform_edt(~template.brain_mask, sampling=2.0)
    shell = np.where((outside > 4.0) & (outside < 12.0), 0.9, 0.0)
    image = np.where(template.brain_mask, brain, shell)
    grain = np.random.default_rng(0).normal(scale=noise, size=image.shape)
    return Scan(200.0 * np.abs(image + grain).astype(np.float32), template.grid, "T1w", "head")


def ghosted(scan: Scan, strength: float) -> Scan:
    """The head a second time, a third of the field of view behind."""
    return replace(scan, array=scan.array + strength * np.roll(scan.array, scan.array.shape[1] // 3, axis=1))


def seen(scan: Scan) -> str:
    template = load_template("template_2mm")
    return " ".join(artifact_warnings(scan, scan.array, template.brain_mask, IDENTITY, template))


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.15])
def test_noise_is_measured_in_parts_of_white_matter(noise):
    template = load_template("template_2mm")
    scan = head(noise)
    found = noise_level(scan, white_matter(scan.grid, template.brain_mask, IDENTITY, template))
    assert found == pytest.approx(noise, rel=0.15, abs=0.006)


def test_a_clean_head_and_one_with_usual_noise_are_not_warned_about():
    assert seen(head()) == ""
    assert seen(head(0.06)) == ""


def test_strong_noise_and_ghosts_are_told_apart():
    assert "noisy" in seen(head(0.15))
    assert "air" not in seen(head(0.15))
    for strength in (0.3, 0.5):
        assert "air" in seen(ghosted(head(), strength))
        assert "noisy" not in seen(ghosted(head(), strength))


@pytest.mark.parametrize("axis", [0, 1])
def test_uneven_brightness_is_said_and_a_large_lesion_is_none(axis):
    scan = head()
    ramp = np.linspace(0.5, 1.5, scan.array.shape[axis]).reshape([-1 if at == axis else 1 for at in range(3)])
    assert "times as bright in one part" in seen(replace(scan, array=(scan.array * ramp).astype(np.float32)))
    lesion = scan.array.copy()
    # 70 mL of infarct in one hemisphere.
    lesion[24:40, 40:66, 40:61] *= 2.0
    assert seen(replace(scan, array=lesion)) == ""


def test_an_oblique_flipped_anisotropic_scan_is_measured_the_same():
    template, scan = load_template("template_2mm"), head(0.0)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
    turn[:3, 3] = 8.0, -5.0, 6.0
    affine = turn @ np.diag([-2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = (turn @ [100.0, -140.0, -100.0, 1.0])[:3]
    grid = Grid((100, 150, 68), affine)
    mask = resample(template.brain_mask.astype(np.float32), template.grid, grid, np.linalg.inv(turn)) > 0.5
    moved = resample(scan.array, scan.grid, grid, np.linalg.inv(turn))
    grain = np.random.default_rng(1).normal(scale=200.0 * 0.05, size=moved.shape)
    own = Scan(np.abs(moved + grain).astype(np.float32), grid, "T1w", "oblique")
    white = white_matter(grid, mask, turn, template)
    assert noise_level(own, white) == pytest.approx(0.05, rel=0.2)
    quiet, loud = (air_level(one, mask, white, turn) for one in (own, ghosted(own, 0.5)))
    assert quiet is not None
    assert loud is not None
    assert quiet < 0.15 < 0.3 < loud


def test_without_white_matter_or_air_nothing_is_said():
    template = load_template("template_2mm")
    nothing = np.zeros_like(template.brain_mask)
    assert noise_level(head(), nothing) is None
    assert air_level(head(), nothing, nothing, IDENTITY) is None
    inside = np.where(template.brain_mask.any(axis=(1, 2)))[0]
    cut = slice(int(inside[0]) + 20, int(inside[-1]) - 20)
    affine = template.grid.affine.copy()
    affine[:3, 3] = template.grid.to_world(np.array([[cut.start, 40, 40]]))[0]
    small = Scan(head().array[cut, 40:80, 40:80].copy(), Grid((cut.stop - cut.start, 40, 40), affine), "T1w", "tight")
    mask = template.brain_mask[cut, 40:80, 40:80]
    assert air_level(small, mask, white_matter(small.grid, mask, IDENTITY, template), IDENTITY) is None


@needs("single_healthy/synthsr_FLAIR_1mm.nii.gz")
def test_a_real_flair_head_passes_and_its_ghosted_and_noisy_copies_are_warned_about():
    scan, recipe = read_scan(FLAIR, "FLAIR"), Recipe(grid="template_2mm")
    noise = np.random.default_rng(0).normal(scale=0.25 * np.percentile(scan.array, 98), size=scan.array.shape)
    noisy = replace(scan, array=np.abs(scan.array + noise).astype(np.float32))
    clean, ghost, grain = (prepare(one, recipe).warnings for one in (scan, ghosted(scan, 0.5), noisy))
    assert clean == ()
    assert any("signal in the air" in warning for warning in ghost)
    assert any("noisy" in warning for warning in grain)
