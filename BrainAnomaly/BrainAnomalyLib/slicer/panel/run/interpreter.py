"""Which Python runs the worker."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ....errors import DependencyError

NAME = "PythonSlicer"


def worker_python(
    executable: str | None = None, home: str = "", which: Callable[[str], str | None] = shutil.which
) -> str:
    """The interpreter for child processes: Slicer's own, else the one that runs this.

    ``executable`` is what ``sys.executable`` says, which in an application may be the application itself; ``home`` is
    Slicer's installation folder. Raises DependencyError if there is no Python to be found.
    """
    running = sys.executable if executable is None else executable
    for candidate in _candidates(running or "", home, which):
        if candidate:
            return candidate
    raise DependencyError("The Python program of 3D Slicer was not found.", "Install 3D Slicer again.")


def _candidates(running: str, home: str, which: Callable[[str], str | None]) -> Iterator[str | None]:
    """PythonSlicer beside what runs, in the installation, on the path; then the running interpreter itself."""
    yield running if Path(running).stem == NAME and Path(running).is_file() else None
    yield _in_folder(Path(home) / "bin") if home else None
    yield which(NAME)
    yield running if Path(running).stem.lower().startswith("python") else None


def _in_folder(folder: Path) -> str | None:
    path = folder / (NAME + (".exe" if os.name == "nt" else ""))
    return str(path) if path.is_file() else None
