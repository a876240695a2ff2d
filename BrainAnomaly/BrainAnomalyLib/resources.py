"""Files that travel with the extension: the template, the brain mask network and the embedded packages."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from .errors import PackageError

ENVIRONMENT_VARIABLE = "BRAIN_ANOMALY_RESOURCES"
_REINSTALL = "Install BrainAnomaly again."
_LIBRARY = Path(__file__).resolve().parent
# A wheel has the folder inside the library; in a checkout it stands beside the modules; Slicer installs it beside the
# module file.
_PLACES = (_LIBRARY / "Resources", _LIBRARY.parents[1] / "Resources", _LIBRARY.parent / "Resources")


def resources_folder() -> Path:
    """The shared ``Resources`` folder, or the one that BRAIN_ANOMALY_RESOURCES names."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    places = (Path(chosen),) if chosen else _PLACES
    for place in places:
        if (place / "Template").is_dir():
            return place
    raise PackageError("The extension's Resources folder is missing.", _REINSTALL)


def verified(folder: Path, name: str) -> Path:
    """``folder/name``, once its SHA-256 equals the one in ``SHA256SUMS.json`` beside it."""
    try:
        expected = json.loads((folder / "SHA256SUMS.json").read_text(encoding="utf-8"))[name]
        actual = sha256(folder / name)
    except (OSError, KeyError, ValueError) as error:
        raise PackageError(f"The extension's file {name} cannot be checked ({error}).", _REINSTALL) from error
    if actual != expected:
        raise PackageError(f"The extension's file {name} is damaged: its SHA-256 differs.", _REINSTALL)
    return folder / name


@lru_cache
def network_identity(name: str) -> str:
    """SHA-256 of the list of hashes in a folder of ``Resources``: other weights, other identity. Empty without one."""
    listed = resources_folder() / name / "SHA256SUMS.json"
    return sha256(listed) if listed.is_file() else ""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
