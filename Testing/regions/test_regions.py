"""The region of a finding: side, lobe or structure, tissue, McDonald place, distances; in scans of any orientation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from BrainAnomalyLib.detectors.anatomy.structures import STRUCTURES, index_of
from BrainAnomalyLib.findings.columns import cells, shown_columns
from BrainAnomalyLib.findings.table import Finding, find
from BrainAnomalyLib.io.geometry import Affine, Grid, apply_affine, inverse
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.regions.atlas import load_atlas
from BrainAnomalyLib.regions.naming import Regions, structures_on, with_regions
from BrainAnomalyLib.regions.region_summary import by_place, region_summary
from made_detection import made_detection
from synthetic import grid_of, oblique

IDENTITY = np.eye(4)
# A scan that lies shifted and turned by 15 degrees about the template.
TURNED = oblique(15.0) @ np.array([[1.0, 0, 0, 6], [0, 1, 0, -9], [0, 0, 1, 4], [0, 0, 0, 1]])
# ICBM152 mm of places that textbooks name, with the region and tissue there.
PLACES = {
    (-24.0, 36.0, 22.0): ("left", "frontal lobe", "white matter"),
    (24.0, -60.0, 40.0): ("right", "parietal lobe", "white matter"),
    (56.0, -22.0, -14.0): ("right", "temporal lobe", "cortex"),
    (-22.0, -86.0, 4.0): ("left", "occipital lobe", "white matter"),
    (12.0, -18.0, 8.0): ("right", "thalamus", "deep gray matter"),
    (-15.0, 12.0, 8.0): ("left", "caudate nucleus", "deep gray matter"),
    (26.0, 4.0, 2.0): ("right", "putamen", "deep gray matter"),
    (-28.0, -20.0, -14.0): ("left", "hippocampus", "deep gray matter"),
    (0.0, -26.0, -32.0): ("midline", "brainstem", "brainstem"),
    (-30.0, -60.0, -44.0): ("left", "cerebellum", "cortex"),
}


def ball(grid: Grid, onto: Affine, center: tuple[float, float, float], radius: float = 4.5) -> np.ndarray:
    """A map of 1 within ``radius`` mm of a template point."""
    voxels = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    away = np.linalg.norm(apply_affine(onto, grid.to_world(voxels)) - center, axis=1)
    return (away < radius).astype(np.float32).reshape(grid.shape)


@pytest.fixture(
    scope="module",
    params=[("RAS", 0.0, IDENTITY), ("LPS", 0.0, IDENTITY), ("LAS", 17.0, TURNED), ("SPL", -12.0, TURNED)],
    ids=lambda value: f"{value[0]} {value[1]:g} degrees",
)
def scan(request: pytest.FixtureRequest) -> tuple[Grid, Affine, Regions]:
    codes, degrees, onto = request.param
    middle = apply_affine(inverse(onto), np.array([[0.0, -20.0, 0.0]]))[0]
    grid = grid_of((90, 90, 90), (2.0, 2.0, 2.2), codes, degrees, tuple(middle))
    return grid, onto, Regions(grid, onto)


def test_places_of_the_textbook_are_named_in_any_orientation(scan: tuple[Grid, Affine, Regions]) -> None:
    grid, onto, regions = scan
    for center, expected in PLACES.items():
        (finding,) = regions.named(find(ball(grid, onto, center), grid, onto, 0.5)).table
        assert (finding.side, finding.region, finding.tissue) == expected, center


def test_the_place_says_what_is_touched_and_distances_how_far(scan: tuple[Grid, Affine, Regions]) -> None:
    grid, onto, _ = scan
    box = ball(grid, onto, (-26.0, 0.0, 30.0), 30.0) > 0
    structures = np.where(box, index_of("white matter"), 0).astype(np.uint8)
    structures[ball(grid, onto, (-26.0, 0.0, 30.0), 5.0) > 0] = index_of("ventricle")
    regions = Regions(grid, onto, structures)
    (far,) = regions.named(find(ball(grid, onto, (-26.0, 0.0, 48.0), 4.0), grid, onto, 0.5)).table
    assert (far.region, far.tissue, far.place) == ("frontal lobe", "white matter", "deep white matter")
    assert far.cortex_mm is None
    assert far.ventricle_mm == pytest.approx(18.0 - 4.0 - 5.0, abs=2.2)
    (near,) = regions.named(find(ball(grid, onto, (-26.0, 0.0, 38.0), 4.0), grid, onto, 0.5)).table
    assert (near.place, near.ventricle_mm) == ("periventricular", 0.0)
    assert near.where == "left frontal lobe"


def test_without_structures_those_of_the_template_count() -> None:
    grid = grid_named("template_2mm")
    found = find(ball(grid, IDENTITY, (24.0, -60.0, 40.0)), grid, IDENTITY, 0.5)
    own = with_regions(found, grid, IDENTITY, load_atlas().structures)
    assert with_regions(found, grid, IDENTITY).table == own.table
    np.testing.assert_array_equal(structures_on(grid, IDENTITY), load_atlas().structures)
    assert load_atlas().structures.max() < len(STRUCTURES)


def test_a_region_on_both_sides_is_bilateral_and_one_across_the_middle_is_not() -> None:
    grid = grid_named("template_2mm")
    sides = [(-30.0, 0.0, 30.0), (30.0, 0.0, 30.0)]
    bridge = np.zeros(grid.shape, dtype=np.float32)
    (left, _, _), (right, j, k) = (np.rint(grid.to_index(np.array([point]))[0]).astype(int) for point in sides)
    bridge[left : right + 1, j, k] = 1.0
    both = np.maximum.reduce([bridge, *(ball(grid, IDENTITY, point, 9.0) for point in sides)])
    assert find(both, grid, IDENTITY, 0.5).table[0].side == "bilateral"
    middle = find(ball(grid, IDENTITY, (0.0, 0.0, 30.0), 9.0), grid, IDENTITY, 0.5).table[0]
    assert middle.side == "midline"
    assert replace(middle, region="frontal lobe").where == "frontal lobe, midline"


def test_a_ventricles_border_belongs_to_its_neighbor_and_its_inside_to_itself() -> None:
    grid = grid_of((60, 60, 60), (2.0, 2.0, 2.0), center=(0.0, 0.0, 30.0))
    structures = np.full(grid.shape, index_of("white matter"), dtype=np.uint8)
    structures[20:40, 20:40, 20:40] = index_of("ventricle")
    regions, inside, border = Regions(grid, IDENTITY, structures), np.zeros(grid.shape), np.zeros(grid.shape)
    inside[28:32, 28:32, 28:32] = 1.0
    border[20, 24:30, 24:30] = 1.0
    (deep,) = regions.named(find(inside.astype(np.float32), grid, IDENTITY, 0.5)).table
    assert (deep.region, deep.tissue) == ("ventricles", "ventricle border")
    (rim,) = regions.named(find(border.astype(np.float32), grid, IDENTITY, 0.5)).table
    assert (rim.tissue, rim.place) == ("ventricle border", "periventricular")
    assert rim.region.endswith("lobe")


def test_sums_by_region_and_place_count_every_finding() -> None:
    detection = made_detection()
    table = with_regions(detection.findings, detection.scan.grid, detection.template_from_native).table
    sums = json.loads(json.dumps(region_summary(table)))
    assert sum(row["findings"] for row in sums["by_region"]) == len(table) == 2
    assert sum(row["volume_ml"] for row in sums["by_region"]) == pytest.approx(detection.findings.total_ml)
    double = [replace(row, place="periventricular, juxtacortical/cortical") for row in table]
    assert [group.findings for group in by_place(double)] == [2, 2]
    assert by_place([replace(row, place="") for row in table]) == []


def test_columns_appear_where_they_say_something() -> None:
    point = (1.0, 2.0, 3.0)
    plain = Finding(1, 2.0, 3.0, 2.5, point, point, "left")
    assert [column.name for column in shown_columns([plain])] == [
        *("id", "where", "volume_ml", "peak", "mean", "centroid_ras", "centroid_template")
    ]
    named = replace(plain, region="insula", ventricle_mm=0.0)
    columns = shown_columns([plain, named], ("id", "where", "ventricle_mm"))
    assert [cells(row, columns) for row in (plain, named)] == [("1", "left", ""), ("1", "left insula", "0")]
