"""A result put into a folder that cannot be moved, such as a mount: file by file, its summary last.

Until the summary is there the result is not one; ``mend`` gives back the earlier result of a run that was killed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def swap_files(fresh: Path, folder: Path, old: Path, last: str, earlier: set[str]) -> None:
    """Move the files of ``fresh`` into ``folder``, ``last`` at the end; ``earlier`` names go to ``old`` meanwhile.

    All three lie on one file system. If anything fails, what was there comes back. Raises OSError.
    """
    old.mkdir()
    try:
        for name in sorted(earlier, key=lambda name: name != last):
            if (folder / name).exists():
                (folder / name).rename(old / name)
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == last):
            path.rename(folder / path.name)
    except BaseException:
        mend(folder, fresh, old, last)
        raise


def mend(folder: Path, fresh: Path, old: Path, last: str) -> None:
    """Give back the earlier result if the move was cut short: the new summary is then still in ``fresh``.

    New files go back to ``fresh`` first, so that a second call goes on where one that was cut short stopped.
    """
    if not ((fresh / last).exists() and old.is_dir()):
        return
    for name in json.loads((fresh / last).read_text(encoding="utf-8"))["files"]:
        if not (fresh / name).exists() and (folder / name).exists():
            (folder / name).rename(fresh / name)
    for path in sorted(old.iterdir(), key=lambda path: path.name == last):
        path.rename(folder / path.name)
    (fresh / last).unlink()
    shutil.rmtree(fresh, ignore_errors=True)
