"""How a run of a cohort is told: a bar in a terminal, plain lines elsewhere, or JSON lines."""

from __future__ import annotations

import json
import time
from typing import Any, TextIO

from .records import Record
from .scheduling import Listener, Plan


def listener_for(stream: TextIO, as_json: bool, quiet: bool) -> Listener:
    """The listener that suits where its words go."""
    if as_json:
        return JsonLines(stream)
    if quiet:
        return Listener()
    return Bar(stream) if stream.isatty() else Lines(stream)


class JsonLines(Listener):
    """An event as one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def started(self, plan: Plan, workers: int, dashboard: str) -> None:
        """Counts, and where Dask shows its dashboard."""
        self._say(event="started", **_counts(plan), workers=workers, dashboard=dashboard)

    def finished(self, record: Record) -> None:
        """The scan and how it ended."""
        values = {name: record.get(name) for name in ("key", "status", "reason", "total_ml", "seconds")}
        self._say(event="finished", **values)

    def _say(self, **values: Any) -> None:
        print(json.dumps(values), file=self._stream, flush=True)


class Lines(Listener):
    """A line for each scan, with the rate and the time left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._began, self._ended, self._total = stream, time.monotonic(), 0, 0

    def started(self, plan: Plan, workers: int, dashboard: str) -> None:
        """What there is to do and by how many."""
        self._began, self._total = time.monotonic(), _counts(plan)["to_do"]
        print(_opening(plan, workers, dashboard), file=self._stream, flush=True)

    def finished(self, record: Record) -> None:
        """The scan, how it ended, how many are left and for how long."""
        self._ended += 1
        pace = (time.monotonic() - self._began) / self._ended
        left = _duration(pace * (self._total - self._ended))
        line = f"[{self._ended}/{self._total}, {3600.0 / max(pace, 1e-9):.0f} scans/h, {left} left] {_ended(record)}"
        print(line, file=self._stream, flush=True)


class Bar(Listener):
    """A bar with counts, rate and time left; a failure is written above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._bar = stream, None

    def started(self, plan: Plan, workers: int, dashboard: str) -> None:
        """Draw the bar."""
        from tqdm import tqdm

        print(_opening(plan, workers, dashboard), file=self._stream, flush=True)
        self._bar = tqdm(total=_counts(plan)["to_do"], unit="scan", file=self._stream, dynamic_ncols=True)

    def finished(self, record: Record) -> None:
        """Move the bar."""
        bar: Any = self._bar
        if record["status"] == "failed":
            bar.write(_ended(record), file=self._stream)
        bar.update()
        if bar.n >= bar.total:
            bar.close()


def _counts(plan: Plan) -> dict[str, int]:
    to_do = sum(len(task.entries) for task in plan.tasks)
    return {"to_do": to_do, "done": len(plan.done), "failed_before": len(plan.failed_before)}


def _opening(plan: Plan, workers: int, dashboard: str) -> str:
    counts = _counts(plan)
    parts = [f"{counts['to_do']} scan{'' if counts['to_do'] == 1 else 's'} to run"]
    parts += [f"{counts['done']} done before"] if counts["done"] else []
    parts += [f"{counts['failed_before']} failed before (--retry-failed)"] if counts["failed_before"] else []
    by = f"; {workers} worker{'' if workers == 1 else 's'}, dashboard {dashboard}" if workers else ""
    return ", ".join(parts) + by


def _ended(record: Record) -> str:
    if record["status"] == "failed":
        return f"{record['key']}: failed: {record['reason']}"
    count = len(record["findings"])
    return f"{record['key']}: {count} finding{'' if count == 1 else 's'}, {record['total_ml']:.2f} mL"


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {int(seconds % 60):02d} s"
