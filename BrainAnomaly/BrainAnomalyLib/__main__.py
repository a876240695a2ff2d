"""``python -m BrainAnomalyLib``: see cli/main.py."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from .cli.main import parse, run_command
from .service.memory import keep_freed_memory
from .service.streams import claim_stderr, claim_stdout, use_utf8, while_read

_TERMINATED = 143


def run(arguments: Sequence[str] | None = None) -> int:
    """The command line with clean streams: libraries can neither spoil the result nor hide the error."""
    use_utf8()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _stop)
    options = parse(arguments)
    shows_everything = options.debug or options.command == "worker"
    output = claim_stdout()
    messages = sys.stderr if shows_everything else claim_stderr()
    return while_read(lambda stream: run_command(options, stream, messages), output)


def run_bids() -> int:
    """The command ``bids`` under a name of its own, as BIDS Apps are called."""
    return run(["bids", *sys.argv[1:]])


def _stop(number: int, frame: FrameType | None) -> None:
    """Let a batch system's request to end unwind, so that nothing half-written stays."""
    raise SystemExit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(run())
