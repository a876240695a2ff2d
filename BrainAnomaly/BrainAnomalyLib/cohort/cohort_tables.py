"""One row for each scan of a cohort and one for each finding, as CSV and Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..service.workplace import write_whole, writing
from .records import Record

SCAN_TABLE, FINDING_TABLE = "cohort", "findings.csv"
_ASKED = ("key", "subject", "session", "contrast")
_MEASURED = (
    *("shown_contrast", "brain_ml", "brain_method", "quality", "quality_verdict", "guard", "threshold"),
    *("threshold_source", "detector", "package", "program", "seconds", "worker_peak_gb"),
)


def scan_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Rows of the table of scans; further columns of the user's table come last."""
    return [_scan_row(record) for record in records]


def write_tables(records: Sequence[Record], out: Path) -> list[Path]:
    """Write ``cohort.csv``, ``cohort.parquet`` and ``findings.csv``. Raises OutputError."""
    import pandas

    scans, findings = pandas.DataFrame(scan_rows(records)), pandas.DataFrame(_finding_rows(records))
    paths = [out / f"{SCAN_TABLE}.csv", out / FINDING_TABLE, out / f"{SCAN_TABLE}.parquet"]
    with writing(out):
        write_whole(paths[0], lambda path: scans.to_csv(path, index=False))
        write_whole(paths[1], lambda path: findings.to_csv(path, index=False))
        write_whole(paths[2], lambda path: scans.to_parquet(path, index=False))
    return paths


def _scan_row(record: Record) -> dict[str, Any]:
    findings = record.get("findings", [])
    row = {name: record[name] for name in _ASKED}
    row |= {"path": record["path"], "status": record["status"], "reason": record.get("reason", "")}
    done = record["status"] == "done"
    row |= {
        "total_ml": record.get("total_ml"),
        "findings": len(findings) if done else None,
        "largest_ml": max((one["volume_ml"] for one in findings), default=0.0) if done else None,
    }
    row |= {name: record.get(name) for name in _MEASURED}
    row |= {"warnings": " ".join(record.get("warnings", []))}
    row |= {name: record.get(name, "") for name in ("results", "overview", "in_template")}
    return {**row, **record.get("extra", {})}


def _finding_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    rows = []
    for record in records:
        for finding in record.get("findings", []):
            row = {name: record[name] for name in _ASKED}
            row |= {name: finding[name] for name in ("id", "volume_ml", "peak", "mean", "side", "looks")}
            row |= {name: finding.get(name) for name in ("region", "tissue", "place", "ventricle_mm", "cortex_mm")}
            for space, name in (("ras", "centroid_ras"), ("template", "centroid_template")):
                row |= {f"{space}_{axis}": value for axis, value in zip("xyz", finding[name], strict=True)}
            rows.append({**row, "results": record["results"]})
    return rows
