"""Prepared scans on disk, so that each is prepared once per recipe.

A file is named by the hash of the scan's content and that of the recipe, so it holds whatever the scan's file is
called or wherever it lies. It is safetensors: ``slices`` (float16 intensities) and ``brain_slices`` (uint8 mask) on the
recipe's template grid, axial slices first (k, i, j; RAS) so that one is read at once, and in its metadata, as JSON,
what the preparation found. Opening a file reads no voxel.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from BrainAnomalyLib.detectors.fitting import SMALLEST_BRAIN_FRACTION
from BrainAnomalyLib.errors import BrainAnomalyError, OutputError, PreparationError, ScanError
from BrainAnomalyLib.io.geometry import Array, FloatArray, MaskArray
from BrainAnomalyLib.io.volumes import Contrast, Scan, read_mask, read_scan
from BrainAnomalyLib.preparation.intensity.contrast import ContrastGuess
from BrainAnomalyLib.preparation.intensity.scale import IntensityScale
from BrainAnomalyLib.preparation.pipeline import AlignedScan, align, into_template
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality, Verdict
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.resources import sha256
from BrainAnomalyLib.service.workplace import host_name, is_running

from ..cohort.cohort import CohortScan
from .thumbnails import preparation_picture

Status = Literal["prepared", "cached", "skipped"]

FORMAT = 1
_IMAGE, _MASK = "slices", "brain_slices"
QUANTILES = 101
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG)
_PARTIAL = re.compile(r".*\.([\w-]+)\.(\d+)\.partial")
_UNSAFE = re.compile(r"[^\w.-]+")
_BRAIN_ML = (300.0, 2300.0)


@dataclass(frozen=True)
class CachedScan:
    """A prepared scan on disk: whose it is, and what the preparation found.

    ``quantiles`` are the 0th to 100th percentiles of the prepared intensities in the brain; ``brain_per_slice`` the
    number of brain voxels in each axial slice (k) of the template grid; ``digest`` the SHA-256 of image and mask;
    ``spacing_mm`` and ``shape`` those of the scan itself; ``facts`` the rest of the file's metadata.
    """

    file: Path
    subject: str
    session: str
    scanner: str
    age_years: float | None
    source: Path
    contrast: Contrast
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    brain_ml: float
    registration: Verdict
    warnings: tuple[str, ...]
    quantiles: tuple[float, ...]
    brain_per_slice: tuple[int, ...]
    digest: str
    facts: dict[str, Any]

    def image(self) -> FloatArray:
        """Prepared intensities (i, j, k) in template space, 0 outside the brain; read from disk."""
        return np.ascontiguousarray(np.moveaxis(_tensor(self.file, _IMAGE), 0, 2), dtype=np.float32)

    def mask(self) -> MaskArray:
        """Brain mask (i, j, k) in template space; read from disk."""
        return np.ascontiguousarray(np.moveaxis(_tensor(self.file, _MASK), 0, 2), dtype=np.bool_)

    def axial_slice(self, index: int) -> tuple[FloatArray, MaskArray]:
        """Image and mask (i, j) of one axial slice, without reading the others."""
        image, mask = (_tensor(self.file, name, index) for name in (_IMAGE, _MASK))
        return np.asarray(image, dtype=np.float32), np.asarray(mask, dtype=np.bool_)

    def slices_with_brain(self, least: float = SMALLEST_BRAIN_FRACTION) -> list[int]:
        """Indices k of the axial slices in which at least ``least`` of all voxels are brain."""
        width, depth = grid_named(self.facts["recipe"]["grid"]).shape[:2]
        return [index for index, count in enumerate(self.brain_per_slice) if count >= least * width * depth]

    def guess(self) -> ContrastGuess:
        """The contrast as told from the intensities."""
        return ContrastGuess(**self.facts["contrast"])

    def prepared(self, recipe: Recipe) -> PreparedScan:
        """The scan as a detector takes it, with the template grid for its own."""
        template, mask = load_template(recipe.grid), self.mask()
        return PreparedScan(
            image=self.image(),
            brain_mask=mask,
            template=template,
            recipe=recipe,
            native_grid=template.grid,
            native_brain_mask=mask,
            native_from_template=np.eye(4),
            contrast=self.guess(),
            quality=RegistrationQuality(**self.facts["quality"]),
            brain_mask_method=str(self.facts["brain_mask_method"]),
            intensity_scale=IntensityScale(**self.facts["intensity_scale"]),
            warnings=self.warnings,
            given=self.contrast,
        )


@dataclass(frozen=True)
class CacheTask:
    """One scan to have in ``cache``, and a folder for its picture."""

    scan: CohortScan
    recipe: Recipe
    cache: Path
    pictures: Path | None = None


@dataclass(frozen=True)
class CacheOutcome:
    """What became of a task: ``prepared``, ``cached`` or ``skipped`` with a reason in plain words.

    ``fatal`` is set when nothing more can be cached (a full disk). ``registration`` is told for skipped scans too.
    """

    status: Status
    reason: str = ""
    cached: CachedScan | None = None
    picture: str | None = None
    registration: Verdict | None = None
    fatal: BrainAnomalyError | None = None


def cache_scan(task: CacheTask) -> CacheOutcome:
    """Prepare one scan unless the cache holds it. Never raises: a scan that cannot be prepared is skipped."""
    try:
        return _cached_or_prepared(task)
    except OutputError as error:
        return CacheOutcome("skipped", error.sentence(), fatal=error)
    except BrainAnomalyError as error:
        return CacheOutcome("skipped", error.sentence())
    except MemoryError:
        return CacheOutcome("skipped", "There was not enough memory to prepare it.")
    except Exception as error:  # one scan never ends the preparation of the others
        return CacheOutcome("skipped", f"It could not be prepared ({type(error).__name__}: {error}).")


def cache_file(scan: CohortScan, recipe: Recipe, cache: Path) -> Path:
    """Where a scan prepared by ``recipe`` lies in ``cache``. Raises ScanError if the scan cannot be read."""
    return cache / f"{_content_key(scan)[:24]}-{recipe.identity()[:16]}.safetensors"


def open_cached(file: Path, scan: CohortScan) -> CachedScan | None:
    """The cached scan in ``file``, or None if there is none or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            facts = json.loads(stored.metadata()["facts"])
            whole = {_IMAGE, _MASK} <= set(stored.keys()) and facts["format"] == FORMAT
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return _described(file, scan, facts) if whole else None


def remove_leftovers(cache: Path) -> None:
    """Remove unfinished files and folders of this computer's processes that have ended."""
    for file in cache.glob("*.partial"):
        match = _PARTIAL.fullmatch(file.name)
        if match is not None and match[1] == host_name() and not is_running(int(match[2])):
            with suppress(OSError):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def _described(file: Path, scan: CohortScan, facts: dict[str, Any]) -> CachedScan:
    own: Contrast = scan.contrast if scan.contrast != "unknown" else facts["contrast"]["contrast"]
    return CachedScan(
        file=file,
        subject=scan.subject,
        session=scan.session,
        scanner=scan.scanner,
        age_years=scan.age_years,
        source=scan.path,
        contrast=own,
        spacing_mm=(facts["spacing_mm"][0], facts["spacing_mm"][1], facts["spacing_mm"][2]),
        shape=(facts["shape"][0], facts["shape"][1], facts["shape"][2]),
        brain_ml=facts["brain_ml"],
        registration=facts["quality"]["verdict"],
        warnings=tuple(facts["warnings"]),
        quantiles=tuple(facts["quantiles"]),
        brain_per_slice=tuple(facts["brain_per_slice"]),
        digest=facts["digest"],
        facts=facts,
    )


def _tensor(file: Path, name: str, axial: int | None = None) -> Any:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as stored:
        return stored.get_tensor(name) if axial is None else stored.get_slice(name)[axial]


def _cached_or_prepared(task: CacheTask) -> CacheOutcome:
    file = cache_file(task.scan, task.recipe, task.cache)
    picture = file.with_suffix(".png")
    name = f"{_UNSAFE.sub('_', task.scan.title)}_{file.name[:8]}.png"
    cached = open_cached(file, task.scan)
    if cached is not None:
        shown = picture.read_bytes() if picture.is_file() else None
        return _finished("cached", cached, _show(task, name, shown))
    aligned, notes = _aligned(task)
    shown = preparation_picture(aligned)
    try:
        prepared = into_template(aligned, task.recipe)
    except PreparationError as error:
        return CacheOutcome("skipped", error.sentence(), None, _show(task, name, shown), "failed")
    prepared = replace(prepared, warnings=(*notes, *prepared.warnings))
    _write(picture, shown)
    _write(file, _serialized(prepared, aligned.scan))
    cached = open_cached(file, task.scan)
    if cached is None:
        raise OutputError(f"The cache file '{file}' cannot be read back.", "Check the disk of the cache.")
    return _finished("prepared", cached, _show(task, name, shown))


def _finished(status: Status, cached: CachedScan, picture: str | None) -> CacheOutcome:
    return CacheOutcome(status, " ".join(cached.warnings), cached, picture, cached.registration)


def _show(task: CacheTask, name: str, picture: bytes | None) -> str | None:
    """Put the picture into the run folder; its name there, if there is one."""
    if task.pictures is None or picture is None:
        return None
    _write(task.pictures / name, picture)
    return name


def _content_key(scan: CohortScan) -> str:
    """SHA-256 over the scan's files and its brain mask: what the preparation depends on besides the recipe."""
    files = [*(scan.files or (scan.path,)), *([scan.brain_labels] if scan.brain_labels else [])]
    try:
        digests = [sha256(path) for path in files]
    except OSError as error:
        raise ScanError(f"'{scan.path.name}' cannot be opened: {error.strerror or error}.", "Check it.") from error
    parts = sorted(digests[: len(scan.files)]) + digests[len(scan.files) :]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _aligned(task: CacheTask) -> tuple[AlignedScan, list[str]]:
    """The aligned scan and notes for the user."""
    scan = _read(task.scan, task.cache)
    mask, notes = _brain(task.scan, scan)
    return align(scan, task.recipe, mask), notes


def _read(scan: CohortScan, place: Path) -> Scan:
    """The scan; the slices of a series are gathered in a temporary folder in ``place``."""
    if not scan.files:
        return read_scan(scan.path, scan.contrast)
    with _writing(place), _gathered(scan, place) as folder:
        try:
            return replace(read_scan(folder, scan.contrast), name=scan.path.name)
        except ScanError as error:
            raise ScanError(error.message.replace(str(folder), str(scan.path)), error.remedy) from error


def _brain(scan: CohortScan, loaded: Scan) -> tuple[MaskArray | None, list[str]]:
    """The brain given by the scan's labels with holes filled; None, with a note, if they do not fit the scan."""
    from scipy import ndimage

    if scan.brain_labels is None:
        return None, []
    ignored = f"The mask '{scan.brain_labels.name}' was not used: "
    try:
        mask = ndimage.binary_fill_holes(read_mask(scan.brain_labels, loaded))
    except ScanError as error:
        return None, [ignored + error.message]
    volume = loaded.grid.volume_ml(mask)
    if not _BRAIN_ML[0] < volume < _BRAIN_ML[1]:
        return None, [f"{ignored}it measures {volume:.0f} mL, which is not a brain."]
    return np.asarray(mask, dtype=np.bool_), []


def _serialized(prepared: PreparedScan, scan: Scan) -> bytes:
    from safetensors.numpy import save

    tensors: dict[str, Array] = {
        _IMAGE: np.ascontiguousarray(np.moveaxis(prepared.image, 2, 0), dtype=np.float16),
        _MASK: np.ascontiguousarray(np.moveaxis(prepared.brain_mask, 2, 0), dtype=np.uint8),
    }
    digest = hashlib.sha256(tensors[_IMAGE].tobytes() + tensors[_MASK].tobytes()).hexdigest()
    inside = prepared.image[prepared.brain_mask]
    facts = {
        "format": FORMAT,
        "recipe": asdict(prepared.recipe),
        "contrast": asdict(prepared.contrast),
        "quality": asdict(prepared.quality),
        "brain_mask_method": prepared.brain_mask_method,
        "intensity_scale": asdict(prepared.intensity_scale),
        "spacing_mm": [round(size, 4) for size in scan.grid.spacing],
        "shape": list(scan.grid.shape),
        "brain_ml": round(scan.grid.volume_ml(prepared.native_brain_mask), 1),
        "native_from_template": prepared.native_from_template.tolist(),
        "warnings": list(prepared.warnings),
        "quantiles": [round(float(value), 5) for value in np.quantile(inside, np.linspace(0.0, 1.0, QUANTILES))],
        "brain_per_slice": [int(count) for count in prepared.brain_mask.sum(axis=(0, 1))],
        "digest": digest,
    }
    return bytes(save(tensors, {"facts": json.dumps(facts)}))


def _write(file: Path, content: bytes) -> None:
    """Write aside, to the disk itself, then move into place. Raises OutputError; no partial file is left."""
    unfinished = file.with_name(f"{file.stem[:60]}.{host_name()}.{os.getpid()}.partial")
    with _writing(file.parent):
        try:
            with unfinished.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputError(
                f"There is no room left on the disk of '{folder}'. What was prepared so far is kept.",
                "Free some space or choose a cache on another disk, then give the same command again.",
            ) from error
        reason = error.strerror or str(error)
        raise OutputError(f"'{folder}' cannot be written: {reason}.", "Choose another folder.") from error


@contextmanager
def _gathered(scan: CohortScan, place: Path) -> Iterator[Path]:
    """A temporary folder in ``place`` with copies of the slices of one series, which may lie among those of others."""
    with tempfile.TemporaryDirectory(
        prefix="series-", suffix=f".{host_name()}.{os.getpid()}.partial", dir=place
    ) as scratch:
        for index, path in enumerate(scan.files):
            shutil.copyfile(path, Path(scratch) / f"{index:06d}.dcm")
        yield Path(scratch)
