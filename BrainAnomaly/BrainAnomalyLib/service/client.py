"""Talking to a worker from a program that must not wait, such as a window with a timer.

The worker writes its events and its other output to two files in a temporary folder, and ``poll`` reads what is new.
Files rather than pipes: reading a file never blocks on any platform, the worker never stalls on a full pipe, and no
thread is needed, which matters inside 3D Slicer, where Python threads hardly run while the window is idle. Requests go
through a pipe on purpose: when this process dies the pipe closes, and the worker ends by itself.

    with WorkerClient() as client:
        run = client.detect(scan="scan.nii.gz", out="results")
        while client.running:
            for event in client.poll():
                ...
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

_LIBRARY_PARENT = Path(__file__).resolve().parents[2]
_POSIX = os.name == "posix"
_LAST_WORDS_BYTES = 8192
_PAUSE_SECONDS = 0.02

Event = dict[str, Any]


class WorkerClient:
    """One worker process. Start it with ``start`` or by entering it; always ``close`` (or leave) it.

    ``python`` is the interpreter to use, ``environment`` adds to this process's variables. No method blocks except
    ``close`` and ``kill``, and those for a stated time.
    """

    def __init__(self, python: str | Path = sys.executable, environment: Mapping[str, str] | None = None) -> None:
        self._command: Sequence[str] = (str(python), "-m", "BrainAnomalyLib", "worker")
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._events: BinaryIO | None = None
        self._unread = b""
        self._last_words = ""
        self._exit_reported = True
        self._count = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the worker process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """Process id of the worker, None before it was started or after it was closed."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the worker; its first event is ``ready``. Does nothing if it runs. Raises OSError if it cannot."""
        if self.running:
            return
        self._discard()
        self._folder = tempfile.TemporaryDirectory(prefix="brain-anomaly-worker-", ignore_cleanup_errors=True)
        events, log = self._files()
        try:
            with events.open("wb") as output, log.open("wb") as errors:
                self._process = self._launch(output, errors)
        except OSError:
            self._discard()
            raise
        self._events = events.open("rb")
        self._exit_reported = False

    def detect(self, **options: Any) -> str:
        """Ask for a detection and return the request's id. Options are the fields of ``jobs.DetectionJob``."""
        return self._request("detect", self._next_identity(), options)

    def ping(self) -> str:
        """Ask for a ``pong`` and return the request's id."""
        return self._request("ping", self._next_identity())

    def cancel(self, identity: str) -> None:
        """Ask to stop a request; its ``cancelled`` event follows at the end of the current step."""
        self._request("cancel", identity)

    def poll(self) -> list[Event]:
        """Events that arrived since the last call, oldest first; never waits.

        When the process has ended the last event is ``{"id": None, "event": "exited", "exit_code": ..., "log": ...}``,
        once, with the end of what it printed.
        """
        alive = self.running
        events = self._new_events()
        if not alive and not self._exit_reported and self._process is not None:
            self._exit_reported = True
            events.append({"id": None, "event": "exited", "exit_code": self._process.returncode, "log": self.log()})
        return events

    def log(self) -> str:
        """The last lines that the worker and its libraries printed, for a report of what went wrong."""
        if self._folder is None:
            return self._last_words
        with contextlib.suppress(OSError):
            self._last_words = self._files()[1].read_bytes()[-_LAST_WORDS_BYTES:].decode("utf-8", "replace")
        return self._last_words

    def kill(self, timeout: float = 5.0) -> None:
        """End the worker and all it started at once, and remove its temporary files."""
        if self._process is not None and self.running:
            _kill_tree(self._process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self._discard()

    def close(self, timeout: float = 5.0) -> None:
        """Ask the worker to end, kill it when it has not after ``timeout`` seconds, and remove its temporary files."""
        if self._process is not None and self.running:
            with contextlib.suppress(OSError):
                self._request("shutdown", self._next_identity())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def wait_for(self, identity: str, timeout: float) -> list[Event]:
        """For scripts and tests: poll until the request has ended; its events. Raises TimeoutError."""
        seen: list[Event] = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            seen += [event for event in self.poll() if event["id"] == identity or event["event"] == "exited"]
            if seen and seen[-1]["event"] in ("result", "error", "cancelled", "pong", "exited"):
                return seen
            time.sleep(_PAUSE_SECONDS)
        raise TimeoutError(f"The worker did not finish request {identity} in {timeout} s.")

    def _launch(self, output: BinaryIO, errors: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the process in a group of its own, so that whatever it starts can be ended with it."""
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            env=self._variables(),
            start_new_session=_POSIX,
            creationflags=0 if _POSIX else getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _variables(self) -> dict[str, str]:
        # Without the safe path, the worker would import what lies in the current folder.
        variables = {**os.environ, **self._environment, "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"}
        known = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = os.pathsep.join([str(_LIBRARY_PARENT), *([known] if known else [])])
        return variables

    def _files(self) -> tuple[Path, Path]:
        """The events file and the log file."""
        if self._folder is None:
            raise RuntimeError("The worker was not started.")
        return Path(self._folder.name, "events.jsonl"), Path(self._folder.name, "log.txt")

    def _next_identity(self) -> str:
        self._count += 1
        return str(self._count)

    def _request(self, command: str, identity: str, options: Mapping[str, Any] | None = None) -> str:
        """Send one line. Raises BrokenPipeError when the worker is gone."""
        if self._process is None or self._process.stdin is None:
            raise BrokenPipeError("The worker is not running.")
        line = json.dumps({**(options or {}), "id": identity, "command": command}, default=os.fspath)
        self._process.stdin.write(line.encode("utf-8") + b"\n")
        self._process.stdin.flush()
        return identity

    def _new_events(self) -> list[Event]:
        """Whole lines that the file gained; the start of an unfinished one is kept for the next time.

        What an interpreter prints before the worker has claimed its output is no event and is left out.
        """
        if self._events is None:
            return []
        *lines, self._unread = (self._unread + self._events.read()).split(b"\n")
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def _discard(self) -> None:
        """Close every handle and remove the temporary folder."""
        self.log()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._events is not None:
            self._events.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._process, self._events, self._folder, self._unread = None, None, None, b""


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, even behind a launcher."""
    if _POSIX:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
    subprocess.run([str(system), "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    process.kill()
