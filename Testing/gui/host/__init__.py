"""The test host: module panels run on PySide6 and slicer-core with PythonQt's manners. It is not 3D Slicer.

How to use it in a test (fixture ``host`` of Testing/gui/conftest.py; every test starts with an empty scene)::

    def test_detect_needs_a_scan(host):
        panel = host.open("BrainAnomaly")                  # loads BrainAnomaly/BrainAnomaly.py, setup(), enter(), shown
        panel.ui.detectButton.enabled                      # widgets answer as in PythonQt
        node = slicer.util.addVolumeFromArray(array)       # slicer.mrmlScene is a real MRML scene
        panel.ui.inputSelector.setCurrentNode(node)
        host.click(panel.ui.detectButton)                  # real mouse click; AssertionError if it is disabled
        host.type(panel.ui.nameEdit, "text")               # key by key
        host.choose(panel.ui.modelSelector, "Tissue model")
        host.click_cell(panel.ui.findingsTable, 0, 1)
        host.wait(lambda: not panel.isRunning(), seconds=60, what="the run to end")
        host.answer("/some/file.nii.gz")                   # what the next file dialog, message box or exec_() returns
        host.picture(panel.parent, Path("panel.png"))      # PNG of a widget
        pixels = host.slice_view("Red").draw()             # RGB pixels of a slice view drawn by slicer-core

When the test ends the panels are left (``exit()``, ``cleanup()``) and the fixture asserts that
``host.record.problems == []``: no slot raised, every connect() was accepted, no unknown .ui class or property, no
dialog nobody answered. A test that wants a problem clears it: ``host.record.slot_errors.clear()``.

``host.packaging`` records what slicer.packaging and PyTorchUtils were asked: ``calls``, ``installed``, ``fails_with``.
``slicer.app.testingEnabled()`` is True: slicer.util.errorDisplay and friends log and return; to see dialogs set
``slicer.app.qt_object().testing = False`` and queue answers. ``host.record.dialogs`` lists the dialogs that were shown.
A Qt object behind a widget is ``widget.qt_object()`` (tests only; the application has no such thing).

Not shown by the host: the application's own dialogs and windows, threads that starve while Slicer is idle (PySide6 runs
them; Testing/gui/test_static_guard.py forbids them instead), ctk's look, installs, DICOM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

_MISSING = object()


@contextmanager
def installed() -> Iterator[Any]:
    """A Host with a fresh scene; modules ``qt``, ``ctk``, ``slicer.app`` and so on exist inside, and go afterwards."""
    from .installation import Installation
    from .interaction import Host

    with Installation():
        host = Host()
        host.record.clear()
        host.packaging.reset()
        try:
            yield host
        finally:
            host.close_panels()
            host.forget_modules()


def missing() -> str:
    """Why the host cannot run here, or an empty text."""
    try:
        import PySide6.QtWidgets
        import slicer
    except ImportError as error:
        return f"the test host needs PySide6-Essentials and slicer-core ({error})"
    ready = hasattr(slicer, "vtkMRMLScene") and hasattr(PySide6.QtWidgets, "QApplication") and "slicer" in sys.modules
    return "" if ready else "the 'slicer' package installed here is not slicer-core"
