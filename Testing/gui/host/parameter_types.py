"""Types, annotations and text forms of parameters, for the host's parameterNodeWrapper."""

from __future__ import annotations

import enum
import json
import pathlib
import types
import typing
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True)
class Default:
    """The value a parameter starts with."""

    value: Any


@dataclass(frozen=True)
class WithinRange:
    """The value lies between two numbers, both included."""

    minimum: float
    maximum: float

    def check(self, value: Any) -> None:
        """ValueError unless the value fits."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum:
    """The value is not below a number."""

    minimum: float

    def check(self, value: Any) -> None:
        """ValueError unless the value fits."""
        if value < self.minimum:
            raise ValueError(f"Value must be greater than or equal to {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum:
    """The value is not above a number."""

    maximum: float

    def check(self, value: Any) -> None:
        """ValueError unless the value fits."""
        if value > self.maximum:
            raise ValueError(f"Value must be less than or equal to {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice:
    """The value is one of several."""

    choices: typing.Sequence[Any]

    def check(self, value: Any) -> None:
        """ValueError unless the value fits."""
        if value not in self.choices:
            raise ValueError(f"Value must be one of {list(self.choices)}, is {value!r}")


@dataclass(frozen=True)
class RangeBounds:
    """Both ends of a FloatRange lie between two numbers."""

    minimum: float
    maximum: float

    def check(self, value: Any) -> None:
        """ValueError unless the range fits; a value that is no range fails as it does in Slicer."""
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(f"Range must be within [{self.minimum}, {self.maximum}]")


@dataclass(frozen=True)
class Decimals:
    """Decimals of the widget."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """Step of the widget."""

    value: float


@dataclass
class FloatRange:
    """A lower and an upper value."""

    minimum: float
    maximum: float


@dataclass(frozen=True)
class ParameterType:
    """What the annotation of one parameter says."""

    kind: Any
    annotations: tuple[Any, ...]

    @classmethod
    def of(cls, hint: Any) -> ParameterType:
        """Read a type hint: Annotated, and unions with None."""
        annotations: tuple[Any, ...] = ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *rest = typing.get_args(hint)
            annotations = tuple(rest)
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        return cls(typing.get_origin(hint) or hint, annotations)

    def annotation(self, kind: type) -> Any:
        """The first annotation of a class, or None."""
        return next((entry for entry in self.annotations if isinstance(entry, kind)), None)

    @property
    def is_node(self) -> bool:
        """Whether the parameter refers to a node of the scene."""
        return isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)

    def check(self, value: Any) -> None:
        """TypeError for another type, ValueError for a value that the annotations refuse."""
        accepted = (int, float) if self.kind is float else self.kind
        if self.is_node and value is None:
            return
        if value is None:
            raise ValueError("Value must not be None")
        if self.kind is pathlib.Path:
            accepted = pathlib.PurePath
        is_range = self.kind is FloatRange and self.annotation(RangeBounds) is not None
        if not is_range and not isinstance(value, accepted):
            wanted = getattr(self.kind, "__name__", self.kind)
            raise TypeError(f"Value of type {type(value).__name__} is not a {wanted}")
        for entry in self.annotations:
            if hasattr(entry, "check"):
                entry.check(value)

    def default(self) -> Any:
        """The value when neither class nor annotation gives one."""
        given = self.annotation(Default)
        if given is not None:
            return given.value
        if self.is_node:
            return None
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        if self.kind is FloatRange:
            return 0 if self.annotation(RangeBounds) else FloatRange(0.0, 0.0)
        return self.kind()

    def to_text(self, value: Any) -> str:
        """The text kept in the parameter node."""
        if isinstance(value, enum.Enum):
            return value.name
        if isinstance(value, FloatRange):
            return json.dumps([value.minimum, value.maximum])
        return json.dumps(value) if isinstance(value, list | dict | tuple) else str(value)

    def from_text(self, text: str) -> Any:
        """The value of a text in the parameter node."""
        if self.kind is bool:
            return text == "True"
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return self.kind[text]
        if self.kind is FloatRange:
            return FloatRange(*json.loads(text))
        return self.kind(json.loads(text)) if self.kind in (list, dict, tuple) else self.kind(text)
