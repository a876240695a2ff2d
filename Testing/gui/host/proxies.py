"""PythonQt's wrappers as a thin layer over PySide6: properties are attributes, enumerators ints, classes unrelated."""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import properties, signals
from .record import RECORD
from .values import EnumInt, call, unwrap, wrap

_classes: dict[type, PythonQtClass] = {}
_living: dict[int, weakref.ref[Proxy]] = {}
# (class name, function name) -> replacement(object or None, *PythonQt values); filled by overrides.py.
METHODS: dict[tuple[str, str], Callable[..., Any]] = {}


class PythonQtClass(type):
    """A class such as ``qt.QPushButton``. It has no Python relation to ``qt.QWidget``."""

    qt_class: type
    generated: bool

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        super().__init__(name, bases, members)
        cls.generated = members.get("generated", False)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        replaced = _replacement(cls.qt_class, name)
        if replaced is not None:
            return lambda *arguments: replaced(None, *arguments)
        found = getattr(cls.qt_class, _plain(name), None)
        if isinstance(found, enum.EnumMeta):
            return _enumeration(name)
        if isinstance(found, enum.Enum):
            return EnumInt.of(found)
        if found is None or isinstance(found, QtCore.Signal) or name.startswith("_"):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return _function(found, name) if callable(found) else wrap(found)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if not cls.generated:
            return super().__call__(*arguments, **keywords)
        if keywords:
            raise ValueError(f"Called {cls.__name__} with keyword arguments, which PythonQt does not take: {keywords}")
        return proxy_of(construct(cls.qt_class, arguments))


class Proxy(metaclass=PythonQtClass):
    """One Qt object or value as PythonQt shows it."""

    qt_class: type = shiboken6.Shiboken.Object
    generated = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if keywords:
            raise ValueError(f"Called {type(self).__name__} with keyword arguments: {keywords}")
        _adopt(self, construct(_forwarding_class(type(self)), arguments))
        self.qt_object().python_subclass_instance = self

    def qt_object(self) -> Any:
        """The PySide6 object behind this one."""
        return object.__getattribute__(self, "_qt")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        qt = self.qt_object()
        if not shiboken6.isValid(qt):
            raise ValueError(f"Trying to read attribute '{name}' from a destroyed {type(self).__name__} object")
        return _attribute(self, qt, name)

    def __setattr__(self, name: str, value: Any) -> None:
        qt = self.qt_object()
        if not shiboken6.isValid(qt):
            raise ValueError(f"Trying to set attribute '{name}' on a destroyed {type(self).__name__} object")
        if isinstance(qt, QtCore.QObject) and properties.has(qt, name):
            properties.write(qt, name, value)
        elif not type(self).generated:
            object.__setattr__(self, name, value)
        elif _exists(self, name):
            raise AttributeError(f"'{name}' can not be modified on {type(self).__name__}")
        else:
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} "
                "and creating new attributes on C++ objects is not allowed"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        mine, yours = self.qt_object(), other.qt_object()
        return mine is yours or (not isinstance(mine, QtCore.QObject) and bool(mine == yours))

    def __hash__(self) -> int:
        return id(self.qt_object())

    def __bool__(self) -> bool:
        return bool(shiboken6.isValid(self.qt_object()))

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({class_name(self.qt_object())} at: {hex(id(self.qt_object()))})"

    def __dir__(self) -> list[str]:
        return [name for name in dir(self.qt_object()) if not name.startswith("_")]


def proxy_class(qt_class: type) -> PythonQtClass:
    """The PythonQt class of a PySide6 class."""
    if qt_class not in _classes:
        members = {"qt_class": qt_class, "generated": True, "__module__": "PythonQt"}
        _classes[qt_class] = PythonQtClass(qt_class.__name__, (Proxy,), members)
    return _classes[qt_class]


def proxy_of(qt: Any) -> Proxy:
    """The wrapper of a PySide6 object; one wrapper as long as somebody holds it."""
    subclassed = getattr(qt, "python_subclass_instance", None)
    if subclassed is not None:
        return subclassed
    if not isinstance(qt, QtCore.QObject):
        return _adopt(object.__new__(proxy_class(_public_class(qt))), qt)
    known = _living.get(id(qt))
    proxy = known() if known else None
    if proxy is None or proxy.qt_object() is not qt:
        proxy = _adopt(object.__new__(proxy_class(_public_class(qt))), qt)
        _living[id(qt)] = weakref.ref(proxy)
    return proxy


def class_name(qt: Any) -> str:
    """The C++ class name."""
    return str(qt.metaObject().className()) if isinstance(qt, QtCore.QObject) else type(qt).__name__


def construct(qt_class: type, arguments: tuple[Any, ...]) -> Any:
    """A new PySide6 object from PythonQt values; ValueError if no constructor fits."""
    try:
        return qt_class(*(unwrap(argument) for argument in arguments))
    except TypeError as error:
        from .values import _call_coerced

        return unwrap(_call_coerced(qt_class, qt_class.__name__, arguments, error))


def _adopt(proxy: Proxy, qt: Any) -> Proxy:
    object.__setattr__(proxy, "_qt", qt)
    return proxy


def _public_class(qt: Any) -> type:
    return next(kind for kind in type(qt).__mro__ if not vars(kind).get("HIDDEN", False))


def _attribute(proxy: Proxy, qt: Any, name: str) -> Any:
    is_object = isinstance(qt, QtCore.QObject)
    if is_object and name in _OBJECT_METHODS:
        return lambda *arguments: _OBJECT_METHODS[name](qt, *arguments)
    if is_object and properties.has(qt, name):
        return wrap(properties.read(qt, name))
    replaced = _replacement(type(qt), name)
    if replaced is not None:
        return lambda *arguments: replaced(qt, *arguments)
    if is_object and any(text.startswith(name + "(") for text in signals.signatures(qt)):
        return signals.BoundSignal(qt, name)
    if not _exists(proxy, name):
        raise AttributeError(f"{type(proxy).__name__} has no attribute named '{name}'")
    found = getattr(qt, _plain(name))
    if isinstance(found, enum.EnumMeta):
        return _enumeration(name)
    return _function(found, name) if callable(found) else wrap(found)


def _exists(proxy: Proxy, name: str) -> bool:
    qt = proxy.qt_object()
    hidden = name.startswith("_") or name in ("SIGNALS", "FLAGS", "HIDDEN", "staticMetaObject", "tr")
    return not hidden and hasattr(type(qt), _plain(name))


def _plain(name: str) -> str:
    """PythonQt writes ``exec_`` and ``raise_`` where Python had a keyword."""
    return {"exec_": "exec", "raise_": "raise_", "print_": "print_"}.get(name, name)


def _function(found: Callable[..., Any], name: str) -> Callable[..., Any]:
    def function(*arguments: Any, **keywords: Any) -> Any:
        if keywords:
            raise ValueError(f"Called {name} with keyword arguments, which PythonQt does not take: {keywords}")
        return call(found, name, arguments)

    function.__name__ = name
    return function


def _enumeration(name: str) -> type[EnumInt]:
    """An enumeration is an int class without members: ``qt.QProcess.ExitStatus(0)``."""
    return type(name, (EnumInt,), {})


def _replacement(qt_class: type, name: str) -> Callable[..., Any] | None:
    for kind in qt_class.__mro__:
        if (kind.__name__, name) in METHODS:
            return METHODS[kind.__name__, name]
    return None


def _forwarding_class(python_class: PythonQtClass) -> type:
    """A PySide6 class that calls the methods which a Python subclass overrides (eventFilter, paintEvent)."""
    qt_class = python_class.qt_class
    own = [kind for kind in python_class.__mro__ if isinstance(kind, PythonQtClass) and not kind.generated]
    names = {name for kind in own if kind is not Proxy for name in vars(kind) if not name.startswith("_")}
    members = {name: _forward(name) for name in names if callable(getattr(qt_class, name, None))}
    return type(qt_class)(qt_class.__name__, (qt_class,), {**members, "HIDDEN": True})


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        function = getattr(type(self.python_subclass_instance), name)
        try:
            return unwrap(function(self.python_subclass_instance, *(wrap(argument) for argument in arguments)))
        except Exception:
            RECORD.slot_raised()
            return None

    return method


def _connect(qt: Any, signature: str, receiver: Any, slot: str | None = None) -> bool:
    if slot is not None:
        receiver = getattr(receiver, slot.split("(")[0])
    return signals.connect(qt, signature, receiver)


def _find_children(qt: Any, kind: Any = None, name: str = "") -> tuple[Any, ...]:
    found = qt.findChildren(QtCore.QObject)
    if isinstance(kind, str):
        found = [child for child in found if child.inherits(kind)]
    elif kind is not None:
        found = [child for child in found if isinstance(child, kind.qt_class)]
    return tuple(wrap(child) for child in found if name in ("", None, child.objectName()))


_OBJECT_METHODS: dict[str, Callable[..., Any]] = {
    "connect": _connect,
    "disconnect": lambda qt, signature=None, slot=None: signals.disconnect(qt, signature, slot),
    "className": class_name,
    "delete": shiboken6.delete,
    "findChildren": _find_children,
    "findChild": lambda qt, kind=None, name="": next(iter(_find_children(qt, kind, name)), None),
    "inherits": lambda qt, name: bool(qt.inherits(name)),
}
