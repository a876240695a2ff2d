"""The group level as one page: offline, pictures beside it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..output.folder import RESEARCH_USE
from .scan_selection import MEASURES

if TYPE_CHECKING:
    from .analysis import GroupResult

PAGE = "index.html"
_STYLE = (
    "body{font-family:sans-serif;max-width:80em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
    "img{max-width:100%}.notice{border:1px solid #a40;padding:.5em 1em}"
)
_MOST_ROWS = 200


def write_group_page(path: Path, result: GroupResult) -> None:
    """Write the page to ``path``; pictures lie in the same folder. Raises OSError."""
    used, left_out = result.scans.table, result.scans.left_out
    counted = f"{len(used)} scans of {used['subject'].nunique()} subjects; {len(left_out)} scans left out."
    body = [
        f"<h1>{html.escape(result.folder.parent.name)}: group</h1>",
        f'<p class="notice">{html.escape(RESEARCH_USE)} BrainAnomaly {__version__}.</p>',
        *(f"<p>{html.escape(text)}</p>" for text in (counted, *result.notes)),
        *_section("Burden", _summary(result.summary), ("Contrast", "Measure", "Subjects", "Mean", "Median")),
        *_section("Outliers", _outliers(result.outliers), ("Contrast", "Subject", "Scan", "Value", "z", "Why")),
        *(_section("Comparison", _comparison(result.comparison), _COMPARED) if result.comparison else ()),
        "<h2>Maps</h2>",
        *(_figure(name, title) for name, title in result.pictures.items()),
        *_section("Left out", left_out, ("Scan", "Reason")),
    ]
    head = f"<meta charset='utf-8'><title>Brain anomalies: group</title><style>{_STYLE}</style>"
    text = f"<!DOCTYPE html><html lang='en'><head>{head}</head><body>{''.join(body)}</body></html>\n"
    path.write_text(text, encoding="utf-8")


_COMPARED = ("Contrast", "Measure", "First", "Second", "Difference", "z", "p", "p, all measures")


def _section(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[str]:
    if not rows:
        return [f"<h2>{title}</h2><p>None.</p>"]
    cells = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in rows[:_MOST_ROWS]]
    more = [f"<p>{len(rows) - _MOST_ROWS} more in the table.</p>"] if len(rows) > _MOST_ROWS else []
    head = "".join(f"<th>{name}</th>" for name in columns)
    return [f"<h2>{title}</h2><table><tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in cells), "</table>", *more]


def _summary(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["contrast"],
            MEASURES.get(row["measure"], "Share of subjects with findings"),
            str(row["subjects"]),
            _with_interval(row, "mean"),
            _with_interval(row, "median") if "median" in row else "",
        )
        for row in rows
    ]


def _outliers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (row["contrast"], row["subject"], row["key"], f"{row['value']:.2f}", f"{row['z']:.1f}", row["reason"])
        for row in rows
    ]


def _comparison(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["contrast"],
            MEASURES[row["measure"]],
            *(f"{row[one]}: {row[f'{one}_mean']:.2f} (n = {row[f'{one}_subjects']})" for one in ("first", "second")),
            _with_interval(row, "difference"),
            f"{row['z']:.2f}",
            *(f"{row[name]:.3g}" for name in ("p", "p_corrected")),
        )
        for row in rows
    ]


def _with_interval(row: dict[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.2f}" if low is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _figure(name: str, title: str) -> str:
    shown = html.escape(title)
    return f'<figure><img src="{html.escape(name)}" alt="{shown}"><figcaption>{shown}</figcaption></figure>'
