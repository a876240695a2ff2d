"""``python -m BrainAnomalyTrainingLib``: see training_commands.py."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from BrainAnomalyLib.service.memory import keep_freed_memory
from BrainAnomalyLib.service.streams import use_utf8

from .training_commands import main

_TERMINATED = 143


def run() -> int:
    """The command line; a request to end unwinds, so that locks and temporary files are removed."""
    use_utf8()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _stop)
    return main()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(run())
