"""Typed columns of a table node, written in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import slicer
import vtk

from .links import TableNode

ColumnType = Literal["integer", "real", "text"]
_ARRAYS = {"integer": vtk.vtkIntArray, "real": vtk.vtkDoubleArray, "text": vtk.vtkStringArray}


@dataclass(frozen=True)
class Column:
    """A column: ``name`` for scripts and files, ``title`` for the header, ``unit`` of its values, its type."""

    name: str
    title: str
    type: ColumnType
    unit: str = ""
    description: str = ""


def write_table(node: TableNode, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Replace the whole content of ``node``; types and titles are set even when there are no rows."""
    with slicer.util.NodeModify(node):
        node.RemoveAllColumns()
        for index, column in enumerate(columns):
            _add_column(node, column, [row[index] for row in rows])
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)


def _add_column(node: TableNode, column: Column, values: list[object]) -> None:
    array = _ARRAYS[column.type]()
    array.SetName(column.name)
    array.SetNumberOfValues(len(values))
    for row, value in enumerate(values):
        array.SetValue(row, value)
    node.AddColumn(array)
    node.SetColumnTitle(column.name, column.title)
    node.SetColumnUnitLabel(column.name, column.unit)
    node.SetColumnDescription(column.name, column.description)
