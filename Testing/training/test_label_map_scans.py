"""Made-up scans of label maps: each tissue has its own value, fluid meets white matter without a rim."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from BrainAnomalyLib.io.geometry import inverse
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyTrainingLib.brain_mask.training import closed
from BrainAnomalyTrainingLib.recipes.label_map_scans import TISSUES, Anatomy, made_scan, made_scans, read_anatomy
from shared_data import FOLDER, needs

MAPS = FOLDER / "synthseg_label_maps"


def ball_in_white() -> Anatomy:
    """A ventricle in white matter under a cortex, on the template's own grid."""
    template = load_template("template_2mm")
    distance = ndimage.distance_transform_edt(template.brain_mask)
    labels = np.where(distance > 3.0, 2, np.where(distance > 0.0, 3, 0)).astype(np.int16)
    labels[distance > 0.7 * distance.max()] = 4
    return Anatomy(labels, inverse(template.grid.affine))


def test_tissues_share_no_label():
    every = [label for group in TISSUES.values() for label in group]
    assert len(every) == len(set(every))


def test_the_same_seed_makes_the_same_scan_and_another_seed_another_one():
    first, again, other = (made_scan(ball_in_white(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


@pytest.mark.parametrize("seed", range(4))
def test_white_matter_is_one_and_the_rest_is_empty(seed):
    scan = made_scan(ball_in_white(), np.random.default_rng(seed))
    assert scan.image().shape == load_template("template_2mm").grid.shape
    assert scan.image().dtype == np.float32
    assert scan.mask().dtype == np.bool_
    assert not scan.values[~scan.brain_mask].any()
    values, counts = np.unique(np.round(scan.values[scan.brain_mask], 1), return_counts=True)
    assert abs(values[np.argmax(counts)] - 1.0) < 0.11


def test_dark_fluid_meets_white_matter_without_a_bright_rim():
    anatomy = ball_in_white()
    for seed in range(12):
        scan = made_scan(anatomy, np.random.default_rng(seed))
        fluid = ndimage.binary_opening(scan.brain_mask & (scan.values < 0.6))
        if fluid.sum() < 200 or not ndimage.binary_erosion(scan.brain_mask, iterations=12)[fluid].any():
            continue
        rim = ndimage.binary_dilation(fluid, iterations=4) & ndimage.binary_erosion(scan.brain_mask, iterations=8)
        assert rim.sum() > 100
        assert np.quantile(scan.values[rim], 0.98) < 1.25
        return
    pytest.fail("no seed made dark fluid")


def test_closing_fills_furrows_and_holes_but_does_not_grow():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[4:16, 4:16, 4:16] = True
    gaps = mask.copy()
    gaps[9:11, 4:12, 4:16] = False
    gaps[6:9, 6:9, 6:9] = False
    found = closed(gaps, 1.5)
    assert not (found & ~mask).any()
    assert found.sum() > 0.99 * mask.sum() > gaps.sum()


@needs("synthseg_label_maps")
def test_a_real_label_map_is_aligned_with_the_template_however_it_is_stored(tmp_path):
    source = nibabel.load(MAPS / "training_seg_03.nii.gz")
    turned = nibabel.as_closest_canonical(source).as_reoriented([[1, -1], [2, 1], [0, -1]])
    nibabel.save(turned, tmp_path / "training_seg_gedreht_ä.nii.gz")
    template = load_template("template_2mm")
    own = made_scan(read_anatomy(MAPS / "training_seg_03.nii.gz"), np.random.default_rng(1))
    (other,) = made_scans(tmp_path.iterdir(), 1, seed=1)
    overlaps = []
    for scan in (own, other):
        both = np.count_nonzero(scan.brain_mask & template.brain_mask)
        overlaps.append(2.0 * both / (scan.brain_mask.sum() + template.brain_mask.sum()))
        assert 1300.0 < scan.brain_mask.sum() * 0.008 < 2200.0
    assert min(overlaps) > 0.85
    assert overlaps[0] == pytest.approx(overlaps[1], abs=0.02)
