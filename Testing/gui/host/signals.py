"""connect() as PythonQt does it: signatures as text, arguments cut to the slot, exceptions printed and swallowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from PySide6 import QtCore

from .record import RECORD

_connections: dict[int, list[Connection]] = {}
_known: dict[type, dict[str, str]] = {}
# Of senders that are gone: their slots live on until the end of the program, as in PythonQt.
_outlived: list[Connection] = []


def normalized(signature: str) -> str:
    """``"clicked( const bool & )"`` becomes ``"clicked(bool)"``."""
    text = re.sub(r"\bconst\b|&", "", signature)
    return re.sub(r"\s+", "", text)


def signatures(qobject: QtCore.QObject) -> dict[str, str]:
    """Every signal of an object: normalized signature to the name of the PySide6 signal that stands for it."""
    qt_class = type(qobject)
    if qt_class not in _known:
        _known[qt_class] = _signatures(qobject)
    return _known[qt_class]


def _signatures(qobject: QtCore.QObject) -> dict[str, str]:
    meta = qobject.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    found = [normalized(bytes(method.methodSignature()).decode()) for method in methods if _is_signal(method)]
    known = {text: text.split("(")[0] for text in found if "PyObject" not in text}
    for kind in reversed(type(qobject).__mro__):
        known.update(vars(kind).get("SIGNALS", {}))
    return known


def slot_capacity(slot: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt hands to a slot: default arguments count, None means all there are."""
    function = slot.__func__ if isinstance(slot, MethodType) else slot
    if not isinstance(function, FunctionType):
        return None
    takes_all = bool(function.__code__.co_flags & 0x04)
    return None if takes_all else function.__code__.co_argcount - isinstance(slot, MethodType)


class Connection:
    """One connected slot; PySide6 calls ``receive`` with every argument of the signal."""

    def __init__(self, signature: str, slot: Callable[..., Any]) -> None:
        self.signature = signature
        self.slot = slot
        self.active = True
        in_signature = len([text for text in signature[signature.index("(") + 1 : -1].split(",") if text])
        capacity = slot_capacity(slot)
        self.count = in_signature if capacity is None else min(in_signature, capacity)

    def drop(self) -> None:
        """Let go of the slot; until then it lives as long as the program, even if the sender is gone."""
        self.active, self.slot = False, None

    def receive(self, *arguments: Any) -> None:
        """Call the slot with as many arguments as it takes; never let an exception out."""
        if self.active:
            guarded(self.slot)(*arguments[: self.count])


def guarded(slot: Callable[..., Any]) -> Callable[..., Any]:
    """A callable for Qt that gets PythonQt values and records what the slot raises."""
    from .values import wrap

    def call(*arguments: Any) -> Any:
        try:
            return slot(*(wrap(argument) for argument in arguments))
        except Exception:
            RECORD.slot_raised()
            return None

    return call


def connect(qobject: QtCore.QObject, signature: str, slot: Callable[..., Any]) -> bool:
    """Connect a signal by its signature; False and a printed message when there is no such signal."""
    text = normalized(signature)
    known = signatures(qobject)
    if text not in known or not callable(slot):
        return RECORD.connection_failed(signature, qobject.metaObject().className())
    connection = Connection(text, slot)
    _attach(qobject, known[text], text, connection)
    _connections.setdefault(id(qobject), []).append(connection)
    return True


def disconnect(qobject: QtCore.QObject, signature: str | None = None, slot: Callable[..., Any] | None = None) -> bool:
    """Cut the matching connections; False when there was none."""
    text = normalized(signature) if signature else None
    matching = [
        connection
        for connection in _connections.get(id(qobject), [])
        if connection.active and text in (None, connection.signature) and slot in (None, connection.slot)
    ]
    for connection in matching:
        connection.drop()
        _connections[id(qobject)].remove(connection)
    return bool(matching)


def forget() -> None:
    """The end of the program: let go of what senders that are gone were connected to."""
    for connection in _outlived:
        connection.drop()
    _outlived.clear()


def attach(qobject: QtCore.QObject, signature: str, slot: Callable[..., Any], count: int) -> None:
    """Connect a PySide6 function to a known signal; it gets the first ``count`` arguments as they are."""
    attribute = signatures(qobject)[signature]
    _attach_raw(qobject, attribute, signature, lambda *arguments: slot(*arguments[:count]))


def _attach_raw(qobject: QtCore.QObject, attribute: str, signature: str, receive: Callable[..., Any]) -> None:
    if any(attribute in vars(kind) for kind in type(qobject).__mro__ if "SIGNALS" in vars(kind)):
        getattr(qobject, attribute).connect(receive)
    else:
        QtCore.QObject.connect(qobject, QtCore.SIGNAL(signature), receive)


def _attach(qobject: QtCore.QObject, attribute: str, signature: str, connection: Connection) -> None:
    _attach_raw(qobject, attribute, signature, connection.receive)
    key = id(qobject)
    qobject.destroyed.connect(lambda *_: _outlived.extend(_connections.pop(key, [])))


def _is_signal(method: QtCore.QMetaMethod) -> bool:
    return method.methodType() == QtCore.QMetaMethod.MethodType.Signal


class BoundSignal:
    """``button.clicked``: connect, disconnect, emit; the longest signature of that name."""

    def __init__(self, qobject: QtCore.QObject, name: str) -> None:
        self._qobject = qobject
        fitting = [text for text in signatures(qobject) if text.startswith(name + "(")]
        self._signature = max(fitting, key=len) if len(fitting) > 1 else fitting[0]

    def connect(self, slot: Callable[..., Any]) -> bool:
        """Connect a callable."""
        return connect(self._qobject, self._signature, slot)

    def disconnect(self, slot: Callable[..., Any] | None = None) -> bool:
        """Disconnect a callable, or all."""
        return disconnect(self._qobject, self._signature, slot)

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        from .values import unwrap

        attribute = signatures(self._qobject)[self._signature]
        getattr(self._qobject, attribute).emit(*(unwrap(argument) for argument in arguments))

    __call__ = emit
