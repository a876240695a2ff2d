"""What scans are painted from: label maps and real healthy scans on the template's grids, one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """Label maps (1 mm template grid) and real scans (2 mm template grid; white matter ``scale``), all uint8."""

    labels: tuple[Array, ...]
    sources: tuple[str, ...]
    scans: tuple[Array, ...] = ()
    scale: float = SCALE


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


def read_bank(folder: Path, left_out: Sequence[str], only: Sequence[str] | None = None) -> Bank:
    """The bank in ``folder`` without the label maps ``left_out``, or with ``only`` some and no scan.

    Raises ValueError for one made for another list of structures.
    """
    with np.load(folder / BANK_FILE, allow_pickle=False) as stored:
        labels, names, scans = stored["labels"], [str(name) for name in stored["names"]], stored["scans"]
    if int(labels.max()) >= len(STRUCTURES):
        raise ValueError(f"the bank in {folder} was made for another list of structures than {NAMES}")
    wanted = [name for name in names if name not in left_out] if only is None else list(only)
    chosen = tuple(labels[names.index(name)] for name in wanted)
    return Bank(chosen, tuple(wanted), tuple(scans) if only is None else ())
