"""A single file written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """A path beside ``path`` to write to, which is moved there at the end. Raises OutputError, which names ``what``."""
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as scratch:
            fresh = Path(scratch) / path.name
            yield fresh
            fresh.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{what} could not be written: {reason}.", "Choose another folder.") from error
