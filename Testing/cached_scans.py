"""Scans of a cohort on a template grid, for the scripts that measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyTrainingLib.cache.cached_scans import CacheTask, cache_scan
from BrainAnomalyTrainingLib.cohort.cohort import CohortScan


def cached_scans(
    cohort: Iterable[CohortScan], cache: Path, grid: str = "template_2mm"
) -> Iterator[tuple[CohortScan, PreparedScan]]:
    """Each scan that can be prepared, prepared where it is not in the cache yet."""
    recipe = Recipe(grid=grid)
    for scan in cohort:
        cached = cache_scan(CacheTask(scan, recipe, cache)).cached
        if cached is not None:
            yield scan, cached.prepared(recipe)
