"""The files below a folder in which scans may be."""

from __future__ import annotations

import os
from pathlib import Path

# Folders in which results of pipelines and sources of a BIDS data set repeat its scans.
_NOT_SEARCHED = {"derivatives", "sourcedata", "code", "__MACOSX"}


def files_below(root: Path) -> list[Path]:
    """Every file below ``root`` in a fixed order, without hidden ones and folders whose scans are repeats.

    Links to folders are followed, each folder once.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in _NOT_SEARCHED)
        found += [Path(place) / name for name in sorted(names) if name[0] != "."]
    return found
