"""Stand-ins for the sliders and spin boxes of CTK, with their ranges, decimals and clamping."""

# ruff: noqa: N801, N815  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .stand_in import row, stored

_TICKS = 10_000


class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider of floats; 0 to 99 by default."""

    valueChanged = QtCore.Signal(float)
    sliderMoved = QtCore.Signal(float)

    def __init__(self, *arguments: Any) -> None:
        orientation = [argument for argument in arguments if isinstance(argument, QtCore.Qt.Orientation)]
        super().__init__(*[argument for argument in arguments if not isinstance(argument, QtCore.Qt.Orientation)])
        self._low, self._high, self._value, self._step, self._tracking = 0.0, 99.0, 0.0, 1.0, True
        self._slider = QtWidgets.QSlider(orientation[0] if orientation else QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _TICKS)
        self._slider.valueChanged.connect(self._moved)
        row(self, self._slider)

    def setRange(self, low: float, high: float) -> None:
        self._low, self._high = float(low), max(float(low), float(high))
        self.setValue(self._value)

    def setValue(self, value: float) -> None:
        clamped = min(max(float(value), self._low), self._high)
        changed, self._value = clamped != self._value, clamped
        wide = self._high - self._low
        self._slider.blockSignals(True)
        self._slider.setValue(round(_TICKS * (clamped - self._low) / wide) if wide else 0)
        self._slider.blockSignals(False)
        if changed:
            self.valueChanged.emit(clamped)

    def _moved(self, tick: int) -> None:
        self._value = self._low + (self._high - self._low) * tick / _TICKS
        self.sliderMoved.emit(self._value)
        self.valueChanged.emit(self._value)

    value = QtCore.Property(float, lambda self: self._value, setValue)
    minimum = QtCore.Property(float, lambda self: self._low, lambda self, low: self.setRange(low, self._high))
    maximum = QtCore.Property(float, lambda self: self._high, lambda self, high: self.setRange(self._low, high))
    singleStep = QtCore.Property(float, lambda self: self._step, lambda self, step: setattr(self, "_step", step))
    tracking = QtCore.Property(bool, lambda self: self._tracking, lambda self, on: setattr(self, "_tracking", on))


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """CTK's spin box: not a QDoubleSpinBox."""

    valueChanged = QtCore.Signal(float)
    editingFinished = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setRange(0.0, 99.99)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.editingFinished.connect(self.editingFinished)
        row(self, self._box)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        self._box.setRange(low, high)

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), lambda self, low: self._box.setMinimum(low))
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, high: self._box.setMaximum(high))
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), lambda self, count: self._box.setDecimals(count))
    singleStep = QtCore.Property(
        float, lambda self: self._box.singleStep(), lambda self, step: self._box.setSingleStep(step)
    )
    suffix = QtCore.Property("QString", lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    prefix = QtCore.Property("QString", lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))


class ctkSliderWidget(QtWidgets.QWidget):
    """Slider with spin box: 0 to 99.99, two decimals, clamps. Without tracking, values come when the slider rests."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high, self._value, self._step, self._tracking = 0.0, 99.99, 0.0, 1.0, True
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _TICKS)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setRange(self._low, self._high)
        self._slider.valueChanged.connect(self._slider_moved)
        self._slider.sliderReleased.connect(self._slider_released)
        self._box.valueChanged.connect(self.setValue)
        row(self, self._slider, self._box)

    def setValue(self, value: float) -> None:
        clamped = round(min(max(float(value), self._low), self._high), self._box.decimals())
        changed, self._value = clamped != self._value, clamped
        self._show()
        if changed:
            self.valueChanged.emit(clamped)

    def setRange(self, low: float, high: float) -> None:
        self._low, self._high = float(low), max(float(low), float(high))
        self._box.blockSignals(True)
        self._box.setRange(self._low, self._high)
        self._box.blockSignals(False)
        self.setValue(self._value)

    def _set_decimals(self, count: int) -> None:
        self._box.blockSignals(True)
        self._box.setDecimals(count)
        self._box.blockSignals(False)
        self._show()

    def _set_step(self, step: float) -> None:
        self._step = step
        self._box.setSingleStep(step)

    def _show(self) -> None:
        wide = self._high - self._low
        for part, shown in ((self._slider, round(_TICKS * (self._value - self._low) / wide) if wide else 0),
                            (self._box, self._value)):  # fmt: skip
            part.blockSignals(True)
            part.setValue(shown)
            part.blockSignals(False)

    def _slider_moved(self, tick: int) -> None:
        value = self._low + (self._high - self._low) * tick / _TICKS
        self.valueIsChanging.emit(value)
        if self._tracking or not self._slider.isSliderDown():
            self.setValue(value)

    def _slider_released(self) -> None:
        self.setValue(self._low + (self._high - self._low) * self._slider.value() / _TICKS)

    value = QtCore.Property(float, lambda self: self._value, setValue)
    minimum = QtCore.Property(float, lambda self: self._low, lambda self, low: self.setRange(low, self._high))
    maximum = QtCore.Property(float, lambda self: self._high, lambda self, high: self.setRange(self._low, high))
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), _set_decimals)
    singleStep = QtCore.Property(float, lambda self: self._step, _set_step)
    pageStep = stored(float, "pageStep", 10.0)
    tracking = QtCore.Property(bool, lambda self: self._tracking, lambda self, on: setattr(self, "_tracking", on))
    suffix = QtCore.Property("QString", lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    prefix = QtCore.Property("QString", lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))
    spinBoxVisible = QtCore.Property(
        bool, lambda self: not self._box.isHidden(), lambda self, on: self._box.setVisible(on)
    )


class qMRMLSliderWidget(ctkSliderWidget):
    """The slider with units of the scene."""

    def setMRMLScene(self, scene: Any) -> None:
        """Units are not shown by the host."""

    quantity = QtCore.Property(
        "QString", lambda self: getattr(self, "_unit", ""), lambda self, text: setattr(self, "_unit", text)
    )


class qMRMLSpinBox(ctkDoubleSpinBox):
    """The spin box with units of the scene."""

    def setMRMLScene(self, scene: Any) -> None:
        """Units are not shown by the host."""


class ctkRangeWidget(QtWidgets.QWidget):
    """Two values, the lower never above the upper; 0 to 99 by default."""

    valuesChanged = QtCore.Signal(float, float)
    rangeChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._range, self._values = (0.0, 99.0), (0.0, 99.0)
        self._boxes = tuple(QtWidgets.QDoubleSpinBox(self) for _ in range(2))
        row(self, *self._boxes)
        self.setRange(0.0, 99.0)
        self._boxes[1].setValue(99.0)
        for box in self._boxes:
            box.valueChanged.connect(lambda _: self.setValues(*(part.value() for part in self._boxes)))

    def setRange(self, low: float, high: float) -> None:
        self._range = (float(low), max(float(low), float(high)))
        for box in self._boxes:
            box.blockSignals(True)
            box.setRange(*self._range)
            box.blockSignals(False)
        self.rangeChanged.emit(*self._range)
        self.setValues(*self._values)

    def setValues(self, lower: float, upper: float) -> None:
        low, high = self._range
        values = tuple(min(max(float(value), low), high) for value in sorted((lower, upper)))
        changed, before, self._values = values != self._values, self._values, values
        for box, value in zip(self._boxes, values, strict=True):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        if changed:
            self.valuesChanged.emit(*values)
            if before[0] != values[0]:
                self.minimumValueChanged.emit(values[0])
            if before[1] != values[1]:
                self.maximumValueChanged.emit(values[1])

    def _set_decimals(self, count: int) -> None:
        for box in self._boxes:
            box.setDecimals(count)

    minimum = QtCore.Property(float, lambda self: self._range[0], lambda self, v: self.setRange(v, self._range[1]))
    maximum = QtCore.Property(float, lambda self: self._range[1], lambda self, v: self.setRange(self._range[0], v))
    minimumValue = QtCore.Property(
        float, lambda self: self._values[0], lambda self, v: self.setValues(v, self._values[1])
    )
    maximumValue = QtCore.Property(
        float, lambda self: self._values[1], lambda self, v: self.setValues(self._values[0], v)
    )
    decimals = QtCore.Property(int, lambda self: self._boxes[0].decimals(), _set_decimals)
    singleStep = QtCore.Property(
        float, lambda self: self._boxes[0].singleStep(), lambda self, v: [box.setSingleStep(v) for box in self._boxes]
    )


class ctkDoubleRangeSlider(ctkRangeWidget):
    """The two handles without spin boxes."""


class qMRMLRangeWidget(ctkRangeWidget):
    """The range with units of the scene."""

    def setMRMLScene(self, scene: Any) -> None:
        """Units are not shown by the host."""
