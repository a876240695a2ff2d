"""One warm worker and the one request it is busy with; it never blocks and uses no thread.

Whoever owns it calls ``poll`` from a timer and gets what has happened. Every request ends with exactly one Finished,
Failed or Stopped, whatever becomes of the process: a result that was not announced by the worker is no result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import DependencyError
from ....service.client import Event, WorkerClient
from ..common.plain_words import error_sentence, exit_sentence

# A cancel takes effect at the end of the current step; after this the process is ended.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Stage:
    """How far the run is: the stage in words and the finished fraction of the run in [0, 1]."""

    name: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """The result lies complete in ``folder``."""

    folder: Path


@dataclass(frozen=True)
class Failed:
    """There is no result. ``sentence`` says why and what to do, ``details`` are for a log."""

    sentence: str
    details: str = ""


@dataclass(frozen=True)
class Stopped:
    """The run was cancelled; ``killed`` tells that the process had to be ended."""

    killed: bool = False


Report = Stage | Finished | Failed | Stopped


class WorkerProcess:
    """A worker that is started when it is needed and stays warm until ``close``.

    ``python`` gives the interpreter, ``environment`` adds to this process's variables, ``clock`` counts seconds.
    """

    def __init__(
        self,
        python: Callable[[], str],
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._python, self._environment, self._clock = python, dict(environment or {}), clock
        self._client: WorkerClient | None = None
        self._identity: str | None = None
        self._deadline: float | None = None
        self._last_log = ""

    @property
    def busy(self) -> bool:
        """Whether a request has not ended yet."""
        return self._identity is not None

    @property
    def process_id(self) -> int | None:
        """Process id of the worker, None while there is none."""
        return None if self._client is None else self._client.process_id

    @property
    def log(self) -> str:
        """What the worker and its libraries have printed lately."""
        return self._last_log if self._client is None else self._client.log()

    def detect(self, **options: Any) -> None:
        """Ask for a detection (the fields of ``jobs.DetectionJob``). Raises DependencyError if no worker starts."""
        if self.busy:
            raise RuntimeError("The worker is busy.")
        self._deadline = None
        try:
            self._identity = self._ready_client().detect(**options)
        except BrokenPipeError:
            self.close()
            self._identity = self._ready_client().detect(**options)

    def cancel(self) -> None:
        """Ask to stop; ``poll`` ends the process when it has not stopped after GRACE_SECONDS."""
        if self._client is None or self._identity is None or self._deadline is not None:
            return
        self._deadline = self._clock() + GRACE_SECONDS
        try:
            self._client.cancel(self._identity)
        except OSError:
            self._deadline = self._clock()

    def poll(self) -> list[Report]:
        """What has happened since the last call, oldest first."""
        if self._client is None:
            return []
        reports = [report for event in self._client.poll() if (report := self._report(event)) is not None]
        if self.busy and self._deadline is not None and self._clock() >= self._deadline:
            self.close(at_once=True)
            reports.append(Stopped(killed=True))
        if self._client is not None and not self._client.running and not self.busy:
            self.close()
        return reports

    def close(self, at_once: bool = False) -> None:
        """End the worker with all it has started, and remove its files; a running request is dropped."""
        client, self._client = self._client, None
        at_once, self._identity = at_once or self.busy, None
        if client is not None:
            if at_once:
                client.kill()
            else:
                client.close(timeout=2.0)
            self._last_log = client.log()

    def _ready_client(self) -> WorkerClient:
        if self._client is not None and self._client.running:
            return self._client
        self.close()
        client = WorkerClient(self._python(), self._environment)
        try:
            client.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DependencyError(f"The detection process cannot be started: {reason}.", "Restart Slicer.") from error
        self._client = client
        return client

    def _report(self, event: Event) -> Report | None:
        """What an event means for the request; None for events of other requests."""
        kind = event["event"]
        if not self.busy or (kind != "exited" and event["id"] != self._identity):
            return None
        if kind == "progress":
            return Stage(event["stage"], float(event["fraction"]))
        if kind not in ("result", "error", "cancelled", "exited"):
            return None
        cancelled, self._identity = self._deadline is not None, None
        return _ending(event, cancelled)


def _ending(event: Event, cancelled: bool) -> Report:
    if event["event"] == "result":
        return Stopped() if cancelled else Finished(Path(event["folder"]))
    if event["event"] == "error":
        return Failed(error_sentence(event), event.get("details", ""))
    if event["event"] == "exited" and not cancelled:
        return Failed(exit_sentence(event["exit_code"], event["log"]), event["log"])
    return Stopped()
