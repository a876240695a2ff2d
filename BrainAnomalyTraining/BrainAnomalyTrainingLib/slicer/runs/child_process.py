"""Starting a command that outlives the program that started it, and ending it with everything it started.

The child has a session (Windows: a process group, and a console without a window) of its own and prints into a file, so
that closing 3D Slicer neither ends nor blocks it. No pipe, no thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from BrainAnomalyLib.slicer.panel.run.interpreter import worker_python

from .started_command import CONSOLE

_POSIX = os.name == "posix"
_PROGRAM = "BrainAnomalyTrainingLib"
# CreateProcess flags of the Windows documentation; the subprocess module has them on Windows only.
_NO_WINDOW, _NEW_PROCESS_GROUP = 0x08000000, 0x200

# Children of this very program: only their parent can collect them, whichever panel started them.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def start_detached(arguments: list[str], folder: Path) -> int:
    """Start ``python -m BrainAnomalyTrainingLib ARGUMENTS``, printing into ``folder``; its process id.

    Behind a launcher the id is the launcher's; the command's own stands in ``process.json``. Raises OSError, and
    DependencyError where there is no Python to start.
    """
    command = [worker_python(), "-m", _PROGRAM, *arguments]
    with (folder / CONSOLE).open("wb") as console:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=child_variables(),
            start_new_session=_POSIX,
            creationflags=0 if _POSIX else _NO_WINDOW | _NEW_PROCESS_GROUP,
        )
    _CHILDREN[child.pid] = child
    return child.pid


def exit_code(launcher: int) -> int | None:
    """Exit code of a child of this program; None while it runs, or if it is not one."""
    child = _CHILDREN.get(launcher)
    return None if child is None else child.poll()


def is_child_running(launcher: int) -> bool:
    """Whether this program started that process and it still runs."""
    child = _CHILDREN.get(launcher)
    return child is not None and child.poll() is None


def kill_tree(process_id: int, launcher: int) -> None:
    """End a command and everything it started at once."""
    if not _POSIX:
        _kill_on_windows(process_id)
        return
    with suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(process_id)
        # A command that somebody started from a script shares the script's group, which is not ours to end.
        if group in (process_id, launcher) and group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
        else:
            os.kill(process_id, signal.SIGKILL)


def child_variables() -> dict[str, str]:
    """This program's environment, with both libraries on Python's path and the current folder not on it."""
    import BrainAnomalyLib

    libraries = [Path(__file__).resolve().parents[3], Path(BrainAnomalyLib.__file__).resolve().parents[1]]
    known = os.environ.get("PYTHONPATH")
    path = [*dict.fromkeys(map(str, libraries)), *([known] if known else [])]
    settings = dict.fromkeys(("PYTHONSAFEPATH", "PYTHONUTF8", "PYTHONUNBUFFERED"), "1")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **settings}


def _kill_on_windows(process_id: int) -> None:
    system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
    subprocess.run([str(system), "/F", "/T", "/PID", str(process_id)], capture_output=True, check=False)
