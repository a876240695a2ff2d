"""Prepared scans on disk, so that each is prepared once per recipe."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from BrainAnomalyLib.errors import BrainAnomalyError
from BrainAnomalyLib.geometry import FloatArray, MaskArray
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.volumes import Scan, checked_mask, read_scan

from .cohort import CohortScan

Prepared = tuple[FloatArray, MaskArray]


def prepared_scans(scans: tuple[CohortScan, ...], recipe: Recipe, cache: Path, workers: int = 2) -> dict[str, Prepared]:
    """Subject to (image, brain mask) in template space; scans that fail are named on stderr and left out."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    cache.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        files = list(pool.map(partial(_prepared_file, recipe=recipe, cache=cache), scans))
    return {scan.subject: _load(file) for scan, file in zip(scans, files, strict=True) if file is not None}


def _prepared_file(scan: CohortScan, recipe: Recipe, cache: Path) -> Path | None:
    content = hashlib.sha256(scan.path.read_bytes()).hexdigest()[:16]
    file = cache / f"{scan.subject}-{content}-{recipe.identity()[:16]}.npz"
    if not file.is_file():
        try:
            _prepare_into(file, scan, recipe)
        except BrainAnomalyError as error:
            print(f"{scan.subject} is left out: {error.sentence()}", file=sys.stderr)
            return None
    return file


def _prepare_into(file: Path, scan: CohortScan, recipe: Recipe) -> None:
    loaded = read_scan(scan.path, "T1w")
    prepared = prepare(loaded, recipe, _brain(scan, loaded))
    if prepared.quality.verdict == "failed":
        raise BrainAnomalyError(f"alignment failed ({prepared.quality.reason})")
    unfinished = file.with_suffix(".partial.npz")
    np.savez_compressed(unfinished, image=prepared.image.astype(np.float16), mask=prepared.brain_mask)
    unfinished.replace(file)


def _brain(scan: CohortScan, loaded: Scan) -> MaskArray | None:
    """The brain given by the scan's labels with holes filled, or None."""
    from scipy import ndimage

    if scan.brain_labels is None:
        return None
    labels = read_scan(scan.brain_labels)
    mask = ndimage.binary_fill_holes(checked_mask(labels.array, labels.grid, loaded))
    return np.asarray(mask, dtype=np.bool_)


def _load(file: Path) -> Prepared:
    with np.load(file) as stored:
        return stored["image"].astype(np.float32), stored["mask"]
