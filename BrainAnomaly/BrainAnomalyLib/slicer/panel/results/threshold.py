"""Threshold, presets and minimum size: the cached map is cut anew while the slider moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ....findings.table import Findings
from ...scene.links import VolumeNode
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.presets import RATES
from ...scene.run_record import RunRecord
from ..common.messages import Messages, show_text

_STEPS = 200.0


class ThresholdControls:
    """Slider, preset box and size of one result; ``cut`` is called with the findings of every change."""

    def __init__(
        self, ui: Any, logic: BrainAnomalySceneLogic, messages: Messages, cut: Callable[[Findings], None]
    ) -> None:
        self._ui, self._logic, self._messages, self._cut = ui, logic, messages, cut
        self._node: VolumeNode | None = None
        self._presets: list[float] = []
        ui.thresholdSlider.connect("valueChanged(double)", self.onThresholdChanged)
        ui.presetComboBox.connect("currentIndexChanged(int)", self.onPresetChanged)
        ui.minimumSizeSpinBox.connect("valueChanged(double)", self.onMinimumSizeChanged)

    def show(self, node: VolumeNode | None) -> None:
        """Show threshold and presets of the result of ``node``, None for no result."""
        self._node = None
        self._ui.thresholdSlider.enabled = node is not None
        if node is None:
            self._fill_presets([], _("There is no result yet."))
            return
        record = self._logic.record(node)
        self._set_slider(record)
        self._list_presets(record)
        self._ui.minimumSizeSpinBox.value = record.minimum_mm3
        self._node = node
        self._select_preset(record.threshold)

    def onThresholdChanged(self, value: float) -> None:
        """The slider moved."""
        self._select_preset(value)
        self._apply(value)

    def onPresetChanged(self, index: int) -> None:
        """A preset was chosen; the first entry stands for a value of the reader's own."""
        if index > 0 and self._node is not None:
            wasBlocked = self._ui.thresholdSlider.blockSignals(True)
            self._ui.thresholdSlider.value = self._presets[index - 1]
            self._ui.thresholdSlider.blockSignals(wasBlocked)
            self._apply(self._presets[index - 1])

    def onMinimumSizeChanged(self, value: float) -> None:
        """The minimum size changed; it also holds for the next run."""
        if self._node is not None:
            with self._messages.plain():
                self._apply(self._logic.record(self._node).threshold)

    def _apply(self, threshold: float) -> None:
        if self._node is None:
            return
        with self._messages.plain():
            minimum = float(self._ui.minimumSizeSpinBox.value)
            self._cut(self._logic.setThreshold(self._node, threshold, minimum))

    def _set_slider(self, record: RunRecord) -> None:
        slider = self._ui.thresholdSlider
        wasBlocked = slider.blockSignals(True)
        rarest = max((value for _rate, value in record.thresholds_by_rate), default=0.0)
        slider.maximum = max(record.display_maximum, record.threshold, rarest)
        slider.singleStep = slider.maximum / _STEPS
        slider.value = record.threshold
        slider.blockSignals(wasBlocked)

    def _list_presets(self, record: RunRecord) -> None:
        known = dict(record.thresholds_by_rate)
        presets = [(rate_text(rate), known[rate]) for rate in RATES if rate in known]
        if not presets:
            reason = _("Presets are off: this method was not calibrated on healthy scans.")
            self._fill_presets([], reason)
            return
        self._fill_presets([(default_text(record), record.default_threshold), *presets], "")

    def _fill_presets(self, presets: list[tuple[str, float]], reason: str) -> None:
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
        show_text(self._ui.presetReasonLabel, reason)

    def _select_preset(self, value: float) -> None:
        """Show the preset of this value, or that it is the reader's own."""
        box, tolerance = self._ui.presetComboBox, 10.0 ** -int(self._ui.thresholdSlider.decimals) / 2.0
        near = (index for index, preset in enumerate(self._presets, 1) if abs(preset - value) <= tolerance)
        wasBlocked = box.blockSignals(True)
        box.currentIndex = next(near, 0)
        box.blockSignals(wasBlocked)


def rate_text(rate: float) -> str:
    """A preset in words: how much of a healthy brain lies above the threshold."""
    return str(_("{percent} % of healthy brain voxels above").format(percent=f"{100.0 * rate:g}"))


def default_text(record: RunRecord) -> str:
    """The model's own threshold, with the first words on where it comes from."""
    source = record.default_source.split(",")[0]
    return str(_("Default: {source}").format(source=source) if source else _("Default of the model"))
