"""The table of the cohort check: one row for each scan, a tick to leave it out, its picture when it is selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from BrainAnomalyLib.slicer.panel.common.connections import Connections
from BrainAnomalyLib.slicer.panel.common.messages import show_text

from ..run.run_folder import Event
from .pictures import show_picture

EXCLUDE, SUBJECT, BRAIN, REGISTRATION, NOTE = range(5)


class CohortView:
    """Shows the scans of a check. ``excluded_changed`` is called with the excluded subjects when the user ticks one."""

    def __init__(self, ui: Any, connections: Connections, excluded_changed: Callable[[list[str]], None]) -> None:
        self._table, self._picture, self._caption = ui.cohortTable, ui.thumbnailLabel, ui.thumbnailCaption
        self._excluded_changed = excluded_changed
        self._scans: dict[str, Event] = {}
        self._pictures: dict[str, Path] = {}
        self._excluded: frozenset[str] = frozenset()
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(NOTE, qt.QHeaderView.Stretch)
        connections.of(self._table).connect("itemChanged(QTableWidgetItem*)", self._on_item_changed)
        connections.of(self._table).connect("itemSelectionChanged()", self._show_selected)
        self.clear()

    @property
    def scans(self) -> list[Event]:
        """What is known of each scan, in the order of the rows."""
        return list(self._scans.values())

    def clear(self) -> None:
        """Forget all scans."""
        self._scans.clear()
        self._pictures.clear()
        self._table.rowCount = 0
        self._show_selected()

    def show(self, scans: Mapping[str, Event], folder: Path) -> None:
        """Add these scans, or replace what is known of them; their pictures lie in the run folder ``folder``."""
        changed = {path: scan for path, scan in scans.items() if self._is_news(path, scan)}
        for path, scan in changed.items():
            if scan.get("thumbnail"):
                self._pictures[path] = folder / scan["thumbnail"]
            self._scans[path] = scan
            self._write(list(self._scans).index(path), path)
        if changed:
            self._show_selected()

    def show_excluded(self, subjects: Iterable[str]) -> None:
        """Tick these subjects and no others."""
        self._excluded = frozenset(subjects)
        for row, path in enumerate(self._scans):
            self._write_tick(row, path)

    def _is_news(self, path: str, scan: Event) -> bool:
        """What a training says of a scan that it was told to leave out is no news."""
        left_out = _is_skipped(scan) and _subject(scan) in self._excluded and path in self._scans
        return not left_out and self._scans.get(path) != scan

    def _write(self, row: int, path: str) -> None:
        was_blocked = self._table.blockSignals(True)
        self._table.rowCount = len(self._scans)
        for column, text in enumerate(_texts(self._scans[path]), start=SUBJECT):
            item = self._cell(row, column)
            item.setText(text)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip(path if column == SUBJECT else text)
        self._table.blockSignals(was_blocked)
        self._write_tick(row, path)

    def _write_tick(self, row: int, path: str) -> None:
        was_blocked = self._table.blockSignals(True)
        scan, item = self._scans[path], self._cell(row, EXCLUDE)
        excluded = _subject(scan) in self._excluded
        usable = excluded or not _is_skipped(scan)
        flags = qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled if usable else qt.Qt.ItemIsUserCheckable
        item.setFlags(flags | qt.Qt.ItemIsSelectable)
        item.setCheckState(qt.Qt.Checked if excluded or not usable else qt.Qt.Unchecked)
        item.setToolTip(_("Leave this subject out of the training.") if usable else _("This scan cannot be used."))
        self._table.blockSignals(was_blocked)

    def _cell(self, row: int, column: int) -> Any:
        """The item of a cell. It is never replaced: Qt goes on using an item whose change it is just telling."""
        if self._table.item(row, column) is None:
            self._table.setItem(row, column, qt.QTableWidgetItem(""))
        return self._table.item(row, column)

    def _on_item_changed(self, item: Any) -> None:
        """A tick excludes the subject, so all its scans."""
        if item.column() != EXCLUDE:
            return
        subject = _subject(self.scans[item.row()])
        without = self._excluded - {subject}
        self.show_excluded(without | {subject} if item.checkState() == qt.Qt.Checked else without)
        self._excluded_changed(sorted(self._excluded))

    def _show_selected(self) -> None:
        row = self._table.currentRow()
        path = list(self._scans)[row] if 0 <= row < len(self._scans) else ""
        hint = _("This scan has no picture.") if path else _("Select a scan to see its outlines.")
        shown = show_picture(self._picture, self._pictures.get(path), hint)
        about = [_about(self._scans[path])] if path else []
        legend = [_("Orange: outline of the brain. Blue: white matter of the template, which the scan should follow.")]
        show_text(self._caption, " ".join([*about, *(legend if shown else [])]).strip())


def _subject(scan: Event) -> str:
    return str(scan.get("subject", ""))


def _is_skipped(scan: Event) -> bool:
    return scan.get("status") == "skipped"


def _about(scan: Event) -> str:
    """Contrast and voxels of a scan in a sentence, as far as they are known."""
    spacing = " × ".join(f"{size:.3g}" for size in scan.get("spacing_mm") or ())
    parts = [str(scan.get("contrast") or ""), _("{spacing} mm").format(spacing=spacing) if spacing else ""]
    known = ", ".join(filter(None, parts))
    return f"{_subject(scan)}: {known}." if known else ""


def _texts(scan: Event) -> tuple[str, ...]:
    """The cells from SUBJECT to NOTE."""
    brain = scan.get("brain_ml")
    verdicts = {"good": _("good"), "doubtful": _("doubtful"), "failed": _("failed")}
    return (
        _subject(scan),
        "" if brain is None else f"{brain:.0f}",
        verdicts.get(str(scan.get("registration")), ""),
        str(scan.get("reason") or (_("skipped") if _is_skipped(scan) else "")),
    )
