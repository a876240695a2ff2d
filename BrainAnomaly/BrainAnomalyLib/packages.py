"""Model packages: a trained model on disk, laid out like a MONAI bundle, that executes nothing when opened.

configs/metadata.json       detector, config, recipe, contrasts, cohort, calibration, licence (see SCHEMA)
models/model.safetensors    weights
calibration.safetensors     healthy residual statistics in template space
docs/README.md              model card
LICENSE                     licence of weights and the attribution of their data
SHA256SUMS.json             hash of every other file
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .errors import PackageError
from .preparation.recipe import Recipe, recipe_from_json
from .resources import sha256

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "brain-anomaly-package/1"
METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
CALIBRATION = "calibration.safetensors"
MODEL_CARD = "docs/README.md"
LICENSE = "LICENSE"
HASHES = "SHA256SUMS.json"
REQUIRED = (METADATA, WEIGHTS, CALIBRATION, MODEL_CARD, LICENSE)
LARGEST_BYTES = 4 * 1024**3

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("format", "name", "version", "description", "detector", "config", "recipe", "recipe_identity"),
        *("contrasts", "cohort", "calibration", "license", "intended_use", "network_data_format"),
    ],
    "properties": {
        "format": {"const": FORMAT},
        "name": {"type": "string", "minLength": 1},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "description": {"type": "string"},
        "authors": {"type": "string"},
        "detector": {"type": "string"},
        "config": {"type": "object"},
        "recipe": {"type": "object"},
        "recipe_identity": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "contrasts": {"type": "array", "items": {"enum": ["T1w", "T2w", "FLAIR", "PD"]}, "minItems": 1},
        "cohort": {
            "type": "object",
            "required": ["scans", "sources"],
            "properties": {
                "scans": {"type": "integer", "minimum": 1},
                "age_range_years": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                "scanners": {"type": "array", "items": {"type": "string"}},
                "sources": {"type": "array", "items": {"type": "string"}},
            },
        },
        "calibration": {
            "type": "object",
            "required": ["scans", "quantiles", "default_threshold", "default_source"],
            "properties": {
                "scans": {"type": "integer", "minimum": 0},
                "quantiles": {"type": "object", "additionalProperties": {"type": "number"}},
                "default_threshold": {"type": "number"},
                "default_source": {"type": "string"},
            },
        },
        "license": {"type": "string", "minLength": 1},
        "intended_use": {"type": "string", "minLength": 1},
        "network_data_format": {"type": "object"},
        "monai_version": {"type": "string"},
        "pytorch_version": {"type": "string"},
        "numpy_version": {"type": "string"},
        "changelog": {"type": "object"},
        "task": {"type": "string"},
    },
}


@dataclass(frozen=True, eq=False)
class Package:
    """A verified package: its folder, metadata (checked against SCHEMA), preparation recipe and identity.

    ``identity`` is the SHA-256 of the hash list, so equal identities mean equal files.
    """

    folder: Path
    metadata: dict[str, Any]
    recipe: Recipe
    identity: str

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by name, on the CPU."""
        return _tensors(self.folder / WEIGHTS)

    def calibration(self) -> dict[str, Tensor]:
        """Healthy statistics by name; volumes have axes (i, j, k) on the recipe's grid."""
        return _tensors(self.folder / CALIBRATION)


def read_package(folder: str | Path) -> Package:
    """Open a package folder. Raises PackageError for a missing, damaged, foreign or incompatible one."""
    folder = Path(folder)
    if not (folder / HASHES).is_file():
        raise PackageError(f"'{folder}' is not a model package.", "Choose a folder that holds SHA256SUMS.json.")
    _verify_hashes(folder)
    metadata = _metadata(folder)
    recipe = _recipe(metadata, folder)
    return Package(folder, metadata, recipe, sha256(folder / HASHES))


def write_package(
    folder: str | Path,
    metadata: dict[str, Any],
    weights: dict[str, Tensor],
    calibration: dict[str, Tensor],
    model_card: str,
    license_text: str,
) -> Package:
    """Write a package into a new or empty ``folder`` and read it back. Raises PackageError."""
    from safetensors.torch import save_file

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise PackageError(f"'{folder}' is not empty.", "Choose a new folder for the package.")
    _check_schema(metadata, folder)
    for name in REQUIRED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    save_file(weights, folder / WEIGHTS)
    save_file(calibration, folder / CALIBRATION)
    (folder / MODEL_CARD).write_text(model_card, encoding="utf-8")
    (folder / LICENSE).write_text(license_text, encoding="utf-8")
    write_hashes(folder)
    return read_package(folder)


def write_hashes(folder: Path) -> None:
    """Write the hash list of every file in a package folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != HASHES)
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    (folder / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def _verify_hashes(folder: Path) -> None:
    listed = _json(folder / HASHES)
    missing = [name for name in REQUIRED if name not in listed]
    if missing:
        raise PackageError(f"The model package '{folder.name}' lacks {', '.join(missing)}.", _AGAIN)
    for name, expected in listed.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise PackageError(f"The model package '{folder.name}' names a file outside itself.", "Do not use it.")
        if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST_BYTES:
            raise PackageError(f"The model package '{folder.name}' lacks the file {name}.", _AGAIN)
        if sha256(path) != expected:
            raise PackageError(f"The file {name} of the model package '{folder.name}' was changed or damaged.", _AGAIN)


_AGAIN = "Copy or import the package again."


def _metadata(folder: Path) -> dict[str, Any]:
    metadata = _json(folder / METADATA)
    _check_schema(metadata, folder)
    return metadata


def _check_schema(metadata: dict[str, Any], folder: Path) -> None:
    import jsonschema

    try:
        jsonschema.validate(metadata, SCHEMA)
    except jsonschema.ValidationError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "the top level"
        message = f"The metadata of the model package '{folder.name}' is not valid at {place}: {error.message}."
        raise PackageError(message, "Use a package written by this version of BrainAnomaly.") from error


def _recipe(metadata: dict[str, Any], folder: Path) -> Recipe:
    recipe = recipe_from_json(metadata["recipe"])
    if recipe.identity() != metadata["recipe_identity"] or recipe.version != Recipe().version:
        raise PackageError(
            f"The model package '{folder.name}' was trained on scans prepared by another recipe.",
            "Use a package made for this version of BrainAnomaly, or train the model again.",
        )
    return recipe


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"The file {path.name} of the model package cannot be read.", _AGAIN) from error
    if not isinstance(content, dict):
        raise PackageError(f"The file {path.name} of the model package is not a JSON object.", _AGAIN)
    return content


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise PackageError(f"The file {path.name} of the model package cannot be read.", _AGAIN) from error
