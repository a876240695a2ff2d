"""Which result is shown: the scans of the scene that have one, its origin and its warnings in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...scene.links import VolumeNode, nodes_of_class
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.run_record import RunRecord
from ..common.messages import show_text

_HASH_LETTERS = 12
# Letters in a line of a warning; a module panel is wide enough for them.
WARNING_WIDTH = 58


class ResultChoice:
    """The combo box of results and the labels below it."""

    def __init__(self, ui: Any, logic: BrainAnomalySceneLogic, changed: Callable[[], None]) -> None:
        self._ui, self._logic, self._changed = ui, logic, changed
        self._nodes: list[VolumeNode] = []
        ui.resultComboBox.connect("currentIndexChanged(int)", self.onResultChanged)

    @property
    def node(self) -> VolumeNode | None:
        """The scan whose result is shown, None if there is no result."""
        index = self._ui.resultComboBox.currentIndex
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def refresh(self, wanted: VolumeNode | None = None) -> None:
        """List the results of the scene anew and show that of ``wanted`` if it has one, else the one shown before."""
        shown = self.node
        volumes = nodes_of_class(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")
        self._nodes = [node for node in volumes if self._logic.resultNodes(node).anomaly_map is not None]
        box = self._ui.resultComboBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        for node in self._nodes:
            box.addItem(node.GetName())
        box.currentIndex = self._index(wanted, shown)
        box.blockSignals(wasBlocked)
        self.onResultChanged(box.currentIndex)

    def onResultChanged(self, index: int) -> None:
        """Another result is to be shown."""
        self._describe()
        self._changed()

    def _index(self, wanted: VolumeNode | None, shown: VolumeNode | None) -> int:
        for node in (wanted, shown):
            if node in self._nodes:
                return self._nodes.index(node)
        return len(self._nodes) - 1

    def _describe(self) -> None:
        node = self.node
        if node is None:
            show_text(self._ui.resultLabel, _("There is no result yet."))
            show_text(self._ui.warningsLabel, "")
            return
        record = self._logic.record(node)
        show_text(self._ui.resultLabel, origin_text(record))
        show_text(self._ui.warningsLabel, warnings_text(record))


def origin_text(record: RunRecord) -> str:
    """Method, model and contrast of a result."""
    model = _("no trained model") if record.package is None else _("model {hash}").format(hash=_short(record.package))
    text = _("{title} ({model}), contrast {contrast}, {program}. Map in {unit}.")
    values = {"contrast": record.contrast, "program": record.program, "unit": record.unit}
    return str(text.format(title=record.title, model=model, **values))


def warnings_text(record: RunRecord) -> str:
    """All warnings of a result; a word on the registration where it is not good.

    The lines are broken here: a label that wraps its own text is not given the height that many lines need.
    """
    lines = list(record.warnings)
    reason = record.details.get("registration", {}).get("reason", "")
    if record.registration != "good" and not any(reason and reason in line for line in lines):
        quality = _("Alignment with the template is {verdict}. {reason}")
        lines.append(quality.format(verdict=record.registration, reason=reason).strip())
    return "\n".join(textwrap.fill(_("Warning: {text}").format(text=line), WARNING_WIDTH) for line in lines)


def _short(identity: str) -> str:
    return identity[:_HASH_LETTERS]
