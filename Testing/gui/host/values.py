"""Values between a module that speaks PythonQt and the PySide6 objects behind it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

import shiboken6
from PySide6 import QtCore
from shibokensupport.signature import get_signature


class EnumInt(int):
    """An enumerator as PythonQt gives it: an int that remembers which Qt enumerator it came from."""

    enumerator: Any = None

    @classmethod
    def of(cls, enumerator: enum.Enum) -> EnumInt:
        """The int of a PySide6 enumerator or flag."""
        number = cls(int(enumerator.value))
        number.enumerator = enumerator
        return number

    def __or__(self, other: int) -> EnumInt:
        return self._joined(int(self) | int(other))

    __ror__ = __or__

    def __and__(self, other: int) -> EnumInt:
        return self._joined(int(self) & int(other))

    __rand__ = __and__

    def _joined(self, value: int) -> EnumInt:
        number = EnumInt(value)
        if isinstance(self.enumerator, enum.Flag):
            number.enumerator = type(self.enumerator)(value)
        return number


def wrap(value: Any) -> Any:
    """A PySide6 value as PythonQt would give it: proxies, ints for enumerators, tuples for lists."""
    from .proxies import proxy_of

    if isinstance(value, enum.Enum):
        return EnumInt.of(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    if isinstance(value, shiboken6.Shiboken.Object):
        return proxy_of(value)
    return value


def unwrap(value: Any) -> Any:
    """A value of the module as PySide6 takes it."""
    from .proxies import Proxy, PythonQtClass
    from .signals import guarded

    if isinstance(value, Proxy):
        return value.qt_object()
    if isinstance(value, PythonQtClass):
        return value.qt_class
    if isinstance(value, EnumInt):
        return value.enumerator if value.enumerator is not None else int(value)
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return guarded(value) if _is_slot(value) else value


def call(function: Callable[..., Any], name: str, arguments: Iterable[Any]) -> Any:
    """Call a PySide6 function with PythonQt values; wrong arguments are a ValueError as in PythonQt."""
    given = tuple(arguments)
    plain = [unwrap(argument) for argument in given]
    try:
        return wrap(function(*plain))
    except RuntimeError as error:
        if "already deleted" in str(error):
            raise ValueError(f"Trying to call '{name}' on a destroyed object") from error
        raise
    except TypeError as error:
        if error.__traceback__.tb_next is not None:
            raise
        return _call_coerced(function, name, given, error)


def _call_coerced(function: Callable[..., Any], name: str, given: tuple[Any, ...], error: TypeError) -> Any:
    """Try every overload with ints for enumerators and cut floats, as PythonQt's second, lenient pass does."""
    for parameters in _overloads(function):
        if len(given) <= len(parameters):
            coerced = [_coerced(value, kind) for value, kind in zip(given, parameters, strict=False)]
            try:
                return wrap(function(*coerced))
            except TypeError:
                continue
    raise ValueError(f"Called {name} with wrong arguments: {given}") from error


def _overloads(function: Callable[..., Any]) -> list[list[Any]]:
    found = get_signature(function)
    found = found if isinstance(found, list) else [found] if found is not None else []
    positional = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
    return [
        [
            parameter.annotation
            for parameter in signature.parameters.values()
            if parameter.name != "self" and parameter.kind.name in positional
        ]
        for signature in found
    ]


def _coerced(value: Any, kind: Any) -> Any:
    if isinstance(kind, enum.EnumMeta) and isinstance(value, int):
        return kind(int(value))
    if kind is int and isinstance(value, float | int):
        return int(value)
    if kind is float and isinstance(value, int):
        return float(value)
    return unwrap(value)


def _is_slot(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | QtCore.QObject | shiboken6.Shiboken.Object)
