"""The modules ``qt`` and ``ctk``: classes are looked up in PySide6 and in the host's own widgets when asked for."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import ctk_boxes, ctk_paths, ctk_sliders, qmrml_node_box, qmrml_widgets
from .proxies import proxy_class
from .ui_loader import UiLoader
from .values import _is_slot, call, wrap

# What PySide6 has and PythonQt has not, or not in every supported Slicer.
_ABSENT = {"Signal", "Slot", "Property", "QThread", "QThreadPool", "QRunnable", "ClassInfo", "SIGNAL", "SLOT", "QEnum"}
_LIBRARIES = (QtCore, QtGui, QtWidgets)


def own_widgets(prefix: str) -> dict[str, type]:
    """The host's widget classes whose name starts with ``ctk`` or ``qMRML``."""
    modules = (ctk_boxes, ctk_paths, ctk_sliders, qmrml_node_box, qmrml_widgets)
    named = {name: kind for module in modules for name, kind in vars(module).items() if isinstance(kind, type)}
    return {name: kind for name, kind in named.items() if name.startswith(prefix)}


class _QtModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        found = None
        if name == "QUiLoader":
            found = UiLoader
        elif name not in _ABSENT and not name.startswith("_"):
            found = next((getattr(library, name) for library in _LIBRARIES if hasattr(library, name)), None)
        if found is None:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        if isinstance(found, type):
            return proxy_class(found)
        return (lambda *arguments: call(found, name, arguments)) if _is_slot(found) else wrap(found)


class _CtkModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("ctk") and name in own_widgets("ctk"):
            return proxy_class(own_widgets("ctk")[name])
        raise AttributeError(f"module 'ctk' has no attribute '{name}' (or the test host lacks it)")


qt = _QtModule("qt")
ctk = _CtkModule("ctk")
