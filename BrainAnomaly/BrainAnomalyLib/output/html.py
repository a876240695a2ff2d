"""A report of one detection as a single HTML page: pictures inside, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .finding_pictures import KeyPicture, key_pictures
from .origin import Words
from .report_content import ReportContent, Table, caption, report_content
from .whole_file import whole_file

if TYPE_CHECKING:
    from ..detection import Detection
    from .origin import Origin

_STYLE = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
    "img{max-width:100%}figure{margin:1em 0}.notice{border:1px solid #a40;padding:.5em 1em}svg{background:#f7f7f7}"
)
_CHART_WIDTH, _CHART_HEIGHT = 640, 160


def write_report(detection: Detection, path: str | Path, words: Words | None = None, pictures: bool = True) -> Path:
    """Write the report to ``path`` (.html) and return it. Raises OutputError."""
    path, words = Path(path), words or Words()
    keys = key_pictures(detection) if pictures else []
    text = report_html(detection, words, _overview(detection, words.named) if pictures else None, keys)
    with whole_file(path, f"The report '{path}'") as fresh:
        fresh.write_text(text, encoding="utf-8")
    return path


def write_result_report(detection: Detection, path: Path, origin: Origin) -> None:
    """The report as a format of a result: see ``formats``."""
    write_report(detection, path, origin.words)


def report_html(
    detection: Detection,
    words: Words | None = None,
    overview_png: bytes | None = None,
    keys: Sequence[KeyPicture] = (),
) -> str:
    """The page as text."""
    content = report_content(detection, words)
    parts = (
        f"<h1>{_escaped(content.title)}</h1>",
        f"<p>{_escaped(content.heading)}</p>" if content.heading else "",
        f'<p class="notice"><strong>{content.notice}</strong> {content.caution}</p>',
        _warnings(content.warnings),
        _picture(overview_png),
        f"<h2>{content.findings.title}</h2><p>{content.sentence}</p>{_table(content.findings)}",
        *(f"<h3>{group.title}</h3>{_table(group)}" for group in content.groups),
        *map(_key_picture, keys),
        _profile(detection),
        f"<h2>{content.settings.title}</h2>{_table(content.settings)}",
    )
    return _page(content, parts)


def _page(content: ReportContent, parts: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><title>{_escaped(content.title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _overview(detection: Detection, named: bool) -> bytes:
    from .overview import overview

    with tempfile.TemporaryDirectory(prefix="brain-anomaly-report-") as folder:
        picture = Path(folder) / "overview.png"
        overview(detection, picture, named)
        return picture.read_bytes()


def _escaped(value: object) -> str:
    return html.escape(str(value))


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return "<p>No warnings.</p>"
    return "<h2>Warnings</h2><ul>" + "".join(f"<li>{_escaped(text)}</li>" for text in warnings) + "</ul>"


def _picture(png: bytes | None) -> str:
    return "" if png is None else f"<h2>Pictures</h2>{_image(png, 'Slices of scan, map and findings')}"


def _image(png: bytes, words: str) -> str:
    return f'<img alt="{_escaped(words)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def _key_picture(picture: KeyPicture) -> str:
    words = caption(picture)
    return f"<figure>{_image(picture.png, words)}<figcaption>{_escaped(words)}</figcaption></figure>"


def _table(table: Table) -> str:
    lines = ["<tr>" + "".join(f"<th>{_escaped(cell)}</th>" for cell in table.header) + "</tr>"] if table.header else []
    lines += ["<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in table.rows]
    return "<table>" + "".join(lines) + "</table>"


def _profile(detection: Detection) -> str:
    """Mean anomaly by level of the template as a line."""
    profile = detection.profile
    if len(profile.position_mm) < 2:
        return ""
    highest = max(float(profile.mean_anomaly.max()), 1e-9)
    step = _CHART_WIDTH / (len(profile.mean_anomaly) - 1)
    points = " ".join(
        f"{index * step:.1f},{_CHART_HEIGHT * (1.0 - value / highest):.1f}"
        for index, value in enumerate(profile.mean_anomaly)
    )
    low, high = profile.position_mm[0], profile.position_mm[-1]
    return (
        f"<h2>Slice profile</h2><p>Mean anomaly of each axial slice, template z {low:.0f} mm (left) to {high:.0f} mm; "
        f"the highest mean is {highest:.3g} {_escaped(detection.detector['unit'])}.</p>"
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" width="{_CHART_WIDTH}" height="{_CHART_HEIGHT}">'
        f'<polyline fill="none" stroke="#c50" stroke-width="2" points="{points}"/></svg>'
    )
