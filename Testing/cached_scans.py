"""Scans of a cohort on the 2 mm grid, for the scripts that calibrate and measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from BrainAnomalyLib.io.geometry import FloatArray, MaskArray
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyTrainingLib.cache.cached_scans import CacheTask, cache_scan
from BrainAnomalyTrainingLib.cohort.cohort import CohortScan


@dataclass(frozen=True, eq=False)
class HeldScan:
    """Intensities (i, j, k; 0 outside the brain) and the brain in memory, as a trainer wants a scan."""

    values: FloatArray
    brain_mask: MaskArray

    def image(self) -> FloatArray:
        """Intensities (i, j, k)."""
        return self.values

    def mask(self) -> MaskArray:
        """The brain (i, j, k)."""
        return self.brain_mask


def cached_scans(cohort: Iterable[CohortScan], cache: Path) -> Iterator[tuple[CohortScan, PreparedScan]]:
    """Each scan that can be prepared, prepared where it is not in the cache yet."""
    recipe = Recipe(grid="template_2mm")
    for scan in cohort:
        cached = cache_scan(CacheTask(scan, recipe, cache)).cached
        if cached is not None:
            yield scan, cached.prepared(recipe)
