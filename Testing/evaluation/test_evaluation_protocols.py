"""The papers' protocols: what each does to a scan before it is scored, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.evaluation.healthy import rate_thresholds
from BrainAnomalyLib.evaluation.protocols import PROTOCOLS, applied, protocol_named
from BrainAnomalyLib.evaluation.scan import EvaluatedScan, boxed, whole
from BrainAnomalyLib.evaluation.summary import summarize


def made(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> EvaluatedScan:
    """A map that is its own slice number, inside a brain that fills the field."""
    levels = np.broadcast_to(np.arange(shape[2], dtype=np.float32), shape).copy()
    brain = np.ones(shape, dtype=bool)
    return EvaluatedScan("one", levels, np.zeros(shape, dtype=bool), brain, float(np.prod(spacing)), spacing=spacing)


def test_the_seeds_protocols_are_there() -> None:
    assert set(PROTOCOLS) == {"default", "luo", "meissen_1", "meissen_2", "baur", "behrendt", "kascenas"}


def test_an_unknown_protocol_is_refused_in_words() -> None:
    with pytest.raises(OptionsError, match="no protocol named 'x'"):
        protocol_named("x")


def test_the_default_changes_nothing() -> None:
    scan = made((6, 6, 6))
    seen = applied(protocol_named("default"), scan)
    assert np.array_equal(seen.anomaly, scan.anomaly)
    assert np.array_equal(seen.evaluated, scan.evaluated)
    assert protocol_named("default").minimum_mm3(scan) == 20.0


@pytest.mark.parametrize(("name", "first", "last", "pixels"), [("meissen_1", 15, 124, 128), ("meissen_2", 84, 87, 224)])
def test_meissens_slices_and_size(name: str, first: int, last: int, pixels: int) -> None:
    seen = applied(protocol_named(name), made((64, 64, 155)))
    assert (seen.anomaly.min(), seen.anomaly.max()) == (first, last)
    assert seen.anomaly.shape == (pixels, pixels, last - first + 1)
    assert seen.voxel_mm3 == pytest.approx((64.0 / pixels) ** 2)


def test_a_single_slice_stays_whole() -> None:
    assert applied(protocol_named("meissen_2"), made((224, 224, 1))).anomaly.shape == (224, 224, 1)


def in_a_field(shape: tuple[int, int, int] = (60, 70, 62)) -> EvaluatedScan:
    """A brain off the middle of its field of view, with a lesion and a reconstruction."""
    random = np.random.default_rng(4)
    brain, truth = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    brain[8:50, 20:66, 5:60] = True
    truth[20:28, 40:48, 28:40] = True
    anomaly = np.where(brain, random.random(shape) + truth, 0.0).astype(np.float32)
    image = np.where(brain, random.random(shape) + 2 * truth, 0.0).astype(np.float32)
    healthy = np.where(brain, 0.2, 0.0).astype(np.float32)
    return EvaluatedScan("one", anomaly, truth, brain, 1.0, image, healthy, spacing=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_scan_kept_as_the_box_around_its_brain_is_scored_in_its_whole_field_of_view(name: str) -> None:
    scan, protocol = in_a_field(), protocol_named(name)
    # The windows of the structural similarity end where the arrays end.
    groups = tuple(group for group in protocol.groups if group != "reconstruction")
    protocol = replace(protocol, groups=groups, crop_mm=(30.0, 30.0, 30.0) if protocol.crop_mm else None)
    rows = [
        {(row.metric, row.threshold_source): row.estimate.value for row in summarize([one], protocol, bootstrap=0)}
        for one in (scan, boxed(scan))
    ]
    assert boxed(scan).anomaly.shape == (42, 46, 55)
    assert rows[1] == pytest.approx(rows[0], nan_ok=True)


def test_rates_are_parts_of_the_brain_where_the_background_counts_too() -> None:
    scan = in_a_field()
    calm = replace(scan, truth=np.zeros_like(scan.truth), threshold=1.0, promised={0.1: 1.0})
    made_so = applied(protocol_named("meissen_1"), calm)
    inside = made_so.anomaly[made_so.anomaly > 0]
    assert rate_thresholds([made_so])[0.1] == pytest.approx(np.quantile(inside, 0.9))
    rows = {row.metric: row.estimate.value for row in summarize([calm], "meissen_1", bootstrap=0)}
    part = pytest.approx(np.mean(inside > 1.0))
    assert rows["healthy scans: part of the brain above"] == rows["healthy voxels above, promised 10.0%"] == part


def test_the_papers_slices_are_those_of_the_field_of_view() -> None:
    scan = made((64, 64, 155))
    brain = scan.evaluated.copy()
    brain[:, :, :40], brain[:, :, 140:] = False, False
    seen = applied(protocol_named("meissen_1"), replace(scan, evaluated=brain))
    assert (seen.anomaly.min(), seen.anomaly.max()) == (15, 124)


def test_froc_drops_components_by_each_scans_own_voxels() -> None:
    shape = (12, 12, 12)
    fine, coarse = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    truth = np.zeros(shape, dtype=bool)
    truth[1:4, 1:4, 1:4] = True
    fine[truth] = coarse[truth] = 1.0
    coarse[8:10, 8:10, 8] = 2.0
    brain = np.ones(shape, dtype=bool)
    scans = [EvaluatedScan("a", fine, truth, brain, 1.0), EvaluatedScan("b", coarse, truth, brain, 8.0)]
    protocol = replace(protocol_named("default"), drop_voxels=7)
    for order in (scans, scans[::-1]):
        rows = {row.metric: row.estimate.value for row in summarize(order, protocol, bootstrap=0)}
        # The false finding has 4 voxels, which is less than 7 whatever their size: there is none to pay for.
        assert rows["FROC: lesions hit at 0.5 false findings per scan"] == 1.0
        assert rows["FROC: lesions hit at 8 false findings per scan"] == 1.0


def test_background_counts_where_the_paper_counts_it() -> None:
    scan = made((128, 128, 5))
    brain = scan.evaluated.copy()
    brain[:64] = False
    scan = replace(scan, evaluated=brain)
    assert applied(protocol_named("kascenas"), scan).evaluated.all()
    assert applied(protocol_named("default"), scan).evaluated.mean() == 0.5


def test_behrendt_goes_to_2_mm_and_drops_7_voxels_there() -> None:
    protocol = protocol_named("behrendt")
    scan = made((40, 40, 40))
    seen = whole(applied(protocol, scan))
    assert seen.anomaly.shape == (20, 20, 20)
    assert protocol.minimum_mm3(seen) == 7 * 8.0
    # Three erosions by a cross leave the inner 14 of 20 voxels along each axis; those of the border have no outside.
    assert seen.evaluated.sum() == 14**3


def test_baur_keeps_bright_voxels_above_their_reconstruction() -> None:
    shape = (41, 41, 9)
    scan = made(shape)
    image = np.broadcast_to(np.arange(41, dtype=np.float32)[:, None, None], shape).copy()
    healthy = np.where(np.arange(41)[None, :, None] < 20, 0.0, 100.0).astype(np.float32) * np.ones(shape, np.float32)
    ones = np.ones(shape, dtype=np.float32)
    protocol = replace(protocol_named("baur"), median=None)
    seen = whole(applied(protocol, replace(scan, anomaly=ones, image=image, pseudo_healthy=healthy)))
    # Twelve erosions in the plane leave 12..28; the 0.9 quantile of these intensities is 27; columns below 20 are
    # brighter than their reconstruction.
    assert sorted(set(np.argwhere(seen.anomaly > 0)[:, 0])) == [27, 28]
    assert sorted(set(np.argwhere(seen.anomaly > 0)[:, 1])) == list(range(12, 20))
    assert seen.evaluated.any(axis=(0, 1)).all()


def test_luo_crops_around_the_brain() -> None:
    assert applied(protocol_named("luo"), made((200, 220, 120))).anomaly.shape == (160, 192, 96)


def test_resampled_truth_is_cut_at_the_papers_level() -> None:
    scan = made((40, 40, 40))
    truth = np.zeros((40, 40, 40), dtype=bool)
    truth[10:20, 10:20, 10:20] = True
    low = applied(replace(protocol_named("behrendt"), truth_above=0.4), replace(scan, truth=truth)).truth.sum()
    high = applied(replace(protocol_named("behrendt"), truth_above=0.9), replace(scan, truth=truth)).truth.sum()
    assert 0 < high < low


def test_a_protocol_that_leaves_nothing_says_so() -> None:
    with pytest.raises(OptionsError, match="leaves no brain voxel of 'one'"):
        applied(protocol_named("baur"), made((20, 20, 10)))
