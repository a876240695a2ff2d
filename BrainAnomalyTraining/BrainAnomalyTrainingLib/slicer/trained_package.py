"""What becomes of a finished package: it joins the user's models and is chosen in Brain Anomaly."""

from __future__ import annotations

from pathlib import Path

import slicer

from BrainAnomalyLib.models.store import import_package


def use_in_brain_anomaly(folder: Path) -> None:
    """Copy the package to the user's models, open Brain Anomaly and choose it there.

    Raises PackageError or OutputError in plain words, for example when a model of that name is there already.
    """
    with slicer.util.WaitCursor():
        key = import_package(folder).folder.name
    # Without a main window, as in scripts, there is no module to go to.
    if slicer.util.mainWindow() is None:
        return
    slicer.util.selectModule("BrainAnomaly")
    panel = slicer.modules.BrainAnomalyWidget.panel
    panel.parameters.modelKey = key
    panel.models.refresh()
