"""Loading of .ui files with the host's widgets; what the application would only print is an error or a problem here."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import cache
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import signals
from .record import RECORD

_DESIGNER_ONLY = {"Line", "Spacer"}
_DYNAMIC = {"SlicerParameterName"}


class UnknownWidgetError(Exception):
    """A .ui file names a class that nothing provides; Slicer would show an empty QWidget instead."""


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader``: creates the host's widgets, makes the connections of the file with PythonQt's rules."""

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The top widget of an open .ui file.

        Raises UnknownWidgetError for a class that neither Qt nor the host provides.
        """
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        _check_classes(tree, set(self.availableWidgets()))
        _check_properties(tree)
        _plain_numbers(tree)
        connections = [_texts(entry) for entry in tree.findall("connections/connection")]
        for entry in tree.findall("connections"):
            tree.remove(entry)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for sender, signal, receiver, slot in connections:
            _connect(widget, sender, signal, receiver, slot)
        return widget

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        """One widget of the file."""
        kind = _own_classes().get(class_name)
        if kind is None:
            return super().createWidget(class_name, parent, name)
        widget = kind(parent)
        widget.setObjectName(name)
        return widget


def _own_classes() -> dict[str, type]:
    from .qt_modules import own_widgets

    return own_widgets("ctk") | own_widgets("qMRML") | own_widgets("qSlicer")


def _check_classes(tree: ElementTree.Element, available: set[str]) -> None:
    known = available | _DESIGNER_ONLY | set(_own_classes())
    unknown = sorted({element.get("class", "") for element in tree.iter("widget")} - known)
    if unknown:
        message = f"QFormBuilder was unable to create a custom widget of the class {', '.join(unknown)}"
        RECORD.ui_problems.append(message)
        raise UnknownWidgetError(message)


def _check_properties(tree: ElementTree.Element) -> None:
    """A misspelled property silently becomes a dynamic one; remember it as a problem."""
    for element in tree.iter("widget"):
        kind = _own_classes().get(element.get("class", "")) or getattr(QtWidgets, element.get("class", ""), None)
        if kind is None:
            continue
        for entry in element.findall("property"):
            name = entry.get("name", "")
            dynamic = entry.get("stdset") == "0" or name in _DYNAMIC
            if not dynamic and name not in _property_names(kind):
                RECORD.ui_problems.append(f"{element.get('class')} '{element.get('name')}' has no property '{name}'")


@cache
def _property_names(kind: type) -> frozenset[str]:
    widget = kind()
    meta = widget.metaObject()
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


def _plain_numbers(tree: ElementTree.Element) -> None:
    """Flags of the host's classes as numbers: their enumerations are not known to Qt's meta objects."""
    for element in tree.iter("widget"):
        kind = _own_classes().get(element.get("class", ""))
        for entry in element.findall("property"):
            words = next((child for child in entry if child.tag in ("set", "enum")), None)
            values = getattr(kind, "FLAGS", {}).get(entry.get("name"))
            if words is not None and values is not None:
                parts = (words.text or "").split("|")
                words.text = str(sum(values[part.split("::")[-1].strip()] for part in parts if part.strip()))
                words.tag = "number"


def _texts(entry: ElementTree.Element) -> tuple[str, str, str, str]:
    sender, signal, receiver, slot = (entry.findtext(part, "") for part in ("sender", "signal", "receiver", "slot"))
    return sender, signal, receiver, slot


def _connect(top: QtWidgets.QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = _named(top, sender), _named(top, receiver)
    function = getattr(target, slot.split("(")[0], None)
    if source is None or function is None or signals.normalized(signal) not in signals.signatures(source):
        RECORD.ui_problems.append(f"connection {sender}.{signal} -> {receiver}.{slot} cannot be made")
        return
    text = signals.normalized(signal)
    signals.attach(source, text, function, len([part for part in slot.split("(")[1][:-1].split(",") if part]))


def _named(top: QtWidgets.QWidget, name: str) -> Any:
    return top if top.objectName() == name else top.findChild(QtCore.QObject, name)


UiLoader.__name__ = "QUiLoader"
