"""What scans are painted from: label maps and real healthy scans on the template's grids, one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.anatomy.structures import NAMES, STRUCTURES
from BrainAnomalyLib.io.geometry import Array, FloatArray, MaskArray

from .anatomies import read_label_map

BANK_FILE = "bank.npz"
# Gray values of real scans are kept as bytes: 1 (white matter) is 150, 0 is outside the brain.
SCALE = 150.0


@dataclass(frozen=True, eq=False)
class Bank:
    """Label maps (1 mm template grid) and real scans (2 mm template grid, as ``as_bytes`` makes them), all uint8."""

    labels: tuple[Array, ...]
    sources: tuple[str, ...]
    scans: tuple[Array, ...] = ()

    def without(self, names: Sequence[str]) -> Bank:
        """The bank without some label maps."""
        kept = [place for place, name in enumerate(self.sources) if name not in names]
        return replace(self, labels=tuple(self.labels[k] for k in kept), sources=tuple(self.sources[k] for k in kept))

    def only(self, names: Sequence[str]) -> Bank:
        """Some label maps, and no scan."""
        return replace(self.without([name for name in self.sources if name not in names]), scans=())


def as_bytes(image: FloatArray, mask: MaskArray) -> Array:
    """A prepared scan (i, j, k; white matter 1) as a bank keeps it."""
    return np.where(mask, np.clip(np.rint(image * SCALE), 1, 255), 0).astype(np.uint8)


def make_bank(files: Sequence[Path], scans: Iterable[Array], folder: Path) -> None:
    """Write the bank of label maps and of scans (as ``as_bytes`` makes them), unless ``folder`` has it."""
    file = folder / BANK_FILE
    if file.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    labels = [read_label_map(one) for one in files]
    unfinished = folder / f"unfinished-{BANK_FILE}"
    kept = list(scans)
    names = np.asarray([one.name for one in files])
    np.savez_compressed(unfinished, labels=np.stack(labels), names=names, scans=np.stack(kept) if kept else np.zeros(0))
    unfinished.replace(file)


def read_bank(folder: Path) -> Bank:
    """The bank in ``folder``. Raises ValueError for one made for another list of structures."""
    with np.load(folder / BANK_FILE, allow_pickle=False) as stored:
        labels, scans = stored["labels"], stored["scans"]
        names = tuple(str(name) for name in stored["names"])
    if int(labels.max()) >= len(STRUCTURES):
        raise ValueError(f"the bank in {folder} was made for another list of structures than {NAMES}")
    return Bank(tuple(labels), names, tuple(scans))
