"""Model packages: a trained model on disk, laid out like a MONAI bundle, that executes nothing when opened.

configs/metadata.json       detector, config, recipe, contrasts, cohort, calibration, license (see packages/schema.py)
models/model.safetensors    weights; of several networks each under its name and a dot
calibration.safetensors     healthy statistics in template space; of several contrasts each under its name and a dot
docs/README.md              model card
LICENSE                     license of weights and the attribution of their data
SHA256SUMS.json             hash of every other file
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import OptionsError, OutputError, PackageError
from ..preparation.recipe import Recipe, recipe_from_json
from ..resources import sha256
from .schema import FORMAT, SCHEMA, fault

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FORMAT", "SCHEMA", "Package", "read_metadata", "read_package", "write_hashes", "write_package"]

T = TypeVar("T")
METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
CALIBRATION = "calibration.safetensors"
MODEL_CARD = "docs/README.md"
LICENSE = "LICENSE"
HASHES = "SHA256SUMS.json"
REQUIRED = (METADATA, WEIGHTS, CALIBRATION, MODEL_CARD, LICENSE)
LARGEST_BYTES = 4 * 1024**3
LARGEST_TEXT_BYTES = 4 * 1024**2

_AGAIN = "Copy or import the package again."
_LONGEST_REASON = 200
# safetensors writes files that only their owner can read; models are for everyone on a computer.
_READABLE = 0o644


@dataclass(frozen=True, eq=False)
class Package:
    """A verified package: its folder, metadata (checked against SCHEMA), preparation recipe and identity.

    ``identity`` is the SHA-256 of the hash list, so equal identities mean equal files. Of one with several networks,
    ``part`` is a view of one of them, whose tensors begin with ``prefix``.
    """

    folder: Path
    metadata: dict[str, Any]
    recipe: Recipe
    identity: str
    prefix: str = ""

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by name, on the CPU."""
        return below(_tensors(self.folder / WEIGHTS), self.prefix)

    def calibration(self) -> dict[str, Tensor]:
        """Healthy statistics by name; volumes have axes (i, j, k) on the recipe's grid."""
        return below(_tensors(self.folder / CALIBRATION), self.prefix)

    def part(self, name: str) -> Package:
        """One of the networks inside, as a package of its own. Raises PackageError if there is none of that name."""
        stated = self.metadata.get("parts", {}).get(name)
        if stated is None:
            raise PackageError(f"The model package '{self.folder.name}' holds no network '{name}'.", _AGAIN)
        return replace(self, metadata={"contrasts": self.metadata["contrasts"], **stated}, prefix=f"{name}.")


def below(tensors: dict[str, T], prefix: str) -> dict[str, T]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def read_package(folder: str | Path) -> Package:
    """Open a package folder. Raises PackageError for a missing, damaged, foreign or incompatible one."""
    folder = Path(folder)
    _verify_hashes(folder)
    metadata = read_metadata(folder)
    return Package(folder, metadata, _recipe(metadata, folder), sha256(folder / HASHES))


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """The metadata of a package folder, checked against SCHEMA and this version's recipe; no file is hashed.

    Quick enough for lists of packages; what is to be used comes through ``read_package``. Raises PackageError.
    """
    folder = Path(folder)
    missing = [name for name in REQUIRED if name not in hash_list(folder) or not (folder / name).is_file()]
    if missing:
        raise PackageError(f"The model package '{folder.name}' lacks {', '.join(missing)}.", _AGAIN)
    metadata = _json(folder / METADATA)
    _check_schema(metadata, folder)
    _recipe(metadata, folder)
    return metadata


def hash_list(folder: Path) -> dict[str, str]:
    """SHA-256 by file name (with forward slashes) as the package states them. Raises PackageError."""
    if not (folder / HASHES).is_file():
        raise PackageError(f"'{folder}' is not a model package.", f"Choose a folder that holds {HASHES}.")
    listed = _json(folder / HASHES)
    for name, expected in listed.items():
        if not is_inside(name) or not isinstance(expected, str):
            raise PackageError(f"The model package '{folder.name}' names a file outside itself.", "Do not use it.")
    return listed


def is_inside(name: str) -> bool:
    """Whether a file name with forward slashes stays inside the folder it is given for, on every system."""
    windows = PureWindowsPath(name)
    plain = "\\" not in name and "\0" not in name and not windows.drive and not windows.root
    return bool(name) and plain and ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute()


def unlisted_files(folder: Path) -> tuple[str, ...]:
    """Files in a package folder that its hash list does not name."""
    listed = {*hash_list(folder), HASHES}
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return tuple(sorted(name for name in names if name not in listed))


def write_package(
    folder: str | Path,
    metadata: dict[str, Any],
    weights: dict[str, Tensor],
    calibration: dict[str, Tensor],
    model_card: str,
    license_text: str,
) -> Package:
    """Write a package into a new or empty ``folder`` and read it back; the folder appears whole or not at all.

    Raises PackageError for metadata that does not fit SCHEMA, OutputError where it cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PackageError(f"'{folder}' is not empty.", "Choose a new folder for the package.")
    _check_schema(metadata, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as scratch:
            aside = Path(scratch) / folder.name
            _write_files(aside, metadata, weights, calibration, {MODEL_CARD: model_card, LICENSE: license_text})
            read_package(aside)
            move_into_place(aside, folder)
    except OSError as error:
        raise OutputError(f"The package '{folder.name}' cannot be written: {error.strerror}.", _SPACE) from error
    return read_package(folder)


_SPACE = "Check that the disk has space and the folder may be written."


def move_into_place(aside: Path, folder: Path) -> None:
    """Rename a finished folder to its new or empty place on the same disk."""
    if folder.exists():
        folder.rmdir()
    aside.rename(folder)


def _write_files(
    folder: Path,
    metadata: dict[str, Any],
    weights: dict[str, Tensor],
    calibration: dict[str, Tensor],
    texts: dict[str, str],
) -> None:
    from safetensors.torch import save_file

    for name in REQUIRED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in {METADATA: _json_text(metadata, folder), **texts}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for name, tensors in ((WEIGHTS, weights), (CALIBRATION, calibration)):
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, folder / name)
        (folder / name).chmod(_READABLE)
    write_hashes(folder)


def write_hashes(folder: Path) -> None:
    """Write the hash list of every file in a package folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != HASHES)
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    (folder / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8", newline="\n")


def _verify_hashes(folder: Path) -> None:
    listed = hash_list(folder)
    missing = [name for name in REQUIRED if name not in listed]
    if missing:
        raise PackageError(f"The model package '{folder.name}' lacks {', '.join(missing)}.", _AGAIN)
    for name, expected in listed.items():
        if not _is_own_file(folder, name):
            raise PackageError(f"The model package '{folder.name}' lacks the file {name}.", _AGAIN)
        if sha256(folder / name) != expected:
            raise PackageError(f"The file {name} of the model package '{folder.name}' was changed or damaged.", _AGAIN)


def _is_own_file(folder: Path, name: str) -> bool:
    """Whether a listed file is there, of a sane size, and no link leads out of the package."""
    path = folder / name
    own = path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())
    return own and path.stat().st_size <= LARGEST_BYTES


def _check_schema(metadata: dict[str, Any], folder: Path) -> None:
    found = " ".join(fault(metadata).split())
    if found:
        shown = found if len(found) <= _LONGEST_REASON else f"{found[:_LONGEST_REASON]}..."
        message = f"The metadata of the model package '{folder.name}' is not valid {shown}."
        raise PackageError(message, "Use a package written by this version of BrainAnomaly.")


def _recipe(metadata: dict[str, Any], folder: Path) -> Recipe:
    try:
        recipe = recipe_from_json(metadata["recipe"])
    except (OptionsError, TypeError):
        _refuse_recipe(folder)
    if recipe.identity() != metadata["recipe_identity"] or recipe.version != Recipe().version:
        _refuse_recipe(folder)
    return recipe


def _refuse_recipe(folder: Path) -> NoReturn:
    raise PackageError(
        f"The model package '{folder.name}' was trained on scans prepared by another recipe.",
        "Use a package made for this version of BrainAnomaly, or train the model again.",
    )


def _json_text(content: dict[str, Any], folder: Path) -> str:
    try:
        return json.dumps(content, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        message = f"The metadata of the package '{folder.name}' holds a number that is not finite."
        raise PackageError(message, "Check the calibration.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_TEXT_BYTES:
            raise PackageError(f"The file {path.name} of the model package is far too large.", "Do not use it.")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"The file {path.name} of the model package cannot be read.", _AGAIN) from error
    if not isinstance(content, dict):
        raise PackageError(f"The file {path.name} of the model package is not a JSON object.", _AGAIN)
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise PackageError(f"The file {path.name} of the model package cannot be read.", _AGAIN) from error
