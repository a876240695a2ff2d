"""The findings as a table node, one row each, largest first."""

from __future__ import annotations

from ...findings.table import Finding, Findings
from .links import TableNode
from .typed_table import Column, write_table

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
    Column("review", "Review", "text", description="kept, or rejected by the reader; rejected ones leave the segment"),
)


def write_findings(node: TableNode, findings: Findings, rejected: frozenset[int] = frozenset()) -> None:
    """Replace the rows of ``node`` by these findings; ``rejected`` are numbers of those that the reader rejected."""
    write_table(node, COLUMNS, [_row(finding, finding.id in rejected) for finding in findings.table])


def _row(finding: Finding, rejected: bool) -> tuple[object, ...]:
    measures = (finding.id, finding.volume_ml, finding.peak, finding.mean)
    review = "rejected" if rejected else "kept"
    words = (finding.side, finding.region, finding.tissue, finding.place, finding.looks, review)
    return (*measures, *finding.centroid_ras, *finding.centroid_template, *words)
