"""slicer.app and slicer.modules of the host."""

# ruff: noqa: N801, N815, RUF012  (names of the real classes; tables that nobody changes)

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import signals, views
from .main_window import qSlicerMainWindow
from .stand_in import stored


class qSlicerApplication(QtCore.QObject):
    """What modules use of the application. One object for the process; every test gives it a fresh scene."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "sceneChosen"}
    sceneChosen = QtCore.Signal(object)
    startupCompleted = QtCore.Signal()
    aboutToQuit = QtCore.Signal()
    lastWindowClosed = QtCore.Signal()

    applicationName = stored("QString", "applicationName", "Slicer")
    temporaryPath = stored("QString", "temporaryPath", "")
    slicerHome = stored("QString", "slicerHome", "")
    slicerUserSettingsFilePath = stored("QString", "slicerUserSettingsFilePath", "")
    revision = stored("QString", "revision", "0")
    majorVersion = stored(int, "majorVersion", 5)
    minorVersion = stored(int, "minorVersion", 12)
    os = stored("QString", "os", "linux")

    def use_scene(self, scene: Any) -> None:
        """Start over with a scene: new logics, new layout."""
        self._scene = scene
        self._logic = views.new_application_logic(scene)
        self._layout_manager = views.qSlicerLayoutManager(scene, self._logic)
        self.testing = True
        self.main_window = qSlicerMainWindow()
        self.rendering_paused = 0
        self.sceneChosen.emit(scene)

    def leave_scene(self) -> None:
        """Let go of the scene."""
        self._layout_manager.leave_scene()
        signals.disconnect(self)
        shiboken6.delete(self.main_window)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._logic

    mrmlApplicationLogic = applicationLogic

    def layoutManager(self) -> Any:
        """The layout manager."""
        return self._layout_manager

    def processEvents(self, *_flags: Any) -> None:
        """Let Qt work."""
        QtWidgets.QApplication.processEvents()

    def settings(self) -> QtCore.QSettings:
        """Application settings, in a temporary file."""
        return QtCore.QSettings()

    userSettings = settings
    revisionUserSettings = settings

    def testingEnabled(self) -> bool:
        """Whether message boxes return at once."""
        return bool(self.testing)

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        """All windows."""
        return QtWidgets.QApplication.topLevelWidgets()

    def setOverrideCursor(self, cursor: Any) -> None:
        """Show another cursor."""
        shape = cursor if isinstance(cursor, QtGui.QCursor) else QtGui.QCursor(QtCore.Qt.CursorShape(int(cursor.value)))
        QtWidgets.QApplication.setOverrideCursor(shape)

    def restoreOverrideCursor(self) -> None:
        """Show the cursor of before."""
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Hold back drawing."""
        self.rendering_paused += 1

    def resumeRender(self) -> None:
        """Draw again."""
        self.rendering_paused -= 1

    def translate(self, context: str, text: str, *_: Any) -> str:
        """The host has no translations."""
        return text

    def palette(self) -> QtGui.QPalette:
        """Colors of the style."""
        return QtWidgets.QApplication.palette()

    def style(self) -> QtWidgets.QStyle:
        """The style."""
        return QtWidgets.QApplication.style()

    def clipboard(self) -> QtGui.QClipboard:
        """The clipboard."""
        return QtWidgets.QApplication.clipboard()

    def startupEnvironment(self) -> dict[str, str]:
        """The environment that the application was started in."""
        return dict(os.environ)

    def environment(self) -> dict[str, str]:
        """The environment of the application."""
        return dict(os.environ)

    def coreIOManager(self) -> Any:
        """Readers and writers."""
        from .core_io import qSlicerCoreIOManager

        return qSlicerCoreIOManager(self._scene, self._logic)

    ioManager = coreIOManager

    def moduleManager(self) -> Any:
        """The module manager."""
        return _module_manager()


class qSlicerModuleManager(QtCore.QObject):
    """Tells when modules come and go."""

    moduleAboutToBeUnloaded = QtCore.Signal("QString")
    moduleLoaded = QtCore.Signal("QString")

    def module(self, name: str) -> Any:
        """A module, or None."""
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        """Names of the modules."""
        return [name for name in vars(slicer.modules) if not name.endswith("Widget")]

    def factoryManager(self) -> Any:
        """Knows which modules are loaded."""
        return self

    def isLoaded(self, name: str) -> bool:
        """Whether a module is there."""
        return self.module(name) is not None


_LOGICS = {
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "tables": "vtkSlicerTablesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "volumerendering": "vtkSlicerVolumeRenderingLogic",
}
_managers: list[qSlicerModuleManager] = []


def _module_manager() -> qSlicerModuleManager:
    if not _managers:
        _managers.append(qSlicerModuleManager())
    return _managers[0]


class LogicModules(SimpleNamespace):
    """``slicer.modules``: loadable modules with their real logics, scripted ones are added when they are opened."""

    def __init__(self, scene: Any, application_logic: Any) -> None:
        super().__init__()
        for name, class_name in _LOGICS.items():
            setattr(self, name, _LoadableModule(name, class_name, scene, application_logic))
        application_logic.SetModuleLogic("Colors", application_logic.GetColorLogic())
        self.colors = _Module("colors", application_logic.GetColorLogic())

    def add_scripted(self, name: str, path: Path) -> None:
        """A scripted module; ``widgetRepresentation()`` opens its panel."""
        setattr(self, name.lower(), _Module(name, None, str(path)))


class _Module:
    def __init__(self, name: str, logic: Any, path: str = "") -> None:
        self.name, self.path, self._logic = name, path, logic

    def logic(self) -> Any:
        """The module's logic."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The open panel of a scripted module; ``self()`` is the module's own widget object."""
        return _Representation(getattr(slicer.modules, f"{self.name}Widget"))


class _Representation:
    def __init__(self, widget: Any) -> None:
        self._widget = widget

    def self(self) -> Any:
        """The widget object of the module."""
        return self._widget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._widget.parent, name)


class _LoadableModule(_Module):
    """A loadable module; its logic is made when it is first asked for."""

    def __init__(self, name: str, class_name: str, scene: Any, application_logic: Any) -> None:
        super().__init__(name, None)
        self._class_name, self._scene, self._application_logic = class_name, scene, application_logic

    def logic(self) -> Any:
        if self._logic is None:
            self._logic = getattr(slicer, self._class_name)()
            self._logic.SetMRMLApplicationLogic(self._application_logic)
            self._logic.SetMRMLScene(self._scene)
        return self._logic


def make_qt_application() -> QtWidgets.QApplication:
    """The one QApplication, with settings in a temporary folder."""
    existing = QtWidgets.QApplication.instance()
    if existing is not None:
        return existing
    _stock_up_references()
    application = QtWidgets.QApplication(["Slicer"])
    application.setOrganizationName("BrainAnomalyTestHost")
    application.setApplicationName("TestHost")
    folder = tempfile.mkdtemp(prefix="test_host_settings_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, folder)
    return application


def _stock_up_references() -> None:
    """PySide6 6.12 gives back a reference, which it never took, to what a call or an event filter returns.

    Waiting makes many calls that return nothing. Before Python 3.12, where None, True and False cannot die, the
    interpreter would end in mid-run.
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 10**9
