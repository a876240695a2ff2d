"""A page to look a cohort through: offline, thumbnails in files, sorted and filtered in the browser.

Keep or reject with a note is remembered in the browser and saved by the reader as ``decisions.csv``, which the group
level reads.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from .. import __version__
from ..output.folder import RESEARCH_USE
from ..service.workplace import write_whole, writing
from .cohort_tables import scan_rows
from .records import THUMBNAILS, Record

PAGE, ROWS = "index.html", "index_rows.js"
_COLUMNS = (
    ("subject", "Subject"),
    ("session", "Session"),
    ("contrast", "Contrast"),
    ("status", "Status"),
    ("quality", "Quality"),
    ("total_ml", "Volume (mL)"),
    ("findings", "Findings"),
    ("largest_ml", "Largest (mL)"),
    ("guard", "Kind of scan"),
    ("warnings", "Warnings"),
)


def write_page(records: Sequence[Record], out: Path) -> Path:
    """Write ``index.html`` and its rows, worst quality first; the pictures are links. Raises OutputError."""
    rows = sorted(
        (_row(record, row) for record, row in zip(records, scan_rows(records), strict=True)), key=_worst_first
    )
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    columns = json.dumps([{"name": name, "title": title} for name, title in _COLUMNS])
    text = (
        template.replace("@TITLE@", html.escape(out.resolve().name))
        .replace("@NOTICE@", html.escape(RESEARCH_USE))
        .replace("@VERSION@", html.escape(__version__))
        .replace("@ROWS@", ROWS)
        .replace("@COLUMNS@", _as_script(columns))
    )
    with writing(out):
        script = f"const ROWS = {_as_script(json.dumps(rows))};\n"
        write_whole(out / ROWS, lambda path: path.write_text(script, encoding="utf-8"))
        write_whole(out / PAGE, lambda path: path.write_text(text, encoding="utf-8"))
    return out / PAGE


def _row(record: Record, row: dict[str, object]) -> dict[str, object]:
    shown = {name: row[name] for name, _ in _COLUMNS}
    if record["status"] == "failed":
        shown["warnings"] = row["reason"]
    picture = f"{THUMBNAILS}/{record['key']}.jpg" if record["status"] == "done" else ""
    return {**shown, "key": record["key"], "picture": picture, "overview": row["overview"]}


def _worst_first(row: dict[str, object]) -> tuple[bool, float]:
    quality = row["quality"]
    return row["status"] == "done", float(quality) if isinstance(quality, int | float) else 0.0


def _as_script(text: str) -> str:
    """JSON that cannot end the script it stands in."""
    return text.replace("<", "\\u003c")
