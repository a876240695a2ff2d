"""Where the results of a scan are kept: in a folder of its own, or as another layout says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..io.geometry import inverse
from ..io.resampling import resample
from ..io.volumes import read_array, write_volume
from ..output.folder import SUMMARY
from ..preparation.space.grids import grid_named
from .entries import Entry
from .records import IN_TEMPLATE, SCANS, THUMBNAILS, results_folder

# Findings of all scans on one grid, for maps of a group.
TEMPLATE_GRID = "template_2mm"
_THUMBNAIL_WIDTH, _QUALITY = 480, 80


class Kept(NamedTuple):
    """Paths of what is kept of a scan, relative to the cohort's folder.

    ``results`` the folder, ``overview`` the picture, ``in_template`` the findings on the template's grid, and all
    ``files`` that belong to the result.
    """

    results: str
    overview: str
    in_template: str
    files: tuple[str, ...]


class Places(Protocol):
    """A layout of results."""

    def folder(self, out: Path, entry: Entry) -> Path:
        """Where a detection writes."""

    def keep(self, folder: Path, summary: dict[str, Any], out: Path, entry: Entry) -> Kept:
        """Keep what a detection has written to ``folder``. Raises OSError."""


class FolderPerScan:
    """``scans/KEY/`` holds what a detection writes."""

    def folder(self, out: Path, entry: Entry) -> Path:
        """The folder of a scan's results."""
        return results_folder(out, entry.key)

    def keep(self, folder: Path, summary: dict[str, Any], out: Path, entry: Entry) -> Kept:
        """Add the picture in small and the findings in template space."""
        results = f"{SCANS}/{entry.key}"
        in_template = f"{IN_TEMPLATE}/{entry.key}.nii.gz"
        write_thumbnail(folder / "overview.png", out / THUMBNAILS / f"{entry.key}.jpg")
        write_in_template(folder, summary, out / in_template)
        files = tuple(f"{results}/{name}" for name in (*summary["files"], SUMMARY))
        return Kept(results, f"{results}/overview.png", in_template, (*files, in_template))


def write_thumbnail(picture: Path, path: Path) -> None:
    """A small copy of a result's overview."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH))
        small.save(path, quality=_QUALITY)


def write_in_template(folder: Path, summary: dict[str, Any], path: Path) -> None:
    """The findings of a result as a mask (0, 1) on the template's 2 mm grid, each voxel as at its center."""
    labels, grid = read_array(folder / "findings.nii.gz")
    onto, place = grid_named(TEMPLATE_GRID), np.asarray(summary["template_from_native"], dtype=np.float64)
    mask = resample(labels > 0, grid, onto, world_map=inverse(place))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    try:
        write_volume(unfinished, mask.astype(np.uint8), onto)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Move a file, also to another disk; the target appears whole. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        unfinished = target.with_name(f".{target.name}.partial")
        try:
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        source.unlink()
