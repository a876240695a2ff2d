"""Folders that one process at a time works in, on one computer or on a disk that several share.

Reading needs nothing but the standard library, so that a panel can follow what another process writes; taking a folder
needs filelock, which comes with torch.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError

PROCESS = "process.json"
_CLOCK_TOLERANCE_SECONDS = 2.0
# Held while a process looks who has the folder and takes it.
_TAKING, _TAKING_SECONDS = "process.lock", 20.0


def host_name() -> str:
    """This computer's name as it stands in locks and names of unfinished files: no dots, no separators."""
    return re.sub(r"[^\w-]", "-", socket.gethostname()) or "unnamed"


def take(path: Path) -> None:
    """Take a folder, one process at a time looking at who has it. Raises OutputError if somebody works in it."""
    from filelock import FileLock, Timeout

    record = {"pid": os.getpid(), "started": time.time(), "host": host_name()}
    with writing(path):
        try:
            with FileLock(path / _TAKING, timeout=_TAKING_SECONDS):
                _refuse_if_taken(path)
                write_json(path / PROCESS, record)
        except Timeout as error:
            raise OutputError(f"The folder '{path}' is being taken by another process.", "Try again.") from error


def _refuse_if_taken(path: Path) -> None:
    record = _record(path)
    if record is None:
        return
    if (host := str(record.get("host", host_name()))) != host_name():
        raise OutputError(
            f"The computer '{host}' is working in the folder '{path}'.",
            f"Wait for it, choose another folder, or delete '{PROCESS}' in it if that computer has stopped.",
        )
    other = running_process(path)
    if other is not None and other != os.getpid():
        raise OutputError(
            f"Another process ({other}) is working in the folder '{path}'.",
            "Wait for it, stop it, or choose another folder.",
        )


def _record(path: Path) -> dict[str, Any] | None:
    """Who has taken a folder, as written there; None for nobody or a damaged record."""
    try:
        record = json.loads((path / PROCESS).read_text(encoding="utf-8"))
        return {**record, "pid": int(record["pid"]), "started": float(record["started"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_running(pid: int, started: float = math.inf) -> bool:
    """Whether a process with this id lives that was there at ``started`` (unix seconds), not a later namesake."""
    try:
        import psutil
    except ImportError:
        return _alive_without_psutil(pid)
    try:
        process = psutil.Process(pid)
        return bool(
            process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= started + _CLOCK_TOLERANCE_SECONDS
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _alive_without_psutil(pid: int) -> bool:
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def release(path: Path) -> None:
    """Give a folder back."""
    with suppress(OSError):
        (path / PROCESS).unlink()


def running_process(path: Path) -> int | None:
    """The id of this computer's live process that works in a folder, or None; a dead one's does not count."""
    record = _record(path)
    if record is None or record.get("host", host_name()) != host_name():
        return None
    return record["pid"] if is_running(record["pid"], record["started"]) else None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file aside and move it into place. Raises OSError."""
    text = json.dumps(plain_values(content), indent=2, ensure_ascii=False)
    write_whole(path, lambda fresh: fresh.write_text(f"{text}\n", encoding="utf-8", newline="\n"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside and move into place; several processes may do so. Raises OSError."""
    unfinished = path.with_name(f"{path.name}.{host_name()}-{os.getpid()}.partial")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def plain_values(value: Any) -> Any:
    """Paths as text, tuples as lists, numpy and torch scalars as numbers, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_values(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str | bytes) and hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Failures of the file system at a folder in plain words."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"The folder '{path}' cannot be written: {reason}.", "Check free disk space and permissions."
        ) from error
