"""Progress of a run: which stage, how far, and the place where a cancel takes effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

# Called with the stage in plain words and the finished fraction of the whole run in [0, 1].
# A caller that wants to stop the run raises ``errors.Cancelled`` from it.
Progress = Callable[[str, float], None]


def silent(stage: str, fraction: float) -> None:
    """A progress callback that ignores everything."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """A callback for one part of a run: its 0..1 becomes ``start``..``end`` of the whole."""

    def report(stage: str, fraction: float) -> None:
        progress(stage, start + (end - start) * fraction)

    return report


def progress_lines(stream: TextIO) -> Progress:
    """A progress callback that writes lines such as ``[ 45 %] Aligning with the template``."""

    def report(stage: str, fraction: float) -> None:
        print(f"[{round(100 * fraction):3d} %] {stage}", file=stream, flush=True)

    return report
