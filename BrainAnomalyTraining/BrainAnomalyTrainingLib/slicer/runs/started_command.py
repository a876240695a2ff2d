"""What the panel keeps in a run folder besides what the command writes: how it was started, and what it printed.

panel.json     {"arguments": [...], "launcher": process id}, so that the same command can be started again
console.log    standard output and standard error of the command and its libraries
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from BrainAnomalyLib.service.workplace import write_json

CONSOLE = "console.log"
_RECORD = "panel.json"
_CONSOLE_TAIL_BYTES = 65536


def read_record(folder: Path) -> tuple[list[str], int]:
    """The arguments of the command that a panel last started here, and its process id; ([], 0) if none ever did."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        arguments, launcher = record["arguments"], record["launcher"]
        if isinstance(launcher, int) and all(isinstance(one, str) for one in arguments):
            return list(arguments), launcher
    return [], 0


def write_record(folder: Path, arguments: list[str], launcher: int) -> None:
    """Keep what was started. Raises OSError if the folder cannot be written."""
    write_json(folder / _RECORD, {"arguments": arguments, "launcher": launcher})


def console_text(folder: Path) -> str:
    """The end of what the command printed."""
    with suppress(OSError), (folder / CONSOLE).open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _CONSOLE_TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")
    return ""
