"""The models a user can choose from: detectors without training, embedded packages, and the user's own packages."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..detectors import registry
from ..errors import BrainAnomalyError, OptionsError, OutputError
from ..io.volumes import Contrast
from ..packages.archive import export_files, import_files
from ..packages.read import Package, read_metadata
from ..resources import resources_folder

ENVIRONMENT_VARIABLE = "BRAIN_ANOMALY_MODELS"
NO_COHORT = "none"
_OWN_LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class Model:
    """One thing the user can choose.

    ``key`` is unique: a detector's name, or the package's folder name. ``cohort`` says in one sentence which healthy
    scans it was trained on, "none" for methods without training. ``seconds_per_scan`` was measured by whoever made the
    package. ``problem`` is empty, or why the model cannot be used, in plain words.
    """

    key: str
    detector: str
    title: str
    description: str
    contrasts: tuple[Contrast, ...]
    cohort: str
    size_bytes: int
    license: str
    seconds_per_scan: float | None
    folder: Path | None
    embedded: bool
    problem: str = ""


def models_folder() -> Path:
    """The user's folder of packages: $BRAIN_ANOMALY_MODELS, or the system's place for user data. It may not exist."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen).expanduser() if chosen else _user_data() / "BrainAnomaly" / "Models"


def list_models() -> tuple[Model, ...]:
    """Everything there is to choose from; broken packages are listed with their ``problem``.

    Only metadata is read: weights are hashed when a package is opened.
    """
    return tuple(_unique([*_training_free(), *_embedded(), *_own()]))


def find_model(key: str) -> Model:
    """The model of that key. Raises OptionsError, which names the keys there are."""
    models = list_models()
    for model in models:
        if model.key == key:
            return model
    known = ", ".join(model.key for model in models)
    raise OptionsError(f"There is no model named '{key}'.", f"Choose one of {known}.")


def import_package(source: Path, into: Path | None = None) -> Package:
    """Bring a package (zip or folder) into ``into`` or the user's folder, verified before it appears there.

    Raises PackageError in plain words for what is unsafe, damaged, incompatible or no package; OutputError.
    """
    return import_files(Path(source), models_folder() if into is None else Path(into))


def export_package(folder: Path, target_zip: Path) -> Path:
    """Write a package as one zip and return its path. Raises PackageError, OptionsError or OutputError."""
    return export_files(Path(folder), Path(target_zip))


def delete_model(model: Model) -> None:
    """Remove a package from the user's folder; it disappears at once. Raises OptionsError for any other model."""
    if model.embedded or model.folder is None:
        raise OptionsError(f"'{model.title}' belongs to BrainAnomaly and cannot be deleted.", "Delete your own models.")
    if model.folder.absolute().parent != models_folder().absolute():
        raise OptionsError(f"'{model.folder}' is not in the models folder.", "Delete it yourself if it is not needed.")
    try:
        _remove(model.folder)
    except OSError as error:
        message = f"The model '{model.key}' cannot be deleted: {error.strerror or error}."
        raise OutputError(message, "Close the programs that use it and try again.") from error


def _remove(folder: Path) -> None:
    """Move aside in one step, then delete; a link is taken away without what it points to."""
    if folder.is_symlink():
        folder.unlink()
        return
    with tempfile.TemporaryDirectory(prefix=".deleted-", dir=folder.parent) as scratch:
        folder.rename(Path(scratch) / "package")
        shutil.rmtree(Path(scratch) / "package")


def _user_data() -> Path:
    """Where the system keeps programs' data for this user."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def _training_free() -> Iterator[Model]:
    return (_without_package(name) for name in registry.package_free_names())


def _without_package(name: str) -> Model:
    """A detector that needs no package; the files of detectors import nothing heavy."""
    try:
        kind: Any = registry.detector_class_named(name)
    except ImportError as error:
        problem = f"The Python package '{error.name}' is not installed. Install it with pip."
        return Model(name, name, name, "", (), NO_COHORT, 0, _OWN_LICENSE, None, None, True, problem)
    return Model(
        key=name,
        detector=name,
        title=kind.title,
        description=" ".join((kind.__doc__ or "").split("\n\n")[0].split()),
        contrasts=tuple(kind.contrasts),
        cohort=NO_COHORT,
        size_bytes=0,
        license=_OWN_LICENSE,
        seconds_per_scan=None,
        folder=None,
        embedded=True,
    )


def _embedded() -> Iterator[Model]:
    """The first package of a detector goes by the detector's name, others by their folder's."""
    taken: set[str] = set()
    for folder in _package_folders(resources_folder() / "Models"):
        model = _model(folder, embedded=True)
        yield model if model.detector in taken or model.problem else replace(model, key=model.detector)
        taken.add(model.detector)


def _own() -> Iterator[Model]:
    return (_model(folder, embedded=False) for folder in _package_folders(models_folder()))


def _package_folders(place: Path) -> list[Path]:
    """Folders in ``place`` in order of their names; hidden ones are work in progress."""
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _model(folder: Path, embedded: bool) -> Model:
    try:
        metadata = read_metadata(folder)
    except BrainAnomalyError as error:
        return _broken(folder, embedded, error.sentence())
    except ModuleNotFoundError as error:
        return _broken(folder, embedded, f"The Python package '{error.name}' is not installed. Install it with pip.")
    detector = str(metadata["detector"])
    known = detector in registry.detector_names()
    return Model(
        key=folder.name,
        detector=detector,
        title=metadata["name"],
        description=metadata["description"],
        contrasts=tuple(metadata["contrasts"]),
        cohort=cohort_sentence(metadata["cohort"]),
        size_bytes=_size(folder),
        license=metadata["license"],
        seconds_per_scan=metadata.get("timing", {}).get("seconds_per_scan"),
        folder=folder,
        embedded=embedded,
        problem="" if known else f"This version of BrainAnomaly has no detector '{detector}'. Update BrainAnomaly.",
    )


def _broken(folder: Path, embedded: bool, problem: str) -> Model:
    return Model(folder.name, "", folder.name, "", (), NO_COHORT, _size(folder), "", None, folder, embedded, problem)


def cohort_sentence(cohort: dict[str, Any]) -> str:
    """The training cohort of a package's metadata in one sentence: how many scans, ages, scanners."""
    scans = cohort["scans"]
    parts = [f"{scans} healthy scan{'' if scans == 1 else 's'}"]
    ages = cohort.get("age_range_years")
    if ages and ages[1] > 0:
        parts.append(f"ages {ages[0]:.0f} to {ages[1]:.0f}")
    if cohort.get("scanners"):
        parts.append(f"from {' and '.join(cohort['scanners'])}")
    return ", ".join(parts)


def _size(folder: Path) -> int:
    """Bytes of all files of a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _unique(models: Iterable[Model]) -> Iterator[Model]:
    """The same models, later ones of a taken key with a number behind it."""
    taken: set[str] = set()
    for model in models:
        key, count = model.key, 1
        while key in taken:
            count += 1
            key = f"{model.key}-{count}"
        taken.add(key)
        yield replace(model, key=key)
