"""Threshold, presets and minimum size: the cached map is cut anew while the slider moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ....findings.table import Findings
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from ...scene.presets import RATES, healthy_share
from ...scene.run_record import RunRecord
from ...scene.unit_words import short_unit, unit_meaning
from ..common.connections import Connections
from ..common.messages import Messages, show_text
from .threshold_scale import ThresholdScale

# A step of the box is about this part of the proposed threshold, rounded to 1, 2 or 5.
_FINE = 0.01


class ThresholdControls:
    """Slider, box, presets and size of one result; ``cut`` is called with the findings of every change."""

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        messages: Messages,
        connections: Connections,
        cut: Callable[[Findings], None],
    ) -> None:
        self._ui, self._logic, self._messages, self._cut = ui, logic, messages, cut
        self._node: VolumeNode | None = None
        self._record: RunRecord | None = None
        self._scale = ThresholdScale(1.0, 1.0)
        self._presets: list[float] = []
        connections.of(ui.thresholdSlider).connect("valueChanged(int)", self.onSliderMoved)
        connections.of(ui.thresholdSpinBox).connect("valueChanged(double)", self.onValueChanged)
        connections.of(ui.presetComboBox).connect("currentIndexChanged(int)", self.onPresetChanged)
        connections.of(ui.minimumSizeSpinBox).connect("valueChanged(double)", self.onMinimumSizeChanged)

    def show(self, node: VolumeNode | None) -> None:
        """Show threshold and presets of the result of ``node``, None for no result."""
        self._node = self._record = None
        for widget in (self._ui.thresholdSlider, self._ui.thresholdSpinBox):
            widget.enabled = node is not None
        if node is None:
            self._fill_presets([], "", _("There is no result yet."))
            self._show_value(0.0)
            return
        record = self._record = self._logic.record(node)
        self._prepare(record, node)
        self._list_presets(record)
        self._ui.minimumSizeSpinBox.value = record.minimum_mm3
        self._node = node
        self._show_value(record.threshold)

    def onSliderMoved(self, position: int) -> None:
        """The slider moved."""
        value = self._scale.value_at(position / self._ui.thresholdSlider.maximum)
        self._show_value(value, slider=False)
        self._apply(float(self._ui.thresholdSpinBox.value))

    def onValueChanged(self, value: float) -> None:
        """A value was typed, or stepped to."""
        self._show_value(value)
        self._apply(value)

    def onPresetChanged(self, index: int) -> None:
        """A preset was chosen; the first entry stands for a value of the reader's own."""
        if index > 0 and self._node is not None:
            self._show_value(self._presets[index - 1])
            self._apply(self._presets[index - 1])

    def onMinimumSizeChanged(self, value: float) -> None:
        """The minimum size changed; it also holds for the next run."""
        if self._node is not None:
            with self._messages.action():
                self._apply(self._logic.record(self._node).threshold)

    def _apply(self, threshold: float) -> None:
        if self._node is None:
            return
        with self._messages.action():
            minimum = float(self._ui.minimumSizeSpinBox.value)
            self._cut(self._logic.setThreshold(self._node, threshold, minimum))

    def _prepare(self, record: RunRecord, node: VolumeNode) -> None:
        """Scale, steps and unit for the map of a result."""
        anomaly_map = self._logic.resultNodes(node).anomaly_map
        highest = 0.0 if anomaly_map is None else float(anomaly_map.GetImageData().GetScalarRange()[1])
        self._scale = ThresholdScale(max(record.display_maximum, record.threshold), highest)
        self._ui.thresholdSpinBox.singleStep = fine_step(record.default_threshold)
        self._ui.thresholdLabel.text = _("Threshold\n({unit}):").format(unit=short_unit(record.unit))
        self._ui.thresholdLabel.toolTip = unit_meaning(record.unit)

    def _show_value(self, value: float, slider: bool = True) -> None:
        """Show a threshold in every widget, without telling anybody."""
        if slider:
            _quietly(self._ui.thresholdSlider, round(self._scale.place_of(value) * self._ui.thresholdSlider.maximum))
        _quietly(self._ui.thresholdSpinBox, value)
        self._select_preset(value)
        show_text(self._ui.healthyLabel, "" if self._record is None else healthy_text(self._record, value))

    def _list_presets(self, record: RunRecord) -> None:
        known = dict(record.thresholds_by_rate)
        measured = [(rate_text(rate), known[rate]) for rate in RATES if rate in known]
        presets = [(str(_("Default of the method")), record.default_threshold), *measured]
        unmeasured = "" if measured else _("How much of a healthy brain lies above was not measured for this method.")
        self._fill_presets(presets, default_text(record), unmeasured)

    def _fill_presets(self, presets: list[tuple[str, float]], about: str, reason: str) -> None:
        box = self._ui.presetComboBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItem(_("Own value"))
        for text, _value in presets:
            box.addItem(text)
        box.blockSignals(wasBlocked)
        self._presets = [value for _text, value in presets]
        box.enabled = bool(presets)
        box.toolTip = reason or _("Thresholds by how much of a healthy brain lies above them.")
        show_text(self._ui.presetReasonLabel, about)

    def _select_preset(self, value: float) -> None:
        """Show the preset of this value, or that it is the reader's own."""
        near = (index for index, one in enumerate(self._presets, 1) if abs(one - value) <= self._tolerance())
        box = self._ui.presetComboBox
        wasBlocked = box.blockSignals(True)
        box.currentIndex = next(near, 0)
        box.blockSignals(wasBlocked)

    def _tolerance(self) -> float:
        """Half a step of the last decimal that is shown."""
        return float(10.0 ** -int(self._ui.thresholdSpinBox.decimals) / 2.0)


def _quietly(widget: Any, value: float) -> None:
    wasBlocked = widget.blockSignals(True)
    widget.value = value
    widget.blockSignals(wasBlocked)


def fine_step(default: float) -> float:
    """A step of 1, 2 or 5 in the decimal place that suits a threshold, at least 0.001."""
    wanted = max(_FINE * default, 0.001)
    power = 10.0 ** math.floor(math.log10(wanted))
    return float(next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= wanted * 0.999))


def healthy_text(record: RunRecord, threshold: float) -> str:
    """How much of a healthy brain of this size would lie above a threshold; "" where nobody has measured that."""
    brain_ml = float(record.details.get("brain_ml", 0.0))
    if not record.thresholds_by_rate or brain_ml <= 0.0:
        return ""
    low, high = (share * brain_ml for share in healthy_share(record.thresholds_by_rate, threshold))
    if low == high:
        words = _("In a healthy brain of this size about {ml} mL lie above.")
        return str(words.format(ml=f"{low:.3g}"))
    if low > 0.0:
        return str(_("In a healthy brain of this size more than {ml} mL lie above.").format(ml=f"{low:.3g}"))
    return str(_("In a healthy brain of this size less than {ml} mL lie above.").format(ml=f"{high:.3g}"))


def rate_text(rate: float) -> str:
    """A preset in words: how much of a healthy brain lies above the threshold."""
    return str(_("{percent} % of a healthy brain above").format(percent=f"{100.0 * rate:g}"))


def default_text(record: RunRecord) -> str:
    """What the threshold that the method proposes rests on, "" where the result does not say it."""
    return str(_("Default: {source}.").format(source=record.default_source)) if record.default_source else ""
