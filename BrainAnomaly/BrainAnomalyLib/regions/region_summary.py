"""How many findings lie where, and how much: by region and by McDonald place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..findings.table import Finding


class Group(NamedTuple):
    """A name that findings have in common, how many have it, and their volume in mL."""

    name: str
    findings: int
    volume_ml: float


def by_region(table: Sequence[Finding]) -> list[Group]:
    """Findings by side and region, the largest volume first; none where regions are not known."""
    return _groups(table, lambda finding: [finding.where] if finding.region else [])


def by_place(table: Sequence[Finding]) -> list[Group]:
    """Findings by McDonald place, the largest volume first; one with two places counts for both."""
    return _groups(table, lambda finding: finding.place.split(", ") if finding.place else [])


def region_summary(table: Sequence[Finding]) -> dict[str, list[dict[str, Any]]]:
    """Both as JSON values."""
    return {
        "by_region": [group._asdict() for group in by_region(table)],
        "by_place": [group._asdict() for group in by_place(table)],
    }


def _groups(table: Sequence[Finding], names: Callable[[Finding], Iterable[str]]) -> list[Group]:
    found: dict[str, list[float]] = {}
    for finding in table:
        for name in names(finding):
            found.setdefault(name, []).append(finding.volume_ml)
    groups = (Group(name, len(volumes), sum(volumes)) for name, volumes in found.items())
    return sorted(groups, key=lambda group: -group.volume_ml)
