"""The run that the panel showed last, kept in the application's settings so that a later session finds it again."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from .run_monitor import RunMonitor

_KEY = "BrainAnomalyTraining/RunFolder"


def remember(folder: Path) -> None:
    """Keep this run folder."""
    qt.QSettings().setValue(_KEY, str(folder))


def remembered() -> str:
    """The run folder that was kept, "" if there is none."""
    return str(slicer.util.settingsValue(_KEY, "") or "")


def run_to_show(*folders: str) -> RunMonitor:
    """The first of these runs that still works; else the first one that is there at all; else no run."""
    paths = [Path(folder) for folder in dict.fromkeys(folders) if folder]
    monitors = [RunMonitor(path) for path in paths if path.is_dir()]
    working = [monitor for monitor in monitors if monitor.phase.is_alive]
    return next(iter(working or monitors), RunMonitor.none())
