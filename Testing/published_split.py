"""The cohort of the shipped T1w packages, split as it was for them: what tests and measurements must keep apart."""

from __future__ import annotations

from pathlib import Path

from BrainAnomalyTrainingLib.recipes.ingredients import CohortParts, cohort_parts
from BrainAnomalyTrainingLib.recipes.recipe_file import read_recipe

_RECIPE = Path(__file__).resolve().parents[1] / "BrainAnomalyTraining" / "Recipes" / "combined"


def published_split(data: Path) -> CohortParts:
    """Scans learned from, calibrated with and kept for tests, as the recipe of ``combined`` says."""
    return cohort_parts(read_recipe(_RECIPE), data)
