"""Findings of two dates followed: what is new, growing, stable, shrinking or gone, with volumes worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from BrainAnomalyLib.findings.changes import CORE, REACH, PriorDate, change_summary, changed_regions, followed
from BrainAnomalyLib.findings.table import Finding
from BrainAnomalyLib.io.geometry import regular_grid

SHAPE = (60, 20, 20)
GRID = regular_grid(SHAPE, 1.0, (0.0, 0.0, 0.0))
SMALLEST_ML = 0.02
THRESHOLD = 2.0
# Finding to the x where its cube of 4 x 4 x 4 voxels begins.
PLACES = {"stable": 2, "new": 12, "gone": 22, "growing": 32, "shrinking": 44}


def cube(start: int, length: int = 4) -> tuple[slice, slice, slice]:
    return slice(start, start + length), slice(8, 12), slice(8, 12)


def maps() -> tuple[np.ndarray, PriorDate]:
    """Maps of both dates: 3 in a lesion, 0 elsewhere; the growth is 8 where something came and -8 where it went."""
    now, before, growth = (np.zeros(SHAPE, dtype=np.float32) for _ in range(3))
    now[cube(PLACES["stable"])] = before[cube(PLACES["stable"])] = 3.0
    now[cube(PLACES["new"])], growth[cube(PLACES["new"])] = 3.0, 8.0
    before[cube(PLACES["gone"])], growth[cube(PLACES["gone"])] = 3.0, -8.0
    now[cube(PLACES["growing"], 8)], before[cube(PLACES["growing"])] = 3.0, 3.0
    growth[cube(PLACES["growing"] + 4)] = 8.0
    now[cube(PLACES["shrinking"])], before[cube(PLACES["shrinking"], 6)] = 3.0, 3.0
    growth[cube(PLACES["shrinking"] + 4, 2)] = -8.0
    return now, PriorDate("earlier", np.zeros(SHAPE, dtype=np.float32), before, growth, growth, SMALLEST_ML, np.eye(4))


def by_change(now: np.ndarray, prior: PriorDate) -> dict[str, Finding]:
    found = followed(now, prior, GRID, np.eye(4), THRESHOLD)
    assert len({row.change for row in found.table}) == len(found.table)
    return {row.change: row for row in found.table}


def test_every_finding_has_its_change_and_its_volumes() -> None:
    rows = by_change(*maps())
    assert set(rows) == set(PLACES)
    volumes = {name: (row.volume_ml, row.prior_ml, row.change_ml) for name, row in rows.items()}
    assert volumes["stable"] == pytest.approx((0.064, 0.064, 0.0))
    assert volumes["new"] == pytest.approx((0.064, 0.0, 0.064))
    assert volumes["gone"] == pytest.approx((0.0, 0.064, -0.064))
    assert volumes["growing"] == pytest.approx((0.128, 0.064, 0.064))
    assert volumes["shrinking"] == pytest.approx((0.064, 0.096, -0.032))
    percents = {name: row.change_percent for name, row in rows.items()}
    assert percents.pop("new") is None
    assert percents == pytest.approx({"stable": 0.0, "gone": -100.0, "growing": 100.0, "shrinking": -100.0 / 3.0})


def test_the_dates_the_other_way_round_mirror_every_change() -> None:
    now, prior = maps()
    rows = by_change(now, prior)
    back = by_change(
        prior.anomaly, PriorDate("later", prior.scan, now, -prior.growth, -prior.growth, SMALLEST_ML, np.eye(4))
    )
    for name, other in {"stable": "stable", "new": "gone", "growing": "shrinking", "shrinking": "growing"}.items():
        assert back[other].change_ml == pytest.approx(-rows[name].change_ml)
        assert back[other].prior_ml == pytest.approx(rows[name].volume_ml)


def test_maps_that_differ_without_a_change_of_the_scan_are_stable() -> None:
    now, prior = maps()
    still = PriorDate(
        "earlier", prior.scan, prior.anomaly, *[np.zeros(SHAPE, dtype=np.float32)] * 2, SMALLEST_ML, np.eye(4)
    )
    assert {row.change for row in followed(now, still, GRID, np.eye(4), THRESHOLD).table} == {"stable"}


def test_a_lesion_that_both_dates_mark_and_that_shines_brighter_has_not_grown() -> None:
    now, before, growth = (np.zeros(SHAPE, dtype=np.float32) for _ in range(3))
    now[cube(2)], before[cube(2)], growth[cube(2)] = 5.0, 3.0, 8.0
    (row,) = followed(
        now, PriorDate("earlier", before, before, growth, growth, SMALLEST_ML, np.eye(4)), GRID, np.eye(4), THRESHOLD
    ).table
    assert (row.change, row.change_ml, row.volume_ml) == ("stable", 0.0, pytest.approx(0.064))


def test_labels_hold_what_a_finding_covers_at_either_date() -> None:
    found = followed(*maps()[:1], maps()[1], GRID, np.eye(4), THRESHOLD)
    gone = next(row for row in found.table if row.change == "gone")
    assert np.count_nonzero(found.labels == gone.id) == 64
    assert (found.labels[cube(PLACES["gone"])] == gone.id).all()


def test_a_change_needs_a_core_a_size_and_a_map_that_speaks() -> None:
    growth = np.zeros(SHAPE, dtype=np.float32)
    growth[cube(2)] = REACH + 0.5
    everywhere = np.ones(SHAPE, dtype=np.bool_)
    assert not changed_regions(growth, everywhere, GRID, SMALLEST_ML).any()
    growth[4, 9, 9] = CORE + 0.5
    assert np.count_nonzero(changed_regions(growth, everywhere, GRID, SMALLEST_ML)) == 64
    growth[4, 9, 9] = 40.0
    assert np.count_nonzero(changed_regions(growth, everywhere, GRID, SMALLEST_ML)) == 1
    assert np.count_nonzero(changed_regions(growth, everywhere, GRID, SMALLEST_ML, marked=everywhere)) == 64
    assert not changed_regions(growth, everywhere, GRID, 0.064).any()
    assert not changed_regions(growth, ~everywhere, GRID, SMALLEST_ML).any()


def test_the_changes_of_all_findings_are_summed_in_a_sentence_without_the_rejected() -> None:
    now, prior = maps()
    table = list(by_change(now, prior).values())
    more, before = sum(row.change_ml for row in table), sum(row.prior_ml for row in table)
    counts, total = "1 new, 1 growing, 1 stable, 1 shrinking, 1 gone", f"{more:+.2f} mL ({100 * more / before:+.0f} %)"
    assert change_summary(table, "May") == f"Since 'May': {counts}; {total} in all."
    without = [replace(row, review="rejected") if row.change == "new" else row for row in table]
    assert "new" not in change_summary(without, "May")
    assert change_summary([], "May") == "Since 'May': nothing found."
