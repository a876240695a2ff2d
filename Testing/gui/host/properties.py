"""Q_PROPERTYs as attributes, with PythonQt's checks of the type."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore

from .values import EnumInt, unwrap

# Where a property hides a function of the same name that everybody means.
_METHODS = {("QTimer", "singleShot")}
_WHOLE = {"int", "uint", "qlonglong", "qulonglong", "short", "ushort", "long", "ulong"}
_REAL = {"double", "float"}
_ANY = {"PyObject", "QVariant"}


def has(qobject: QtCore.QObject, name: str) -> bool:
    """Whether ``object.name`` is a property. ``name`` is PythonQt's word for objectName."""
    if any((kind.__name__, name) in _METHODS for kind in type(qobject).__mro__):
        return False
    return name == "name" or qobject.metaObject().indexOfProperty(name) >= 0


def read(qobject: QtCore.QObject, name: str) -> Any:
    """The value of a property, a PySide6 value."""
    if name == "name":
        return qobject.objectName()
    described = _described(qobject, name)
    value = qobject.property(name)
    if described.isEnumType() and not isinstance(value, int):
        getter = getattr(qobject, name, None)
        value = getter() if callable(getter) else value
    return value


def write(qobject: QtCore.QObject, name: str, value: Any) -> None:
    """Set a property; AttributeError if it is read-only or of another type."""
    described = _described(qobject, "objectName" if name == "name" else name)
    class_name = qobject.metaObject().className()
    if not described.isWritable():
        raise AttributeError(f"Property '{name}' of '{class_name}' object is not writable")
    accepted, converted = _converted(described, value)
    if not accepted or not qobject.setProperty(described.name(), converted):
        raise AttributeError(
            f"Property '{name}' of type '{described.typeName()}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )


def _described(qobject: QtCore.QObject, name: str) -> QtCore.QMetaProperty:
    meta = qobject.metaObject()
    return meta.property(meta.indexOfProperty(name))


def _converted(described: QtCore.QMetaProperty, value: Any) -> tuple[bool, Any]:
    """Whether PythonQt would take the value, and what PySide6 takes for it. A float for an int is cut."""
    kind = described.typeName()
    if described.isEnumType():
        return isinstance(value, int), int(value) if isinstance(value, int) else None
    if kind in _WHOLE:
        return isinstance(value, int | float), int(value) if isinstance(value, int | float) else None
    if kind in _REAL:
        return isinstance(value, int | float), float(value) if isinstance(value, int | float) else None
    if kind == "bool":
        return isinstance(value, int | float), bool(value)
    if kind == "QString":
        return isinstance(value, str), value
    if kind == "QStringList":
        fits = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        return fits, list(value) if fits else None
    if kind in _ANY:
        return True, unwrap(value)
    return not isinstance(value, int | float | str) or isinstance(value, EnumInt), unwrap(value)
