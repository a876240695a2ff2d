"""Sizes, times and failures of a process as a reader wants to hear them."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

SETUP_HINT = "Open 'Setup' in this panel to install it."
_MINUTE, _HOUR = 60.0, 3600.0
_LONGEST_LINE = 300
_LONGEST_NAME = 32


def duration(seconds: float) -> str:
    """About how long, in words: ``40 s``, ``3 min``, ``1.5 h``."""
    if seconds < _MINUTE:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / _MINUTE)} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


def size(count: int) -> str:
    """Bytes in the unit a reader expects: ``740 kB``, ``12 MB``, ``1.3 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{count} bytes"


def short_name(name: str) -> str:
    """A name that fits into a line of a panel: the middle of a long one is left out."""
    half = _LONGEST_NAME // 2 - 1
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def error_sentence(event: Mapping[str, Any]) -> str:
    """One sentence for an error event of the worker, with a remedy that fits a panel."""
    remedy = SETUP_HINT if event["kind"] == "DependencyError" else event.get("remedy", "")
    return f"{event['message']} {remedy}".strip()


def exit_sentence(exit_code: int | None, log: str) -> str:
    """One sentence for a worker that ended before its result was there, whatever its exit code."""
    last = last_line(log)
    if "ModuleNotFoundError" in last:
        missing = last.split("'")[1].split(".")[0] if "'" in last else "unknown"
        return f"The Python package '{missing}' is not installed. {SETUP_HINT}"
    if exit_code is not None and exit_code < 0:
        return f"The detection was ended by the system ({_signal_name(-exit_code)}); the memory may have run out."
    said = f" Its last words: {last}" if last else ""
    return f"The detection process ended unexpectedly (exit code {exit_code}).{said}"


def last_line(log: str) -> str:
    """The last line of a log that says something, cut to a readable length."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_LINE] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
