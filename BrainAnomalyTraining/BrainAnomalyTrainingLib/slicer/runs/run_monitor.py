"""One run of a training command, watched through its folder: what it does now, and what may be asked of it.

The run belongs to its folder, not to this object: any number of monitors, in this program or a later one, see the same.

    monitor = RunMonitor(Path("models/my_model.training"))
    monitor.start(["train", "/data/healthy", "--detector", "denoising", ...])
    while monitor.poll() and monitor.phase.is_alive:    # from a timer
        show(monitor.state)
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path

from BrainAnomalyLib.service.workplace import running_process

from ...run.run_folder import EVENTS, Control, Event, ask, asked, read_events
from . import child_process
from .run_state import RunState
from .started_command import console_text, read_record, write_record

# A command that has not followed a cancel after this time is ended with everything it started.
GRACE_SECONDS = 20.0


class Phase(Enum):
    """What a run does: nothing yet, one of four ways of running, or one of five ways of having ended."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    CANCELLING = "cancelling"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    LOST = "lost"
    FINISHED = "finished"

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the run."""
        return self in (Phase.STARTING, Phase.RUNNING, Phase.PAUSING, Phase.CANCELLING)


_ENDINGS = {
    "paused": Phase.PAUSED,
    "cancelled": Phase.CANCELLED,
    "error": Phase.FAILED,
    "finished": Phase.FINISHED,
}


class RunMonitor:
    """A run folder: ``poll`` it often, read ``state`` and ``phase``, ask it to ``pause`` or ``cancel``.

    ``process_id`` is that of the command itself, None while none is known to run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = RunState()
        self.phase = Phase.NEW
        self._offset = 0
        self._unread: list[Event] = []
        self._arguments, self._launcher = read_record(folder)
        self._cancelled_at: float | None = None
        self.process_id: int | None = None
        self.poll()

    @classmethod
    def none(cls) -> RunMonitor:
        """Stands for no run: always NEW, with a folder in which nothing can be."""
        return cls(Path(os.devnull))

    @property
    def arguments(self) -> list[str]:
        """The command that a panel last started here; [] for a run that was started elsewhere."""
        return list(self._arguments)

    @property
    def cohort(self) -> str:
        """The folder of healthy scans that the command works on; "" if it was started elsewhere."""
        return self._arguments[1] if len(self._arguments) > 1 else ""

    @property
    def is_training(self) -> bool:
        """Whether the run trains, rather than checks a cohort."""
        return (self.state.command or next(iter(self._arguments), "")) != "prepare"

    @property
    def can_resume(self) -> bool:
        """Whether starting the same command again goes on with the run."""
        stopped = self.phase in (Phase.PAUSED, Phase.CANCELLED, Phase.FAILED, Phase.LOST)
        return stopped and self.is_training and bool(self._arguments)

    @property
    def exit_code(self) -> int | None:
        """How the last process ended, if it was started by this program."""
        return child_process.exit_code(self._launcher)

    def start(self, arguments: list[str], anew: bool = False) -> None:
        """Start a command in this folder; ``anew`` forgets what earlier ones did there.

        Raises OSError if the folder or the process cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if anew:
            (self.folder / EVENTS).unlink(missing_ok=True)
            self.state, self._offset, self._unread = RunState(), 0, []
        ask(self.folder, "")
        self._cancelled_at = None
        # The ending of the run before is over as soon as this one is started.
        self.state.ending, self.state.error = "", None
        self._launcher = child_process.start_detached(arguments, self.folder)
        self._arguments = list(arguments)
        write_record(self.folder, self._arguments, self._launcher)
        self.poll()

    def pause(self) -> None:
        """Ask for a checkpoint and an end. Raises OSError."""
        self._ask("pause")

    def cancel(self) -> None:
        """Ask for an end; it is forced when nothing has happened after GRACE_SECONDS. Raises OSError."""
        self._ask("cancel")
        self._cancelled_at = time.monotonic()

    def poll(self) -> bool:
        """Read what is new; whether anything changed. Never waits."""
        # Whether it lives is looked up first: what it wrote before it ended is then read for certain.
        alive = self._is_alive()
        events = self._new_events()
        before, self.phase = self.phase, self._phase(alive)
        self._force_cancel()
        return bool(events) or before is not self.phase

    def take_unread(self) -> list[Event]:
        """The events since the last call of this, for a log."""
        unread, self._unread = self._unread, []
        return unread

    def console(self) -> str:
        """The end of what the command printed."""
        return console_text(self.folder)

    def _ask(self, wish: Control) -> None:
        ask(self.folder, wish)
        self.poll()

    def _new_events(self) -> list[Event]:
        events: list[Event] = []
        with suppress(OSError):
            events, self._offset = read_events(self.folder / EVENTS, self._offset)
        for event in events:
            self.state.take(event)
        self._unread += events
        return events

    def _is_alive(self) -> bool:
        # The child is looked up first: that collects it if it has ended.
        child_runs = child_process.is_child_running(self._launcher)
        self.process_id = running_process(self.folder)
        return child_runs or self.process_id is not None

    def _phase(self, alive: bool) -> Phase:
        if alive:
            return self._alive_phase()
        if self.state.ending:
            return _ENDINGS[self.state.ending]
        if self._cancelled_at is not None or asked(self.folder) == "cancel":
            return Phase.CANCELLED
        return Phase.LOST if self.state.command or self._launcher else Phase.NEW

    def _alive_phase(self) -> Phase:
        if self._cancelled_at is not None:
            return Phase.CANCELLING
        obeying = {"cancel": Phase.CANCELLING, "pause": Phase.PAUSING}.get(asked(self.folder))
        return obeying or (Phase.RUNNING if self.process_id else Phase.STARTING)

    def _force_cancel(self) -> None:
        if self._cancelled_at is None or self.phase is not Phase.CANCELLING:
            return
        if time.monotonic() - self._cancelled_at > GRACE_SECONDS:
            child_process.kill_tree(self.process_id or self._launcher, self._launcher)
        elif asked(self.folder) != "cancel":
            # A command that was just starting has taken the order for an old one.
            ask(self.folder, "cancel")
