"""Which widget of a .ui can be bound to which type of parameter, by exact class as in Slicer 5.12."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

from .parameter_types import (
    Choice,
    Decimals,
    FloatRange,
    Maximum,
    Minimum,
    ParameterType,
    RangeBounds,
    SingleStep,
    WithinRange,
)

_BOOL = ("QCheckBox", "ctkCheckBox", "QPushButton", "ctkCheckablePushButton")
_WHOLE = ("QSlider", "QSpinBox")
_SLIDERS = ("ctkSliderWidget", "qMRMLSliderWidget")
_REAL = ("QDoubleSpinBox", "ctkDoubleSlider", "ctkDoubleSpinBox", "qMRMLSpinBox", *_SLIDERS)
_BOUNDED = ("QSlider", *_SLIDERS)
_TEXT = ("QLineEdit", "QTextEdit", "QLabel")
_CHOICE = ("QComboBox", "ctkComboBox")
_RANGE = ("ctkRangeWidget", "ctkDoubleRangeSlider", "qMRMLRangeWidget")
_PATH = ("ctkPathLineEdit", "ctkDirectoryButton")


class Connector:
    """Reads and writes one widget and tells when the user changes it."""

    def __init__(self, widget: Any, described: ParameterType) -> None:
        self.widget = widget
        self.described = described
        self._callback: Callable[[], None] | None = None
        self.prepare()
        signal = self.signal()
        if signal:
            self.widget.connect(signal, lambda *_: self._callback() if self._callback else None)

    def on_changed(self, callback: Callable[[], None] | None) -> None:
        """Call this whenever the widget changes; None for no longer."""
        self._callback = callback

    def prepare(self) -> None:
        """Set the widget up for its parameter."""

    def signal(self) -> str:
        """The signal of a change."""
        return "valueChanged(int)" if type(self.widget).__name__ in _WHOLE else "valueChanged(double)"

    def read(self) -> Any:
        """The value in the widget."""
        return self.described.kind(self.widget.value)

    def write(self, value: Any) -> None:
        """Show a value."""
        self.widget.value = value


class _Number(Connector):
    def prepare(self) -> None:
        low, high = _bounds(self.described)
        name = type(self.widget).__name__
        if name in _BOUNDED and (low is None or high is None):
            raise RuntimeError(f"Cannot have a connection to {name} where the {self.described.kind.__name__} "
                               "types is unbounded.")  # fmt: skip
        whole = name in _WHOLE
        self.widget.maximum = high if high is not None else (2**31 - 1 if whole else 1e300)
        self.widget.minimum = low if low is not None else (-(2**31) if whole else -1e300)
        for kind, attribute in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            entry = self.described.annotation(kind)
            if entry is not None:
                setattr(self.widget, attribute, entry.value)
        if self.described.kind is int and hasattr(self.widget, "decimals"):
            self.widget.decimals = 0


class _Bool(Connector):
    def prepare(self) -> None:
        self.widget.checkable = True

    def signal(self) -> str:
        return "toggled(bool)"

    def read(self) -> bool:
        return bool(self.widget.checked)

    def write(self, value: bool) -> None:
        self.widget.checked = value


class _Text(Connector):
    def _property(self) -> str:
        return "plainText" if type(self.widget).__name__ == "QTextEdit" else "text"

    def signal(self) -> str:
        return {"QLineEdit": "textChanged(QString)", "QTextEdit": "textChanged()"}.get(type(self.widget).__name__, "")

    def read(self) -> str:
        return str(getattr(self.widget, self._property()))

    def write(self, value: str) -> None:
        if self.read() != value:
            setattr(self.widget, self._property(), value)


class _Choices(Connector):
    def prepare(self) -> None:
        self.widget.clear()
        for value in self._values():
            self.widget.addItem(_label(value))

    def _values(self) -> list[Any]:
        choice = self.described.annotation(Choice)
        return list(choice.choices) if choice is not None else list(self.described.kind)

    def signal(self) -> str:
        return "currentIndexChanged(int)"

    def read(self) -> Any:
        return self._values()[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        self.widget.currentIndex = self._values().index(value)


class _Range(Connector):
    def prepare(self) -> None:
        bounds = self.described.annotation(RangeBounds)
        if bounds is None:
            name = type(self.widget).__name__
            raise RuntimeError(f"Cannot have a connection to {name} where the range is unbounded.")
        self.widget.setRange(bounds.minimum, bounds.maximum)

    def signal(self) -> str:
        return "valuesChanged(double,double)"

    def read(self) -> FloatRange:
        return FloatRange(self.widget.minimumValue, self.widget.maximumValue)

    def write(self, value: FloatRange) -> None:
        self.widget.setValues(value.minimum, value.maximum)


class _Path(Connector):
    def _names(self) -> tuple[str, str]:
        is_edit = type(self.widget).__name__ == "ctkPathLineEdit"
        return ("currentPath", "currentPathChanged(QString)") if is_edit else ("directory", "directoryChanged(QString)")

    def signal(self) -> str:
        return self._names()[1]

    def read(self) -> pathlib.Path:
        return pathlib.Path(getattr(self.widget, self._names()[0]))

    def write(self, value: pathlib.Path) -> None:
        setattr(self.widget, self._names()[0], str(value))


class _Node(Connector):
    def prepare(self) -> None:
        self.widget.nodeTypes = [self.described.kind.__name__]

    def signal(self) -> str:
        return "currentNodeChanged(vtkMRMLNode*)"

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


def connector_of(widget: Any, described: ParameterType) -> Connector:
    """The connector of a widget; RuntimeError if Slicer has none for this class and type."""
    name = type(widget).__name__
    made = next((kind for fits, names, kind in _table(described) if fits and name in names), None)
    if made is None:
        raise RuntimeError(f"Unable to find a way to connect {name} '{widget.name}' to type {described.kind}")
    return made(widget, described)


def _table(described: ParameterType) -> tuple[tuple[bool, tuple[str, ...], type[Connector]], ...]:
    kind = described.kind
    chosen = described.annotation(Choice) is not None
    enumerated = isinstance(kind, type) and issubclass(kind, enum.Enum)
    return (
        (chosen or enumerated, _CHOICE, _Choices),
        (chosen or enumerated, (), Connector),
        (kind is bool, _BOOL, _Bool),
        (kind is int, _WHOLE + _REAL, _Number),
        (kind is float, _REAL, _Number),
        (kind is str, _TEXT, _Text),
        (kind is FloatRange, _RANGE, _Range),
        (isinstance(kind, type) and issubclass(kind, pathlib.PurePath), _PATH, _Path),
        (described.is_node, ("qMRMLNodeComboBox",), _Node),
    )


def _bounds(described: ParameterType) -> tuple[float | None, float | None]:
    within = described.annotation(WithinRange)
    low, high = described.annotation(Minimum), described.annotation(Maximum)
    if within is not None:
        return within.minimum, within.maximum
    return (low.minimum if low is not None else None, high.maximum if high is not None else None)


def _label(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.label() if hasattr(value, "label") else value.name
    return str(value)
