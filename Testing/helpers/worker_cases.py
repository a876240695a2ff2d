"""Tasks for worker processes, in a module of their own because new processes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def doubled_unless_deadly(task: tuple[int, bool]) -> int:
    """Twice the number; a deadly task ends its process the way the system does when memory runs out."""
    number, deadly = task
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return 2 * number


def killed_the_first_time(mark: Path) -> str:
    """Ends its process once, and does its work when tried again."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def threads_of_torch(task: int) -> int:
    """How many threads torch would use in a worker."""
    import torch

    return torch.get_num_threads()


def slow(mark: Path) -> int:
    """Writes down its process and works for a minute."""
    mark.write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(60.0)
    return 0
