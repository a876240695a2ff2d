"""Results of an evaluation as CSV, Markdown, JSON and one HTML page with figures."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..output.folder import RESEARCH_USE
from .bootstrap import difference
from .protocols import PROTOCOLS
from .rows import Row
from .scan_table import SCAN_COLUMNS

COLUMNS = (
    *("detector", "protocol", "metric", "value", "low", "high", "subjects", "scans", "threshold", "threshold_source"),
)
_STYLE = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}"
    "img{max-width:100%}.notice{border:1px solid #a40;padding:.5em 1em}"
)


@dataclass(frozen=True)
class Table:
    """What one detector reached under one protocol."""

    detector: str
    protocol: str
    rows: Sequence[Row]

    def records(self) -> list[dict[str, Any]]:
        """A flat record of every row; None for what is not known."""
        return [
            {
                "detector": self.detector,
                "protocol": self.protocol,
                "metric": row.metric,
                "value": _known(row.estimate.value),
                "low": _known(row.estimate.low),
                "high": _known(row.estimate.high),
                "subjects": row.estimate.subjects,
                "scans": row.scans,
                "threshold": _known(row.threshold),
                "threshold_source": row.threshold_source,
            }
            for row in self.rows
        ]


def write_tables(
    folder: Path,
    tables: Sequence[Table],
    notes: Sequence[str],
    pictures: dict[str, bytes],
    scans: Sequence[dict[str, Any]] = (),
) -> list[str]:
    """Write evaluation.csv, .md, .json, .html and scans.csv into ``folder``; returns the files' names."""
    records = [record for table in tables for record in table.records()]
    _write_csv(folder / "evaluation.csv", COLUMNS, records)
    _write_csv(folder / "scans.csv", SCAN_COLUMNS, scans)
    content = {"notice": RESEARCH_USE, "notes": list(notes), "rows": records, "differences": differences(tables)}
    (folder / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(markdown(tables, notes), encoding="utf-8")
    (folder / "evaluation.html").write_text(page(tables, notes, pictures), encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def differences(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Every further detector minus the first of the same protocol, resampling the same subjects for both."""
    found = []
    for table in tables:
        first = next(other for other in tables if other.protocol == table.protocol)
        own = {(row.metric, row.threshold_source): row.estimate for row in first.rows}
        for row in table.rows if table is not first else ():
            base = own.get((row.metric, row.threshold_source))
            if base is None or row.estimate.draws.size == 0:
                continue
            seen = difference(row.estimate, base)
            names = {"detector": table.detector, "minus": first.detector, "protocol": table.protocol}
            numbers = {"value": _known(seen.value), "low": _known(seen.low), "high": _known(seen.high)}
            about = {"metric": row.metric, "threshold_source": row.threshold_source, "subjects": seen.subjects}
            found.append({**names, **about, **numbers})
    return found


def _write_csv(path: Path, columns: Sequence[str], records: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(records)


def compared(tables: Sequence[Table]) -> dict[str, list[list[str]]]:
    """By protocol: one line for each metric and threshold's source, one column for each detector."""
    found: dict[str, list[list[str]]] = {}
    for protocol in dict.fromkeys(table.protocol for table in tables):
        own = [table for table in tables if table.protocol == protocol]
        cells = [{(row.metric, row.threshold_source): row.estimate for row in table.rows} for table in own]
        keys = list(dict.fromkeys(key for column in cells for key in column))
        scans = {(row.metric, row.threshold_source): row.scans for table in own for row in table.rows}
        lines = [["metric", "threshold from", *(table.detector for table in own), "subjects", "scans"]]
        for key in keys:
            seen = [column.get(key) for column in cells]
            subjects = max(one.subjects for one in seen if one is not None)
            lines.append([*key, *("-" if one is None else one.text() for one in seen), str(subjects), str(scans[key])])
        found[protocol] = lines
    return found


def markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The comparison as Markdown; intervals are 95 % over resampled subjects."""
    parts = [f"{RESEARCH_USE}\n"]
    for protocol, (head, *lines) in compared(tables).items():
        parts.append(f"{_about(protocol)}\n")
        rows = [head, ["---"] * len(head), *lines]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n")
    parts += [f"{_DIFFERENCES}\n"] if differences(tables) else []
    parts += [f"- {line}" for line in _difference_lines(tables)]
    return "\n".join([*parts, *(f"- {note}" for note in notes), ""])


_DIFFERENCES = "Differences to the first detector; an interval without 0 is a difference."


def _about(protocol: str) -> str:
    title = f": {PROTOCOLS[protocol].title}" if protocol in PROTOCOLS else ""
    return f"Protocol `{protocol}`{title}. 95 % intervals in brackets, by resampling subjects unless another is named."


def _difference_lines(tables: Sequence[Table]) -> list[str]:
    lines = []
    for row in differences(tables):
        interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        about = f"{row['metric']}{', ' if row['threshold_source'] else ''}{row['threshold_source']}"
        lines.append(f"{row['protocol']}: {row['detector']} - {row['minus']}, {about}: {row['value']:.3f}{interval}")
    return lines


def page(tables: Sequence[Table], notes: Sequence[str], pictures: dict[str, bytes]) -> str:
    """The comparison as one HTML page with the pictures inside."""
    parts = [f'<p class="notice"><strong>{html.escape(RESEARCH_USE)}</strong></p>']
    for title, png in pictures.items():
        data = base64.b64encode(png).decode("ascii")
        parts.append(
            f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
        )
    for protocol, (head, *lines) in compared(tables).items():
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
        names = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        about = html.escape(_about(protocol))
        parts.append(f"<h2>Protocol {html.escape(protocol)}</h2><p>{about}</p><table><tr>{names}</tr>{body}</table>")
    if differences(tables):
        items = "".join(f"<li>{html.escape(line)}</li>" for line in _difference_lines(tables))
        parts.append(f"<h2>Differences</h2><p>{_DIFFERENCES}</p><ul>{items}</ul>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    head_part = f'<meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head_part}</head><body><h1>Evaluation</h1>{''.join(parts)}</body></html>"


def png_of(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    return stream.getvalue()


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
