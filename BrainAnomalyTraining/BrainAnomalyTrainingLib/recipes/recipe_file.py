"""Recipes as files: what a package is made of, and what it says of itself.

A recipe is a folder with ``recipe.json``, and for packages a ``LICENSE``. Data are named by folders and files below a
data folder that the command is given; a researcher with other data changes these entries.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.volumes import Contrast

from ..export.package_export import Statement

RECIPE_FILE, LICENSE_FILE = "recipe.json", "LICENSE"
Made = Literal["network", "evidence", "brain_mask", "structure_network"]
T = TypeVar("T")


@dataclass(frozen=True)
class CohortFolder:
    """A folder of healthy scans. ``scanner`` names their scanner where the folder does not tell."""

    folder: str
    contrast: Contrast
    scanner: str


@dataclass(frozen=True)
class Split:
    """Shares of the subjects that calibrate and that are kept for tests; the rest is learned from."""

    calibration: float = 0.12
    test: float = 0.12
    seed: int = 20


@dataclass(frozen=True)
class LabelMaps:
    """Scans painted on label maps, ``each`` of every map, to learn from beside the cohort."""

    folder: str
    files: tuple[str, ...]
    each: int
    seed: int


@dataclass(frozen=True)
class StrokeSlices:
    """Lesion-free slices of patients, ``share`` of all that is drawn."""

    folder: str
    share: float


@dataclass(frozen=True)
class Training:
    """How a network is trained; the rest is the preset's. ``watched`` scans of the cohort only watch the training."""

    preset: str = "paper"
    config: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    batch: int = 0
    seed: int = 7
    watched: int = 4
    label_maps: LabelMaps | None = None
    stroke_slices: StrokeSlices | None = None


@dataclass(frozen=True)
class CalibrationStep:
    """A contrast that is calibrated: on the split's part, or on ``files`` (patterns below the data folder).

    ``brain_labels`` takes the brain masks that lie beside the scans in the place of the program's own. ``alone`` allows
    a single scan.
    """

    contrast: Contrast
    files: tuple[str, ...] = ()
    brain_labels: bool = False
    alone: bool = False


@dataclass(frozen=True)
class PackageRecipe:
    """A whole recipe. ``parts`` are the recipes whose packages' networks it puts together, by the part's name."""

    folder: Path
    makes: Made
    detector: str = ""
    data: tuple[CohortFolder, ...] = ()
    split: Split = field(default_factory=Split)
    training: Training = field(default_factory=Training)
    parts: dict[str, str] = field(default_factory=dict)
    calibrations: tuple[CalibrationStep, ...] = ()
    statement: Statement = field(default_factory=Statement)

    @property
    def license_text(self) -> str:
        """The text of the package's license file."""
        return (self.folder / LICENSE_FILE).read_text(encoding="utf-8")


def read_recipe(folder: str | Path) -> PackageRecipe:
    """The recipe in a folder. Raises OptionsError for one that is missing, damaged or has unknown entries."""
    file = Path(folder) / RECIPE_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return _recipe(Path(folder), values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        message = f"The recipe '{file}' cannot be read: {error}."
        raise OptionsError(message, f"Give a folder with a {RECIPE_FILE}.") from error


def _recipe(folder: Path, values: dict[str, Any]) -> PackageRecipe:
    training = dict(values.get("training", {}))
    training["label_maps"] = _entry(LabelMaps, training.get("label_maps"))
    training["stroke_slices"] = _entry(StrokeSlices, training.get("stroke_slices"))
    return PackageRecipe(
        **{
            **values,
            "folder": folder,
            "data": tuple(CohortFolder(**one) for one in values.get("data", ())),
            "split": Split(**values.get("split", {})),
            "training": Training(**training),
            "calibrations": tuple(_made(CalibrationStep, one) for one in values.get("calibrations", ())),
            "statement": _made(Statement, values.get("statement", {})),
        }
    )


def _entry(kind: type[T], values: dict[str, Any] | None) -> T | None:
    return None if values is None else _made(kind, values)


def _made(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of JSON values; lists become tuples."""
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(values) - known:
        raise ValueError(f"unknown entries {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
