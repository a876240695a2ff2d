"""What the events of a run add up to: stage, losses, scans, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...run.run_folder import Event

Ending = Literal["", "paused", "cancelled", "error", "finished"]


@dataclass
class RunState:
    """The sum of all events so far. ``take`` adds one; a resumed run goes on in the same state.

    ``losses`` and ``validation_losses`` map a step to its loss; ``scans`` maps a scan's path to its latest event;
    ``fraction`` is the finished part of ``stage`` in [0, 1]; ``seconds_left`` is None while it is unknown.
    """

    command: str = ""
    stage: str = ""
    message: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    step: int = 0
    steps: int = 0
    losses: dict[int, float] = field(default_factory=dict)
    validation_losses: dict[int, float] = field(default_factory=dict)
    scans: dict[str, Event] = field(default_factory=dict)
    example: Event | None = None
    warnings: list[str] = field(default_factory=list)
    ending: Ending = ""
    error: Event | None = None
    package: Path | None = None
    calibration: dict[str, object] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Add one event; kinds that are not known are left out, so that later commands may say more."""
        handler = getattr(self, f"_take_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _take_started(self, event: Event) -> None:
        self.command = str(event.get("command", ""))
        self.ending, self.error = "", None
        self.stage, self.message, self.fraction, self.seconds_left = "", "", 0.0, None
        self.warnings.clear()

    def _take_stage(self, event: Event) -> None:
        self.stage, self.message = str(event.get("stage", "")), str(event.get("message", ""))
        self.fraction, self.seconds_left = 0.0, None
        if self.stage == "find":
            self.scans.clear()

    def _take_progress(self, event: Event) -> None:
        self.fraction = min(1.0, max(0.0, float(event.get("fraction") or 0.0)))
        left = event.get("seconds_left")
        self.seconds_left = None if left is None else max(0.0, float(left))

    def _take_scan(self, event: Event) -> None:
        self.scans[str(event.get("path") or event.get("subject", ""))] = event

    def _take_loss(self, event: Event) -> None:
        if event.get("loss") is None:
            return
        step = int(event["step"])
        if step <= self.step:
            self._forget_from(step)
        self.step, self.steps = step, int(event.get("steps") or self.steps)
        self.losses[step] = float(event["loss"])
        if event.get("validation") is not None:
            self.validation_losses[step] = float(event["validation"])

    def _forget_from(self, step: int) -> None:
        """After a crash the steps since the last checkpoint are done again; a new training begins at its first step."""
        for losses in (self.losses, self.validation_losses):
            for done in [one for one in losses if one >= step]:
                del losses[done]

    def _take_example(self, event: Event) -> None:
        self.example = event

    def _take_warning(self, event: Event) -> None:
        self.warnings.append(str(event.get("message", "")))

    def _take_paused(self, event: Event) -> None:
        self.ending = "paused"

    def _take_cancelled(self, event: Event) -> None:
        self.ending = "cancelled"

    def _take_error(self, event: Event) -> None:
        # A cancelled command may report its exit as an error too; the cancel is what the user needs to read.
        if self.ending != "cancelled":
            self.ending, self.error = "error", event

    def _take_finished(self, event: Event) -> None:
        self.ending, self.fraction, self.seconds_left = "finished", 1.0, None
        self.package = Path(event["package"]) if event.get("package") else None
        self.calibration = dict(event.get("calibration") or {})
