"""The findings as a table node, one row each, largest first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from ...findings.table import Finding, Findings
from .nodes.links import TableNode
from .nodes.typed_table import Column, write_table

COLUMNS = (
    Column("id", "Finding", "integer", description="Number of the finding, 1 is the largest"),
    Column("volume_ml", "Volume (mL)", "real", "mL", "Volume of the connected region above the threshold"),
    Column("peak", "Peak", "real", description="Highest value of the anomaly map in the region"),
    Column("mean", "Mean", "real", description="Mean value of the anomaly map in the region"),
    Column("centroid_r", "R (mm)", "real", "mm", "Centroid in the scan's world RAS coordinates: right"),
    Column("centroid_a", "A (mm)", "real", "mm", "Centroid in the scan's world RAS coordinates: anterior"),
    Column("centroid_s", "S (mm)", "real", "mm", "Centroid in the scan's world RAS coordinates: superior"),
    Column("template_x", "Template x (mm)", "real", "mm", "Centroid in ICBM152 coordinates: right"),
    Column("template_y", "Template y (mm)", "real", "mm", "Centroid in ICBM152 coordinates: anterior"),
    Column("template_z", "Template z (mm)", "real", "mm", "Centroid in ICBM152 coordinates: superior"),
    Column("side", "Side", "text", description="Side of the template's midline: left, right, midline or bilateral"),
    Column("region", "Region", "text", description="Lobe or structure in which most of the finding lies"),
    Column("tissue", "Tissue", "text", description="Tissue to which most of the finding belongs"),
    Column("place", "Place", "text", description="Place by the McDonald criteria; empty in deep gray matter"),
    Column("looks", "Looks", "text", description="Brighter or darker than expected; empty where nothing says that"),
    Column("contrasts", "Seen on", "text", description="Contrasts of an examination that show it, + bright or - dark"),
    Column("change", "Change", "text", description="Since an earlier date: new, growing, stable, shrinking or gone"),
    Column("prior_ml", "Earlier (mL)", "real", "mL", "Volume at the earlier date; nan without one"),
    Column("change_ml", "Change (mL)", "real", "mL", "Change of volume since the earlier date; nan without one"),
    Column("change_percent", "Change (%)", "real", "%", "The same in percent of what was; nan where nothing was"),
    Column("review", "Review", "text", description="kept, or rejected by the reader; rejected ones leave the segment"),
    Column("comment", "Comment", "text", description="What the reader says about it"),
)


def write_findings(
    node: TableNode,
    findings: Findings,
    rejected: frozenset[int] = frozenset(),
    comments: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Replace the rows of ``node`` by these findings; the numbers that are ``rejected``, and ``comments`` by number."""
    rows = [_row(finding, finding.id in rejected, comments.get(finding.id, "")) for finding in findings.table]
    write_table(node, COLUMNS, rows)


def _row(finding: Finding, rejected: bool, comment: str) -> tuple[object, ...]:
    measures = (finding.id, finding.volume_ml, finding.peak, finding.mean)
    words = (finding.side, finding.region, finding.tissue, finding.place, finding.looks)
    amounts = (_amount(value) for value in (finding.prior_ml, finding.change_ml, finding.change_percent))
    followed = (finding.contrasts, finding.change, *amounts)
    review = ("rejected" if rejected else "kept", comment)
    return (*measures, *finding.centroid_ras, *finding.centroid_template, *words, *followed, *review)


def _amount(value: float | None) -> float:
    return math.nan if value is None else value
