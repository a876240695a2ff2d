"""The findings table: click a finding to see it, take its check mark away to reject it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ....findings.table import Finding, Findings
from ...scene.links import VolumeNode
from ...scene.logic import BrainAnomalySceneLogic
from ..common.messages import Messages, show_text

# The largest ones; a low threshold may leave thousands, which no table makes readable. Exports hold them all.
ROWS_SHOWN = 100
_KEEP = 0


class FindingsView:
    """The table of the findings of one result; ``reviewed`` is called when a finding was kept or rejected."""

    def __init__(
        self, ui: Any, logic: BrainAnomalySceneLogic, messages: Messages, reviewed: Callable[[], None]
    ) -> None:
        self._ui, self._logic, self._messages, self._reviewed = ui, logic, messages, reviewed
        self._node: VolumeNode | None = None
        self._shown: tuple[Finding, ...] = ()
        self._rows: list[list[Any]] = []
        table = ui.findingsTable
        headers = (_("Keep"), _("No."), _("Volume (mL)"), _("Peak"), _("Side"), _("R, A, S (mm)"))
        table.setColumnCount(len(headers))
        table.setHorizontalHeaderLabels(headers)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        for column in (_KEEP, _KEEP + 1):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.connect("cellClicked(int,int)", self.onCellClicked)
        table.connect("itemChanged(QTableWidgetItem*)", self.onItemChanged)
        ui.keepAllButton.connect("clicked()", self.onKeepAll)

    def show(self, node: VolumeNode | None, findings: Findings | None = None) -> None:
        """Show the findings of the result of ``node``; ``findings`` spares cutting the map again."""
        self._node = node
        if node is None:
            self._fill((), frozenset())
            show_text(self._ui.findingsLabel, "")
            return
        findings = findings or self._logic.findings(node)
        rejected = self._logic.rejected(node, findings)
        self._shown = findings.table[:ROWS_SHOWN]
        self._fill(self._shown, rejected)
        show_text(self._ui.findingsLabel, summary_text(findings, rejected))

    def onCellClicked(self, row: int, column: int) -> None:
        """A finding was clicked: all slices go to its center."""
        if column != _KEEP and row < len(self._shown):
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *self._shown[row].centroid_ras)

    def onItemChanged(self, item: Any) -> None:
        """A check mark was set or taken away."""
        if self._node is None or item.column() != _KEEP:
            return
        with self._messages.plain():
            kept = item.checkState() == qt.Qt.Checked
            self._logic.setKept(self._node, self._shown[item.row()].id, kept)
            self._reviewed()

    def onKeepAll(self) -> None:
        """Take back every rejection."""
        if self._node is None:
            return
        with self._messages.plain():
            self._logic.keepAll(self._node)
            self._reviewed()

    def _fill(self, shown: tuple[Finding, ...], rejected: frozenset[int]) -> None:
        table = self._ui.findingsTable
        wasBlocked = table.blockSignals(True)
        self._resize(len(shown))
        for row, finding in zip(self._rows, shown, strict=True):
            for item, text in zip(row, cells(finding), strict=True):
                item.setText(text)
            row[_KEEP].setCheckState(qt.Qt.Unchecked if finding.id in rejected else qt.Qt.Checked)
        table.blockSignals(wasBlocked)
        self._ui.keepAllButton.enabled = bool(rejected)

    def _resize(self, count: int) -> None:
        """As many rows as findings; rows that are there are used again, which is quicker while the slider moves."""
        table = self._ui.findingsTable
        table.setRowCount(count)
        del self._rows[count:]
        for row in range(len(self._rows), count):
            self._rows.append([qt.QTableWidgetItem("") for _column in range(table.columnCount)])
            for column, item in enumerate(self._rows[row]):
                table.setItem(row, column, item)


def cells(finding: Finding) -> tuple[str, ...]:
    """The texts of one row; the first cell has only a check mark."""
    place = ", ".join(f"{value:.0f}" for value in finding.centroid_ras)
    side = f"{finding.where}, {finding.looks}" if finding.looks else finding.where
    return "", str(finding.id), f"{finding.volume_ml:.2f}", f"{finding.peak:.2f}", side, place


def summary_text(findings: Findings, rejected: frozenset[int]) -> str:
    """How many findings there are, how much of them, and what the table leaves out."""
    kept = [finding for finding in findings.table if finding.id not in rejected]
    words = _("{count} finding, {volume} mL") if len(kept) == 1 else _("{count} findings, {volume} mL together")
    text = words.format(count=len(kept), volume=f"{sum(finding.volume_ml for finding in kept):.2f}")
    if rejected:
        text += _("; {count} rejected").format(count=len(rejected))
    if len(findings.table) > ROWS_SHOWN:
        text += _("; the table shows the {count} largest").format(count=ROWS_SHOWN)
    return str(text) + "."
