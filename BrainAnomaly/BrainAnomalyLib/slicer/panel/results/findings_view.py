"""The findings table: choose a finding to see it, take its check mark away to reject it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ....findings.table import Finding, Findings
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from ...scene.unit_words import short_unit, unit_meaning
from ..common.connections import Connections
from ..common.messages import Messages, show_text

# A low threshold may leave thousands, which no table makes readable. Exports hold them all.
ROWS_SHOWN = 100
_KEEP, _NUMBER, _VOLUME, _PEAK, _SIDE, _PLACE = range(6)
# What a column is sorted by, and whether large comes first.
_KEYS: dict[int, tuple[Callable[[Finding], Any], bool]] = {
    _NUMBER: (lambda finding: finding.id, False),
    _VOLUME: (lambda finding: finding.volume_ml, True),
    _PEAK: (lambda finding: finding.peak, True),
    _SIDE: (lambda finding: (finding.side, finding.looks), False),
    _PLACE: (lambda finding: finding.centroid_ras[::-1], True),
}


class FindingsView:
    """The table of the findings of one result; ``reviewed`` is called when a finding was kept or rejected."""

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        messages: Messages,
        connections: Connections,
        reviewed: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._messages, self._reviewed = ui, logic, messages, reviewed
        self._node: VolumeNode | None = None
        self._findings: Findings | None = None
        self._shown: tuple[Finding, ...] = ()
        self._rows: list[list[Any]] = []
        self._sorted_by, self._reversed = _NUMBER, False
        self._make_header()
        table = connections.of(ui.findingsTable)
        table.connect("cellClicked(int,int)", self.onCellClicked)
        table.connect("currentCellChanged(int,int,int,int)", self.onRowChanged)
        table.connect("itemChanged(QTableWidgetItem*)", self.onItemChanged)
        connections.of(ui.findingsTable.horizontalHeader()).connect("sectionClicked(int)", self.onSort)
        connections.of(ui.keepAllButton).connect("clicked()", self.onKeepAll)

    def show(self, node: VolumeNode | None, findings: Findings | None = None) -> None:
        """Show the findings of the result of ``node``; ``findings`` spares cutting the map again."""
        self._node = node
        if node is None:
            self._findings = None
            self._fill((), frozenset())
            show_text(self._ui.findingsLabel, "")
            return
        self._findings = findings or self._logic.findings(node)
        self._name_unit(self._logic.record(node).unit)
        self._refill(node, self._findings)

    def summary(self) -> str:
        """What the table shows in a sentence, "" without a result."""
        return str(self._ui.findingsLabel.text)

    def jumpToLargest(self) -> bool:
        """Choose the largest finding in the table and show it; whether there is one."""
        if not self._shown:
            return False
        row = min(range(len(self._shown)), key=lambda place: self._shown[place].id)
        self._ui.findingsTable.setCurrentCell(row, _NUMBER)
        _jump(self._shown[row])
        return True

    def onCellClicked(self, row: int, column: int) -> None:
        """A finding was clicked, maybe again: all slices go to its center."""
        if column != _KEEP and row < len(self._shown):
            _jump(self._shown[row])

    def onRowChanged(self, row: int, column: int, previous_row: int, previous_column: int) -> None:
        """Another finding was chosen, by mouse or by arrow key."""
        if row != previous_row and 0 <= row < len(self._shown):
            _jump(self._shown[row])

    def onSort(self, column: int) -> None:
        """A header was clicked: sort by it, the other way round if it was sorted by already."""
        if column not in _KEYS:
            return
        self._reversed = not self._reversed if column == self._sorted_by else False
        self._sorted_by = column
        if self._node is not None and self._findings is not None:
            with self._messages.plain():
                self._refill(self._node, self._findings)

    def onItemChanged(self, item: Any) -> None:
        """A check mark was set or taken away."""
        if self._node is None or item.column() != _KEEP:
            return
        with self._messages.action():
            kept = item.checkState() == qt.Qt.Checked
            self._logic.setKept(self._node, self._shown[item.row()].id, kept)
            self._reviewed()

    def onKeepAll(self) -> None:
        """Take back every rejection."""
        if self._node is None:
            return
        with self._messages.action():
            self._logic.keepAll(self._node)
            self._reviewed()

    def _make_header(self) -> None:
        table = self._ui.findingsTable
        headers = ("", _("No."), _("mL"), _("Peak"), _("Side"), _("R, A, S"))
        table.setColumnCount(len(headers))
        table.setHorizontalHeaderLabels(headers)
        header = table.horizontalHeader()
        header.setResizeContentsPrecision(0)
        header.setMinimumSectionSize(20)
        for column in range(len(headers)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_SIDE, qt.QHeaderView.Stretch)
        # Names of chosen columns in bold, and a mark of the order, would need more room than there is.
        header.setHighlightSections(False)
        header.setSectionsClickable(True)
        tips = {
            _KEEP: _("Take the check mark away to reject a finding."),
            _NUMBER: _("1 is the largest."),
            _VOLUME: _("Volume in milliliters."),
            _SIDE: _("Side of the brain; brighter or darker than expected."),
            _PLACE: _("Center in mm: right, anterior, superior."),
        }
        for column, tip in tips.items():
            table.horizontalHeaderItem(column).setToolTip(tip)

    def _name_unit(self, unit: str) -> None:
        """Name the unit of the peaks where it can be seen, its definition where one can ask for it."""
        item = self._ui.findingsTable.horizontalHeaderItem(_PEAK)
        text = _("Peak\n({unit})").format(unit=short_unit(unit))
        if item.text() != text:
            item.setText(text)
            item.setToolTip(_("Highest value of the anomaly map. {meaning}").format(meaning=unit_meaning(unit)))

    def _refill(self, node: VolumeNode, findings: Findings) -> None:
        rejected = self._logic.rejected(node, findings)
        key, large_first = _KEYS[self._sorted_by]
        in_order = sorted(findings.table, key=key, reverse=large_first != self._reversed)
        self._shown = tuple(in_order[:ROWS_SHOWN])
        self._fill(self._shown, rejected)
        show_text(self._ui.findingsLabel, summary_text(findings, rejected))

    def _fill(self, shown: tuple[Finding, ...], rejected: frozenset[int]) -> None:
        self._shown = shown
        table = self._ui.findingsTable
        wasBlocked = table.blockSignals(True)
        self._resize(len(shown))
        for row, finding in zip(self._rows, shown, strict=True):
            for item, text in zip(row, cells(finding), strict=True):
                item.setText(text)
            row[_SIDE].setToolTip(row[_SIDE].text())
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


def _jump(finding: Finding) -> None:
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *finding.centroid_ras)


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
        text += _("; the table shows {count} of them").format(count=ROWS_SHOWN)
    return str(text) + "."
