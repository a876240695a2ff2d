"""A report of one detection as a single HTML page: pictures inside, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import html
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from .folder import RESEARCH_USE, summary

if TYPE_CHECKING:
    from ..detection import Detection
    from .origin import Origin

_STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
    "img{max-width:100%}.notice{border:1px solid #a40;padding:.5em 1em}svg{background:#f7f7f7}"
)
_FINDING_COLUMNS = (
    "Finding",
    "Volume (mL)",
    "Peak",
    "Mean",
    "Side",
    "Looks",
    "Center R, A, S (mm)",
    "Template x, y, z (mm)",
)
_CHART_WIDTH, _CHART_HEIGHT = 640, 160


def write_report(detection: Detection, path: str | Path, rejected: int = 0, pictures: bool = True) -> Path:
    """Write the report to ``path`` (.html) and return it. Raises OutputError.

    ``rejected`` is how many findings the reader has rejected; they are not in ``detection`` any more.
    """
    path = Path(path)
    text = report_html(detection, rejected, _overview(detection) if pictures else None)
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=path.parent) as scratch:
            fresh = Path(scratch) / "report.html"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"The report '{path}' could not be written: {reason}.", "Choose another folder.") from error
    return path


def write_result_report(detection: Detection, path: Path, origin: Origin) -> None:
    """The report as a format of a result: see ``formats``."""
    write_report(detection, path, origin.rejected)


def report_html(detection: Detection, rejected: int = 0, overview_png: bytes | None = None) -> str:
    """The page as text."""
    content = summary(detection)
    title = f"Brain anomaly report: {content['scan']['name']}"
    parts = (
        f"<h1>{_escaped(title)}</h1>",
        f'<p class="notice"><strong>{RESEARCH_USE}</strong> This is a list of places that differ from healthy brains '
        "in the view of one method. It misses lesions and marks healthy tissue.</p>",
        _warnings(detection.warnings),
        _picture(overview_png),
        _findings(detection, rejected),
        _profile(detection),
        _settings(content),
    )
    head = f'<meta charset="utf-8"><title>{_escaped(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _overview(detection: Detection) -> bytes:
    from .overview import overview

    with tempfile.TemporaryDirectory(prefix="brain-anomaly-report-") as folder:
        picture = Path(folder) / "overview.png"
        overview(detection, picture)
        return picture.read_bytes()


def _escaped(value: object) -> str:
    return html.escape(str(value))


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return "<p>No warnings.</p>"
    return "<h2>Warnings</h2><ul>" + "".join(f"<li>{_escaped(text)}</li>" for text in warnings) + "</ul>"


def _picture(png: bytes | None) -> str:
    if png is None:
        return ""
    data = base64.b64encode(png).decode("ascii")
    return f'<h2>Pictures</h2><img alt="Slices of scan, map and findings" src="data:image/png;base64,{data}">'


def _findings(detection: Detection, rejected: int) -> str:
    findings = detection.findings
    sentence = f"{len(findings.table)} findings, {findings.total_ml:.2f} mL together."
    if rejected:
        sentence += f" {rejected} more were rejected by the reader and are left out."
    rows = (
        (
            *(row.id, f"{row.volume_ml:.2f}", f"{row.peak:.2f}", f"{row.mean:.2f}", row.side, row.looks),
            *(_point(row.centroid_ras), _point(row.centroid_template)),
        )
        for row in findings.table
    )
    return f"<h2>Findings</h2><p>{sentence}</p>{_table(_FINDING_COLUMNS, rows)}"


def _point(point: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in point)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_escaped(cell)}</th>" for cell in header) + "</tr>"] if header else []
    lines += ["<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows]
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


def _settings(content: dict[str, Any]) -> str:
    detector, contrast, registration = content["detector"], content["contrast"], content["registration"]
    threshold, mask = content["threshold"], content["brain_mask"]
    rows = (
        ("Program", content["program"]),
        ("Scan", f"{content['scan']['name']}, voxels {content['scan']['shape']}, {content['scan']['spacing_mm']} mm"),
        ("Contrast", f"{contrast['contrast']} (confidence {contrast['confidence']:.2f})"),
        ("Method", detector["title"]),
        ("Model package (SHA-256)", detector.get("package") or "none: a method without training"),
        ("Unit of the map", detector["unit"]),
        ("Threshold", f"{threshold['value']:.4g} ({threshold['source']})"),
        ("Minimum size", f"{threshold['minimum_mm3']:.4g} mm³"),
        ("Registration", f"{registration['verdict']} {registration.get('reason') or ''}".strip()),
        ("Brain mask", mask["method"]),
        ("Settings of the method", json.dumps(detector.get("config", {}))),
        ("Preparation", json.dumps(detector.get("recipe", {}))),
    )
    return f"<h2>How it was computed</h2>{_table((), rows)}"
