"""Which result is shown: the scans of the scene that have one, its origin and its warnings in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode, nodes_of_class
from ...scene.run_record import RunRecord
from ...scene.unit_words import short_unit, unit_meaning
from ..common.connections import Connections
from ..common.messages import WARNING_STYLE, show_text
from ..common.plain_words import short_name

_HASH_LETTERS = 12


class ResultChoice:
    """The combo box of results and the labels below it."""

    def __init__(
        self, ui: Any, logic: BrainAnomalySceneLogic, connections: Connections, changed: Callable[[], None]
    ) -> None:
        self._ui, self._logic, self._changed = ui, logic, changed
        self._nodes: list[VolumeNode] = []
        self._wanted: VolumeNode | None = None
        ui.warningsLabel.styleSheet = WARNING_STYLE
        connections.of(ui.resultComboBox).connect("currentIndexChanged(int)", self.onResultChanged)

    @property
    def node(self) -> VolumeNode | None:
        """The scan whose result is shown, None if there is no result."""
        index = self._ui.resultComboBox.currentIndex
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def refresh(self, *wanted: VolumeNode | None) -> None:
        """List the results of the scene anew and show that of the first of ``wanted`` that has one.

        If none of them has one, no result is shown: a table of another scan could be taken for theirs. The last result
        of the scene is shown where no scan is wanted at all.
        """
        self._wanted = next((node for node in wanted if node is not None), None)
        volumes = nodes_of_class(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")
        self._nodes = [node for node in volumes if self._logic.resultNodes(node).anomaly_map is not None]
        box = self._ui.resultComboBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        for node in self._nodes:
            box.addItem(node.GetName())
        box.currentIndex = self._index(wanted)
        box.blockSignals(wasBlocked)
        self.onResultChanged(box.currentIndex)

    def onResultChanged(self, index: int) -> None:
        """Another result is to be shown."""
        self._describe()
        self._changed()

    def _index(self, wanted: Sequence[VolumeNode | None]) -> int:
        places = [self._nodes.index(node) for node in wanted if node in self._nodes]
        if places:
            return places[0]
        return len(self._nodes) - 1 if self._wanted is None else -1

    def _describe(self) -> None:
        node = self.node
        if node is None:
            show_text(self._ui.resultLabel, self._nothing())
            show_text(self._ui.warningsLabel, "")
            return
        record = self._logic.record(node)
        show_text(self._ui.resultLabel, origin_text(record))
        self._ui.resultLabel.toolTip = origin_details(record)
        show_text(self._ui.warningsLabel, warnings_text(record))

    def _nothing(self) -> str:
        if self._wanted is None:
            return str(_("There is no result yet."))
        return str(_("There is no result of '{name}' yet.").format(name=short_name(self._wanted.GetName())))


def origin_text(record: RunRecord) -> str:
    """Method, contrast and unit of a result."""
    text = _("By {title} on {contrast}. The map shows {unit}.")
    return str(text.format(title=record.title, contrast=record.contrast, unit=short_unit(record.unit)))


def origin_details(record: RunRecord) -> str:
    """What a result's values mean exactly, and which program and model made it."""
    model = _("no trained model") if record.package is None else _("model {hash}").format(hash=_short(record.package))
    return f"{unit_meaning(record.unit)}\n{record.program}, {model}"


def warnings_text(record: RunRecord) -> str:
    """All warnings of a result; a word on the registration where it is not good."""
    lines = list(record.warnings)
    reason = record.details.get("registration", {}).get("reason", "")
    if record.registration != "good" and not any(reason and reason in line for line in lines):
        quality = _("Alignment with the template is {verdict}. {reason}")
        lines.append(quality.format(verdict=record.registration, reason=reason).strip())
    return "\n".join(_("Warning: {text}").format(text=line) for line in lines)


def _short(identity: str) -> str:
    return identity[:_HASH_LETTERS]
