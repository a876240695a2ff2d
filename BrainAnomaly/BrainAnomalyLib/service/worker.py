"""The worker: the engine as a process that stays warm and speaks JSON lines (UTF-8, one object per line).

Requests on standard input, each with an ``id`` chosen by the caller (text or number):

    {"id": "1", "command": "detect", "scan": "...", "out": "...", ...}   further fields: those of jobs.DetectionJob
    {"id": "2", "command": "ping"}
    {"id": "1", "command": "cancel"}      cancels the request with that id, running or waiting
    {"id": "3", "command": "shutdown"}    cancels everything and ends the worker

Events on standard output:

    {"id": null, "event": "ready", "protocol": 1, "version": "..."}       once, when the worker takes requests
    {"id": "1", "event": "started"}
    {"id": "1", "event": "progress", "stage": "...", "fraction": 0.45}
    {"id": "1", "event": "result", "folder": "...", "summary": {...}}     or
    {"id": "1", "event": "error", "kind": "ScanError", "message": "...", "remedy": "...", "exit_code": 3,
     "details": "..."}                                                    or
    {"id": "1", "event": "cancelled"}
    {"id": "2", "event": "pong"}
    {"id": "3", "event": "ended"}                                         the last event of the worker

Requests run one after the other, in order. Every detect request ends with exactly one result, error or cancelled.
``details`` is a traceback for faults of the program and empty otherwise. Lines that are no request get an error event
(``id`` null if it cannot be told). A cancel takes effect at the next progress message; one of a request that has
ended is ignored. When standard input ends the caller is gone: everything is cancelled and the worker ends. Standard
error carries only what libraries print.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from .. import __version__
from ..detectors.protocol import Detector
from ..detectors.registry import load_detector
from ..errors import Cancelled, OptionsError
from ..progress import Progress
from .jobs import InternalError, Loader, in_plain_words, job_from_json, run_job

PROTOCOL = 1
_LONGEST_LINE = 1 << 20
# A step without progress messages may be long; a worker without a caller is not worth waiting for.
_GRACE_SECONDS = 60.0

Identity = str | int | None
Values = dict[str, Any]


def serve(requests: BinaryIO, output: TextIO, load: Loader | None = None) -> int:
    """Answer requests until shutdown or the end of ``requests``; returns the exit code 0."""
    return Worker(output, load or warm_loader()).serve(requests)


def warm_loader() -> Loader:
    """A loader that keeps the last two detectors in memory, and reads a package again when its files changed."""

    @lru_cache(maxsize=2)
    def load(name: str, package: Path | None, device: str, changed: int) -> Detector:
        return load_detector(name, package, device)

    return lambda name, package, device: load(name, package, device, _last_change(package))


class Worker:
    """Reads requests on a thread of its own and runs them, one after the other, on the thread that calls ``serve``."""

    def __init__(self, output: TextIO, load: Loader) -> None:
        self._output = output
        self._load = load
        self._writing = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Identity, Values] | None] = queue.SimpleQueue()
        self._open: dict[Identity, threading.Event] = {}
        self._closed_by: Identity = None
        self._closing = threading.Event()
        self._last_resort = threading.Timer(_GRACE_SECONDS, os._exit, args=(Cancelled.exit_code,))
        self._last_resort.daemon = True

    def serve(self, requests: BinaryIO) -> int:
        """Run until shutdown or the end of ``requests``; returns the exit code 0."""
        self._send(None, "ready", protocol=PROTOCOL, version=__version__)
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        for identity, values in iter(self._waiting.get, None):
            self._run(identity, values)
        self._last_resort.cancel()
        self._send(self._closed_by, "ended")
        return 0

    def _read(self, requests: BinaryIO) -> None:
        """Body of the reading thread."""
        for line in iter(lambda: requests.readline(_LONGEST_LINE), b""):
            self._take(line)
            if self._closing.is_set():
                break
        self._cancel_all()
        self._last_resort.start()
        self._waiting.put(None)

    def _take(self, line: bytes) -> None:
        """Act on one line; one that is no request is answered with an error."""
        identity: Identity = None
        try:
            values = _parsed(line)
            identity = _identity(values)
            _command(values)(self, identity, values)
        except OptionsError as error:
            self._send_error(identity, error)

    def _ping(self, identity: Identity, values: Values) -> None:
        self._send(identity, "pong")

    def _shutdown(self, identity: Identity, values: Values) -> None:
        self._closed_by = identity
        self._closing.set()

    def _detect(self, identity: Identity, values: Values) -> None:
        if identity in self._open:
            raise OptionsError(f"There is already a request with the id '{identity}'.", "Choose another id.")
        self._open[identity] = threading.Event()
        self._waiting.put((identity, values))

    def _cancel(self, identity: Identity, values: Values) -> None:
        cancelled = self._open.get(identity)
        if cancelled is not None:
            cancelled.set()

    def _cancel_all(self) -> None:
        for cancelled in list(self._open.values()):
            cancelled.set()

    def _run(self, identity: Identity, values: Values) -> None:
        """Run one request to its single last event."""
        progress = self._progress(identity, self._open[identity])
        try:
            self._check(self._open[identity])
            self._send(identity, "started")
            outcome = run_job(job_from_json(values), progress, self._load)
            self._finish(identity, "result", folder=str(outcome.folder), summary=outcome.summary)
        except Cancelled:
            self._finish(identity, "cancelled")
        except Exception as error:
            del self._open[identity]
            self._send_error(identity, error)

    def _progress(self, identity: Identity, cancelled: threading.Event) -> Progress:
        def report(stage: str, fraction: float) -> None:
            self._check(cancelled)
            self._send(identity, "progress", stage=stage, fraction=round(fraction, 4))

        return report

    @staticmethod
    def _check(cancelled: threading.Event) -> None:
        if cancelled.is_set():
            raise Cancelled

    def _finish(self, identity: Identity, event: str, **values: Any) -> None:
        del self._open[identity]
        self._send(identity, event, **values)

    def _send_error(self, identity: Identity, error: Exception) -> None:
        plain = in_plain_words(error)
        self._send(
            identity,
            "error",
            kind=type(plain).__name__,
            message=plain.message,
            remedy=plain.remedy,
            exit_code=plain.exit_code,
            details="".join(traceback.format_exception(error)) if isinstance(plain, InternalError) else "",
        )

    def _send(self, identity: Identity, event: str, **values: Any) -> None:
        """Write one event; a caller that no longer listens has gone, and takes everything with it."""
        line = json.dumps({"id": identity, "event": event, **values})
        try:
            with self._writing:
                print(line, file=self._output, flush=True)
        except OSError:
            self._cancel_all()


def _parsed(line: bytes) -> Values:
    try:
        values = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionsError("A request is not one line of JSON in UTF-8.") from error
    if not isinstance(values, dict):
        raise OptionsError("A request is not a JSON object.")
    return values


def _identity(values: Values) -> Identity:
    """Take the id out of a request."""
    identity = values.pop("id", None)
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise OptionsError("A request has no id.", "Give a text or a whole number.")
    return identity


def _command(values: Values) -> Callable[[Worker, Identity, Values], None]:
    """Take the command out of a request."""
    name = values.pop("command", None)
    if not isinstance(name, str) or name not in _COMMANDS:
        raise OptionsError(f"There is no command '{name}'.", f"Choose one of {', '.join(_COMMANDS)}.")
    return _COMMANDS[name]


def _last_change(package: Path | None) -> int:
    """When a file of the package was last written, in ns; 0 for none or an embedded package."""
    if package is None:
        return 0
    return max((path.stat().st_mtime_ns for path in package.rglob("*")), default=0)


_COMMANDS: dict[str, Callable[[Worker, Identity, Values], None]] = {
    "detect": Worker._detect,
    "ping": Worker._ping,
    "cancel": Worker._cancel,
    "shutdown": Worker._shutdown,
}
