"""The columns of a findings table as people read it; one that says nothing about any finding is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .table import Finding


class Column(NamedTuple):
    """``name`` is the attribute of a ``Finding``, ``title`` its heading, ``text`` makes a cell of a value.

    A column ``for_all`` is shown even where it is empty.
    """

    name: str
    title: str
    text: Callable[[Any], str] = str
    for_all: bool = False


def _point(point: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in point)


def _number(value: float) -> str:
    return f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _percent(value: float) -> str:
    return f"{value:+.0f}"


def _rejected(review: str) -> str:
    return review if review == "rejected" else ""


def _millimeters(value: float) -> str:
    return f"{value:.0f}"


COLUMNS = (
    Column("id", "Finding", for_all=True),
    Column("where", "Where"),
    Column("tissue", "Tissue"),
    Column("place", "Place (McDonald)"),
    Column("volume_ml", "Volume (mL)", _number, for_all=True),
    Column("looks", "Looks"),
    # Findings of several contrasts and of a follow-up say these; others have no such attribute.
    Column("contrasts", "Seen on"),
    Column("change", "Change"),
    Column("change_ml", "Change (mL)", _signed),
    Column("change_percent", "Change (%)", _percent),
    Column("peak", "Peak", _number, for_all=True),
    Column("mean", "Mean", _number, for_all=True),
    Column("ventricle_mm", "To ventricle (mm)", _millimeters),
    Column("cortex_mm", "To cortex (mm)", _millimeters),
    Column("centroid_ras", "Center R, A, S (mm)", _point, for_all=True),
    Column("centroid_template", "Template x, y, z (mm)", _point, for_all=True),
    # What a reader says.
    Column("review", "Review", _rejected),
    Column("comment", "Comment"),
)


def shown_columns(table: Sequence[Finding], names: Sequence[str] = ()) -> tuple[Column, ...]:
    """The columns that say something about these findings; only those of ``names`` where some are given."""
    asked = [column for column in COLUMNS if not names or column.name in names]
    return tuple(column for column in asked if column.for_all or any(_is_known(row, column) for row in table))


def cells(finding: Finding, columns: Sequence[Column]) -> tuple[str, ...]:
    """The texts of one row; "" for what is not known."""
    return tuple(_text(finding, column) for column in columns)


def _text(finding: Finding, column: Column) -> str:
    value: Any = getattr(finding, column.name, None)
    return "" if value is None else column.text(value)


def _is_known(finding: Finding, column: Column) -> bool:
    return _text(finding, column) != ""
