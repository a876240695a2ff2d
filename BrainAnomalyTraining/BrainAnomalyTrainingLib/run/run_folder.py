"""The folder of a training run: its settings, its events as they happen, who works in it, and what the user asks.

Reading needs nothing but the standard library, so that a panel can follow a run that another process writes.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from BrainAnomalyLib.errors import BrainAnomalyError, Cancelled
from BrainAnomalyLib.service.workplace import plain_values, release, take, write_json, writing

EVENTS = "events.jsonl"
JOB = "job.json"
CONTROL = "control"
PICTURES = "cohort"
EXAMPLES = "examples"

Control = Literal["", "pause", "cancel"]
Event = dict[str, Any]


class Paused(BrainAnomalyError):
    """The user asked for a pause; the same command goes on later."""

    exit_code = 0

    def __init__(self, message: str = "The run is paused.", remedy: str = "The same command goes on.") -> None:
        super().__init__(message, remedy)


class RunFolder:
    """A run folder to write to. ``listener`` also gets every event, for a terminal.

    Raises OutputError, in plain words, where the folder cannot be made or written.
    """

    def __init__(self, path: Path, listener: Callable[[Event], None] | None = None) -> None:
        self.path = path
        self._listener = listener
        with writing(path):
            (path / PICTURES).mkdir(parents=True, exist_ok=True)
            (path / EXAMPLES).mkdir(exist_ok=True)
            _end_last_line(path / EVENTS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Marks the folder as this process's own meanwhile. Raises OutputError if another process works in it."""
        take(self.path)
        try:
            yield
        finally:
            release(self.path)

    def write_job(self, settings: dict[str, Any]) -> None:
        """Write ``job.json``, replacing an older one."""
        with writing(self.path):
            write_json(self.path / JOB, settings)

    def event(self, name: str, **values: Any) -> None:
        """Append one event as one line, in one write; numbers that are not finite become null."""
        event = {"time": round(time.time(), 3), "event": name, **plain_values(values)}
        line = (json.dumps(event, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with writing(self.path):
            _append(self.path / EVENTS, line)
        if self._listener is not None:
            self._listener(event)

    def stage(self, name: str, message: str) -> None:
        """Say which stage begins (find, prepare, train, calibrate, export) and what happens, in plain words."""
        self.event("stage", stage=name, message=message)

    def progress(self, stage: str, fraction: float, seconds_left: float | None = None) -> None:
        """How much of a stage is done, 0 to 1, and how long the rest may take."""
        left = None if seconds_left is None else round(seconds_left, 1)
        self.event("progress", stage=stage, fraction=round(fraction, 4), seconds_left=left)

    def warning(self, message: str) -> None:
        """Something the user should know that does not stop the run."""
        self.event("warning", message=message)

    def control(self) -> Control:
        """What the user asks for now."""
        return asked(self.path)

    def clear_control(self) -> None:
        """Forget an earlier wish, at the start of a run or once it was obeyed."""
        with suppress(FileNotFoundError):
            (self.path / CONTROL).unlink()

    def obey(self) -> None:
        """Raises Cancelled or Paused if the user asks for it."""
        wish = self.control()
        if wish == "cancel":
            raise Cancelled
        if wish == "pause":
            raise Paused


def asked(path: Path) -> Control:
    """The word in a run folder's ``control`` file: ``pause``, ``cancel`` or, for anything else, ''."""
    try:
        word = (path / CONTROL).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
    return "pause" if word == "pause" else "cancel" if word == "cancel" else ""


def ask(path: Path, wish: Control) -> None:
    """Write the ``control`` file of a run, whole; '' takes an earlier wish back."""
    if not wish:
        (path / CONTROL).unlink(missing_ok=True)
        return
    unfinished = path / f"{CONTROL}.{os.getpid()}.partial"
    unfinished.write_text(wish, encoding="utf-8")
    unfinished.replace(path / CONTROL)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events in ``path`` (``events.jsonl``) from byte ``offset`` on, and the offset to go on from.

    A last line that is still being written is left for the next call; a damaged line is passed over; a file that has
    become shorter than ``offset`` was begun anew and is read from its start. A missing file has no events.
    """
    try:
        with path.open("rb") as stream:
            start = offset if offset <= stream.seek(0, os.SEEK_END) else 0
            stream.seek(start)
            data = stream.read()
    except FileNotFoundError:
        return [], 0
    whole = data.rfind(b"\n") + 1
    events = [event for line in data[:whole].splitlines() if (event := _parsed(line)) is not None]
    return events, start + whole


_BINARY = getattr(os, "O_BINARY", 0)


def _append(path: Path, line: bytes) -> None:
    """Append in one write; what a full disk left of it is taken back. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY, 0o644)
    try:
        written = os.write(descriptor, line)
        if written < len(line):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _end_last_line(path: Path) -> None:
    """End a line that a killed process left half-written, so that the next event starts a line of its own."""
    if path.is_file() and path.stat().st_size > 0:
        with path.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
