"""A bank of healthy anatomies on disk, made once and read slab by slab while a network learns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.anatomy.structures import NAMES
from BrainAnomalyLib.io.geometry import Array, FloatArray
from BrainAnomalyLib.preparation.space.grids import grid_named

from .anatomies import GRID, made_anatomy, read_label_map


@dataclass(frozen=True, eq=False)
class Bank:
    """Anatomies as one array each (k, structure, i, j; 0 to 255), memory-mapped, with the mass of each."""

    arrays: tuple[Array, ...]
    masses: tuple[tuple[float, float, float, float], ...]
    sources: tuple[str, ...]

    def slab(self, anatomy: int, start: int, size: int) -> FloatArray:
        """Shares (structure, i, j, ``size``) of the axial slices from ``start``, 0 to 1."""
        part = np.asarray(self.arrays[anatomy][start : start + size], dtype=np.float32)
        return np.ascontiguousarray(np.moveaxis(part, 0, -1)) / np.float32(255.0)

    def place_prior(self) -> FloatArray:
        """Mean shares (structure, i, j, k) over all anatomies, both sides alike."""
        total = np.zeros(self.arrays[0].shape, dtype=np.float64)
        for array in self.arrays:
            total += array
        mean = np.moveaxis(total, 0, -1) / (255.0 * len(self.arrays))
        return np.asarray((mean + mean[:, ::-1]) / 2.0, dtype=np.float32)


def make_bank(files: Sequence[Path], each: int, folder: Path, seed: int) -> None:
    """Make what is missing of ``each`` anatomies of every label map in ``folder``; it goes on where it was ended."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, file in enumerate(files):
        wanted = [n for n in range(each) if not _entry(folder, file, n).with_suffix(".json").is_file()]
        label_map = read_label_map(file) if wanted else None
        for number in wanted:
            assert label_map is not None
            made = made_anatomy(label_map, np.random.default_rng([seed, place, number]))
            path = _entry(folder, file, number)
            np.save(path, np.ascontiguousarray(np.moveaxis(made.soft, -1, 0)))
            path.with_suffix(".json").write_text(json.dumps({"mass": made.mass, "source": file.name}), encoding="utf-8")


def read_bank(folder: Path, files: Sequence[Path]) -> Bank:
    """The anatomies of the named label maps that ``folder`` holds."""
    arrays, masses, sources = [], [], []
    names = {file.name.split(".")[0] for file in files}
    for described in sorted(folder.glob("*.json")):
        if described.stem.rsplit("-", 1)[0] in names:
            content = json.loads(described.read_text(encoding="utf-8"))
            array = np.load(described.with_suffix(".npy"), mmap_mode="r")
            if array.shape[1:] != (len(NAMES), *grid_named(GRID).shape[:2]):
                raise ValueError(f"{described.stem} was made for another list of structures")
            arrays.append(array)
            masses.append(tuple(content["mass"]))
            sources.append(content["source"])
    return Bank(tuple(arrays), tuple(masses), tuple(sources))


def _entry(folder: Path, file: Path, number: int) -> Path:
    return folder / f"{file.name.split('.')[0]}-{number:03d}.npy"
