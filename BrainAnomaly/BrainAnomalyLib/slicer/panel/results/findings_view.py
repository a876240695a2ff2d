"""The findings table: choose a finding to see it, take its check mark away to reject it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import qt
import slicer
from slicer.i18n import tr as _

from ....findings.changes import change_summary
from ....findings.table import Finding, Findings
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from ...scene.run_record import RunRecord
from ...scene.unit_words import short_unit, unit_meaning
from ..common.connections import Connections
from ..common.messages import Messages, show_text

# A low threshold may leave thousands, which no table makes readable. Exports hold them all.
ROWS_SHOWN = 100
_KEEP, _NUMBER, _VOLUME, _PEAK, _WHERE, _CHANGE, _PLACE = range(7)
_LONGEST_COMMENT = 40
# What a column is sorted by, and whether large comes first.
_KEYS: dict[int, tuple[Callable[[Finding], Any], bool]] = {
    _NUMBER: (lambda finding: finding.id, False),
    _VOLUME: (lambda finding: finding.volume_ml, True),
    _PEAK: (lambda finding: finding.peak, True),
    _WHERE: (lambda finding: (finding.side, finding.looks), False),
    _CHANGE: (lambda finding: abs(finding.change_ml or 0.0), True),
    _PLACE: (lambda finding: finding.centroid_ras[::-1], True),
}


class ChosenFinding(NamedTuple):
    """The finding that is chosen in the table: its number and what the reader says about it."""

    number: int
    comment: str


class FindingsView:
    """The table of the findings of one result.

    ``decided`` is called with a number and whether to keep it when a check mark changes, ``chosen`` with the
    finding that was chosen.
    """

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        messages: Messages,
        connections: Connections,
        decided: Callable[[int, bool], None],
        chosen: Callable[[ChosenFinding], None],
    ) -> None:
        self._ui, self._logic, self._messages = ui, logic, messages
        self._decided, self._chosen = decided, chosen
        self._node: VolumeNode | None = None
        self._findings: Findings | None = None
        self._shown: tuple[Finding, ...] = ()
        self._comments: Mapping[int, str] = {}
        self._rows: list[list[Any]] = []
        self._sorted_by, self._reversed, self._tall = _NUMBER, False, False
        self._make_header()
        table = connections.of(ui.findingsTable)
        table.connect("cellClicked(int,int)", self.onCellClicked)
        table.connect("currentCellChanged(int,int,int,int)", self.onRowChanged)
        table.connect("itemChanged(QTableWidgetItem*)", self.onItemChanged)
        connections.of(ui.findingsTable.horizontalHeader()).connect("sectionClicked(int)", self.onSort)

    def show(self, node: VolumeNode | None, findings: Findings | None = None) -> None:
        """Show the findings of the result of ``node``; ``findings`` spares cutting the map again."""
        self._node = node
        if node is None:
            self._findings = None
            self._fill((), frozenset(), {})
            show_text(self._ui.findingsLabel, "")
            return
        self._findings = findings or self._logic.findings(node)
        self._name_unit(self._logic.record(node).unit)
        self._refill(node, self._findings)

    @property
    def chosen(self) -> ChosenFinding | None:
        """The finding that is chosen, None if none is."""
        row = self._ui.findingsTable.currentRow()
        return self._in_row(row) if 0 <= row < len(self._shown) else None

    def _in_row(self, row: int) -> ChosenFinding:
        number = self._shown[row].id
        return ChosenFinding(number, self._comments.get(number, ""))

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
            with self._messages.plain():
                self._chosen(self._in_row(row))

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
        if self._node is not None and item.column() == _KEEP:
            self._decided(self._shown[item.row()].id, item.checkState() == qt.Qt.Checked)

    def _make_header(self) -> None:
        table = self._ui.findingsTable
        headers = ("", _("No."), _("mL"), _("Peak"), _("Where"), _("Change"), _("R, A, S"))
        table.setColumnCount(len(headers))
        table.setHorizontalHeaderLabels(headers)
        header = table.horizontalHeader()
        header.setResizeContentsPrecision(0)
        header.setMinimumSectionSize(20)
        for column in range(len(headers)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_WHERE, qt.QHeaderView.Stretch)
        # Names of chosen columns in bold, and a mark of the order, would need more room than there is.
        header.setHighlightSections(False)
        header.setSectionsClickable(True)
        tips = {
            _KEEP: _("Take the check mark away to reject a finding."),
            _NUMBER: _("1 is the largest."),
            _VOLUME: _("Volume in milliliters."),
            _WHERE: _(
                "Side and region; brighter or darker than expected, or on which contrast it is bright + or dark -."
            ),
            _CHANGE: _("Since the earlier date, with the change of volume."),
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
        rejected, comments = self._logic.rejected(node, findings), self._logic.comments(node, findings)
        key, large_first = _KEYS[self._sorted_by]
        in_order = sorted(findings.table, key=key, reverse=large_first != self._reversed)
        self._fill(tuple(in_order[:ROWS_SHOWN]), rejected, comments)
        show_text(self._ui.findingsLabel, summary_text(findings, rejected, self._logic.record(node)))

    def _fill(self, shown: tuple[Finding, ...], rejected: frozenset[int], comments: Mapping[int, str]) -> None:
        self._shown, self._comments = shown, comments
        table = self._ui.findingsTable
        wasBlocked = table.blockSignals(True)
        self._resize(len(shown))
        for row, finding in zip(self._rows, shown, strict=True):
            for item, text in zip(row, cells(finding, comments.get(finding.id, "")), strict=True):
                item.setText(text)
                _strike(item, finding.id in rejected)
            row[_WHERE].setToolTip("\n".join([row[_WHERE].text(), comments.get(finding.id, "")]).strip())
            row[_KEEP].setCheckState(qt.Qt.Unchecked if finding.id in rejected else qt.Qt.Checked)
        self._fit(shown, bool(comments))
        table.blockSignals(wasBlocked)

    def _fit(self, shown: Sequence[Finding], commented: bool) -> None:
        """Columns that say something, in the width of a panel; rows of several lines where they have some."""
        table, followed = self._ui.findingsTable, any(finding.change for finding in shown)
        together = any(finding.contrasts for finding in shown)
        table.setColumnHidden(_CHANGE, not followed)
        table.setColumnHidden(_PEAK, followed)
        table.setColumnHidden(_PLACE, followed or together)
        if followed or together or commented or self._tall:
            table.resizeRowsToContents()
        self._tall = followed or together or commented

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


def _strike(item: Any, struck: bool) -> None:
    """Strike a text out, or no longer."""
    font = item.font()
    if font.strikeOut() != struck:
        font.setStrikeOut(struck)
        item.setFont(font)


def cells(finding: Finding, comment: str = "") -> tuple[str, ...]:
    """The texts of one row; the first cell has only a check mark."""
    place = ", ".join(f"{value:.0f}" for value in finding.centroid_ras)
    looks = "" if finding.contrasts else finding.looks
    where = ", ".join(part for part in (finding.where, looks) if part)
    short = comment if len(comment) <= _LONGEST_COMMENT else f"{comment[:_LONGEST_COMMENT]}…"
    lines = "\n".join(part for part in (where, finding.contrasts, f"“{short}”" if short else "") if part)
    measures = str(finding.id), f"{finding.volume_ml:.2f}", f"{finding.peak:.2f}"
    return "", *measures, lines, change_text(finding), place


def change_text(finding: Finding) -> str:
    """What became of a finding since the earlier date, in two lines; "" without one."""
    if not finding.change or finding.change_ml is None:
        return ""
    percent = finding.change_percent
    share = "" if percent is None or finding.change in ("new", "gone") else f", {percent:+.0f} %"
    return f"{finding.change}\n{finding.change_ml:+.2f} mL{share}"


def summary_text(findings: Findings, rejected: frozenset[int], record: RunRecord) -> str:
    """How many findings there are, how much of them, what the table leaves out, and what changed."""
    kept = [finding for finding in findings.table if finding.id not in rejected]
    words = _("{count} finding, {volume} mL") if len(kept) == 1 else _("{count} findings, {volume} mL together")
    text = words.format(count=len(kept), volume=f"{sum(finding.volume_ml for finding in kept):.2f}")
    if rejected:
        text += _("; {count} rejected").format(count=len(rejected))
    if len(findings.table) > ROWS_SHOWN:
        text += _("; the table shows {count} of them").format(count=ROWS_SHOWN)
    if record.prior is None or not all(finding.change for finding in findings.table):
        return f"{text}."
    return f"{text}. {change_summary(kept, str(record.prior['name']))}"
