"""A preparation recipe: every choice that changes what a detector sees, with an identity to compare."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from ..errors import OptionsError
from ..resources import network_identity
from .brain.methods import AUTOMATIC, CHOICES
from .intensity.scale import IntensityReference
from .space.grids import GRIDS
from .space.registration import RegistrationModel

# Raise this when a step changes its result for the same options, so that old packages are refused.
VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """How a scan is prepared. ``grid`` names an entry of ``grids.GRIDS``; ``intensity`` one of ``intensity.py``.

    ``brain`` is how the brain is found (``brain.methods.CHOICES``), unless the user gives a mask or says otherwise;
    ``brain_weights`` tells apart the networks that may have found it.
    """

    grid: str = "template_1mm"
    bias_correction: bool = True
    registration: RegistrationModel = "affine"
    intensity: IntensityReference = "white_matter"
    brain: str = AUTOMATIC
    brain_weights: str = field(default_factory=lambda: network_identity("BrainMask"))
    version: int = VERSION

    def identity(self) -> str:
        """SHA-256 of all entries; equal identities mean equal preparation."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def recipe_from_json(values: dict[str, Any]) -> Recipe:
    """A recipe from a package's metadata. Raises OptionsError for unknown entries or values."""
    unknown = set(values) - {field.name for field in fields(Recipe)}
    if unknown:
        raise OptionsError(f"The preparation recipe has unknown entries: {', '.join(sorted(unknown))}.")
    recipe = Recipe(**values)
    allowed = {
        "grid": tuple(GRIDS),
        "bias_correction": (True, False),
        "registration": get_args(RegistrationModel),
        "intensity": get_args(IntensityReference),
        "brain": CHOICES,
        "brain_weights": (network_identity("BrainMask"),),
    }
    for name, choices in allowed.items():
        if getattr(recipe, name) not in choices:
            raise OptionsError(f"The preparation recipe's {name} '{getattr(recipe, name)}' is not known.")
    return recipe
