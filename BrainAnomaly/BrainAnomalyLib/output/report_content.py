"""What a report says, for every form it takes: sentences, tables and pictures of one detection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..findings.changes import change_summary
from ..findings.columns import cells, shown_columns
from ..regions.region_summary import Group, by_place, by_region
from .folder import RESEARCH_USE, summary
from .origin import Words

if TYPE_CHECKING:
    from ..detection import Detection
    from .finding_pictures import KeyPicture

TITLE = "Brain anomaly report"
CAUTION = (
    "This is a list of places that differ from healthy brains in the view of one method. It misses lesions and marks "
    "healthy tissue."
)
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Table:
    """A titled table; no ``header`` for pairs of a name and a value."""

    title: str
    header: Sequence[str]
    rows: Rows


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All of a report in the order it is read; ``notice`` comes first on every page."""

    title: str
    heading: str
    notice: str
    caution: str
    warnings: tuple[str, ...]
    sentence: str
    findings: Table
    groups: tuple[Table, ...]
    settings: Table


def report_content(detection: Detection, words: Words | None = None, columns: Sequence[str] = ()) -> ReportContent:
    """What the report of a detection says; ``columns`` are those of findings to show, all that are known if none."""
    words = words or Words()
    content, table = summary(detection), detection.findings.table
    shown = shown_columns(table, columns)
    return ReportContent(
        title=f"{TITLE}: {detection.scan.name}" if words.named else TITLE,
        heading=words.heading,
        notice=RESEARCH_USE,
        caution=CAUTION,
        warnings=detection.warnings,
        sentence=_sentence(detection),
        findings=Table("Findings", [column.title for column in shown], [cells(row, shown) for row in table]),
        groups=_groups(detection),
        settings=Table("How it was computed", (), _settings(content, words.named)),
    )


def caption(picture: KeyPicture) -> str:
    """What stands under a finding's picture."""
    finding = picture.finding
    facts = [f"Finding {finding.id}", finding.where, finding.tissue, finding.place, f"{finding.volume_ml:.2f} mL"]
    facts += [finding.looks, getattr(finding, "contrasts", ""), getattr(finding, "change", "")]
    return f"{', '.join(fact for fact in facts if fact)}: {picture.planes}."


def threshold_words(content: dict[str, Any]) -> str:
    """The threshold with what it promises, in words."""
    threshold, detector = content["threshold"], content["detector"]
    words = f"{threshold['value']:.4g} ({threshold['source']})"
    usual = detector.get("default_threshold")
    return words if usual in (None, threshold["value"]) else f"{words}; the detector's own is {usual:.4g}"


def _sentence(detection: Detection) -> str:
    count = len(detection.findings.kept().table)
    sentence = f"{count} finding{'' if count == 1 else 's'}, {detection.findings.total_ml:.2f} mL together."
    rejected = len(detection.findings.table) - count
    if rejected:
        sentence += (
            f" {rejected} more were rejected by the reader: they are marked in the table, and left out elsewhere."
        )
    if detection.prior is not None:
        sentence += f" {change_summary(detection.findings.table, detection.prior.name)}"
    return sentence


def _groups(detection: Detection) -> tuple[Table, ...]:
    table = detection.findings.kept().table
    tables = (("By region", by_region(table)), ("By place (McDonald)", by_place(table)))
    header = ("", "Findings", "Volume (mL)")
    return tuple(Table(title, header, _rows(groups)) for title, groups in tables if groups)


def _rows(groups: Sequence[Group]) -> Rows:
    return [(group.name, str(group.findings), f"{group.volume_ml:.2f}") for group in groups]


def _settings(content: dict[str, Any], named: bool) -> Rows:
    detector, contrast, registration = content["detector"], content["contrast"], content["registration"]
    scan, mask = content["scan"], content["brain_mask"]
    name = f"{scan['name']}, " if named else ""
    rows = (
        ("Program", content["program"]),
        ("Scan", f"{name}voxels {scan['shape']}, {scan['spacing_mm']} mm"),
        ("Contrast", f"{contrast['contrast']} (confidence {contrast['confidence']:.2f})"),
        ("Method", detector["title"]),
        ("Model package (SHA-256)", detector.get("package") or "none: a method without training"),
        ("Unit of the map", detector["unit"]),
        ("Threshold", threshold_words(content)),
        ("Minimum size", f"{content['threshold']['minimum_mm3']:.4g} mm³"),
        ("Regions by", content["regions"]["structures"] or "the template"),
        ("Alignment with the template", f"{registration['verdict']} {registration.get('reason') or ''}".strip()),
        ("Guard", _guard(content["guard"])),
        ("Brain mask", f"{mask['method']}, {mask['volume_ml']:.0f} mL"),
        ("Settings of the method", json.dumps(detector.get("config", {}))),
        ("Preparation", json.dumps(detector.get("recipe", {}))),
    )
    return [row for row in rows if row[1]]


def _guard(guard: dict[str, Any] | None) -> str:
    return "" if guard is None else f"the scan is {guard['verdict']}, of {guard['scans']} healthy scans"
