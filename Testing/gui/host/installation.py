"""Puts the host's modules where Python and slicer look for them, and takes them away again."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import slicer

from . import overrides, qt_modules, signals  # noqa: F401  (overrides register themselves)
from .application import LogicModules, make_qt_application, qSlicerApplication
from .proxies import proxy_class, proxy_of
from .scripted_module import extra_modules

_MISSING = object()
_application: list[Any] = []


class Installation:
    """A context: inside, ``import qt`` works and ``slicer`` has app, modules, mrmlScene and the qMRML widgets."""

    def __init__(self) -> None:
        self._modules: dict[str, Any] = {}
        self._attributes: dict[str, Any] = {}

    def __enter__(self) -> Installation:
        make_qt_application()
        scene = slicer.vtkMRMLScene()
        slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(
            slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
        )
        extra = extra_modules()
        for name, module in {"qt": qt_modules.qt, "ctk": qt_modules.ctk, **extra}.items():
            self._set_module(name, module)
        self._set("mrmlScene", scene)
        self._set("app", proxy_of(_the_application()))
        _the_application().use_scene(scene)
        self._set("modules", LogicModules(scene, _the_application().applicationLogic()))
        for prefix in ("qMRML", "qSlicer"):
            for name, kind in qt_modules.own_widgets(prefix).items():
                self._set(name, proxy_class(kind))
        for name in ("i18n", "packaging", "parameterNodeWrapper", "ScriptedLoadableModule"):
            self._set(name, extra[f"slicer.{name}"])
        return self

    def __exit__(self, *_: object) -> None:
        _the_application().leave_scene()
        signals.forget()
        slicer.mrmlScene.Clear(1)
        for name, value in self._attributes.items():
            if value is _MISSING:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)
        for name, module in self._modules.items():
            if module is _MISSING:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module

    def _set(self, name: str, value: Any) -> None:
        self._attributes.setdefault(name, getattr(slicer, name, _MISSING))
        setattr(slicer, name, value)

    def _set_module(self, name: str, module: ModuleType) -> None:
        self._modules.setdefault(name, sys.modules.get(name, _MISSING))
        sys.modules[name] = module


def _the_application() -> qSlicerApplication:
    if not _application:
        _application.append(qSlicerApplication())
    return _application[0]
