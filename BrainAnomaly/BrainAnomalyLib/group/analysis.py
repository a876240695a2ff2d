"""The whole group level: from a cohort's folder to tables, maps, pictures and one page in ``group/``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OptionsError
from ..io.geometry import FloatArray
from ..io.volumes import write_volume
from ..preparation.space.grids import grid_named
from ..service.workplace import writing
from .burden import summary_rows
from .frequency import GRID, draw_map, frequency_map
from .group_comparison import Split, burden_rows, split, voxel_comparison
from .group_page import PAGE, write_group_page
from .outlying import OUTLIER_COLUMNS, outlier_rows
from .scan_selection import GroupScans, group_scans

_OWN = ("frequency_*", "comparison*", "summary.csv", "outliers.csv", "left_out.csv", PAGE)


@dataclass(frozen=True)
class GroupOptions:
    """``decisions`` and ``participants`` as of ``group_scans``; ``compare`` a column that makes two ``groups``."""

    decisions: Path | None = None
    participants: Path | None = None
    compare: str | None = None
    groups: tuple[str, ...] = ()
    permutations: int = 5000
    seed: int = 0


@dataclass
class GroupResult:
    """What was found: tables as rows, pictures by their file's name and title, and what the reader must know."""

    folder: Path
    scans: GroupScans
    summary: list[dict[str, Any]] = field(default_factory=list)
    outliers: list[dict[str, Any]] = field(default_factory=list)
    comparison: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def analyse_group(out: Path, options: GroupOptions | None = None) -> GroupResult:
    """Analyse the cohort in ``out`` and write everything to ``out/group``. Raises OptionsError, OutputError."""
    options = options or GroupOptions()
    if options.permutations < 1:
        raise OptionsError("There must be at least one permutation.", "Leave --permutations out.")
    scans = group_scans(out, options.decisions, options.participants)
    result = GroupResult(out / "group", scans, notes=list(scans.notes))
    groups = _groups(result, options)
    result.summary = summary_rows(scans.table, options.seed)
    result.outliers = outlier_rows(scans.table)
    with writing(result.folder):
        result.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=result.folder) as scratch:
            _fill(Path(scratch), out, result, groups, options)
            _put(Path(scratch), result.folder)
    return result


def _put(fresh: Path, folder: Path) -> None:
    """Put the new files in the place of those of an earlier analysis, the page last; others of the user's stay."""
    names = {path.name for path in fresh.iterdir()}
    for old in {path for pattern in _OWN for path in folder.glob(pattern)}:
        if old.name not in names:
            old.unlink()
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == PAGE):
        path.replace(folder / path.name)


def _fill(folder: Path, out: Path, result: GroupResult, groups: dict[str, Split], options: GroupOptions) -> None:
    for contrast, scans in result.scans.table.groupby("contrast", sort=True):
        _map(folder, result, frequency_map(out, scans), f"frequency_{contrast}", f"{contrast}: {_people(scans)}")
        if contrast in groups:
            _compare(folder, out, groups[contrast], contrast, result, options)
    _write_table(folder / "summary.csv", result.summary)
    _write_table(folder / "outliers.csv", result.outliers, OUTLIER_COLUMNS)
    left_out = [{"key": key, "reason": why} for key, why in result.scans.left_out]
    _write_table(folder / "left_out.csv", left_out, ("key", "reason"))
    if result.comparison:
        _write_table(folder / "comparison.csv", result.comparison)
    write_group_page(folder / PAGE, result)


def _groups(result: GroupResult, options: GroupOptions) -> dict[str, Split]:
    """The two groups of each contrast that has them; others are noted. Raises OptionsError if none has."""
    if options.compare is None:
        return {}
    found: dict[str, Split] = {}
    for contrast, scans in result.scans.table.groupby("contrast", sort=True):
        try:
            found[contrast] = split(scans, options.compare, options.groups)
        except OptionsError as error:
            result.notes.append(f"{contrast}: {error.message}")
            if not found and contrast == result.scans.table["contrast"].max():
                raise
    return found


def _compare(folder: Path, out: Path, groups: Split, contrast: str, result: GroupResult, options: GroupOptions) -> None:
    rows = burden_rows(groups, options.permutations, options.seed)
    result.comparison += [{"contrast": contrast, "column": options.compare, **row} for row in rows]
    found = voxel_comparison(out, groups, frequency_map(out, groups.scans), options.permutations, options.seed)
    if found is None:
        result.notes.append(f"{contrast}: too few subjects have findings at one place to compare places.")
        return
    write_volume(folder / f"comparison_{contrast}_p.nii.gz", found.corrected, grid_named(GRID))
    smallest = float(found.corrected.min())
    title = f"{contrast}: {groups.names[0]} minus {groups.names[1]}, smallest corrected p {smallest:.2g}"
    _map(folder, result, found.z, f"comparison_{contrast}_z", f"{title} of {found.tested} voxels", "z", True)


def _map(
    folder: Path,
    result: GroupResult,
    values: FloatArray,
    name: str,
    title: str,
    unit: str = "part of subjects with a finding",
    signed: bool = False,
) -> None:
    """Write a map and its picture."""
    write_volume(folder / f"{name}.nii.gz", values, grid_named(GRID))
    draw_map(values, folder / f"{name}.png", title, unit, signed)
    result.pictures[f"{name}.png"] = title


def _people(scans: Any) -> str:
    count = scans["subject"].nunique()
    return f"{count} subject{'' if count == 1 else 's'}"


def _write_table(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    """``columns`` are those of a table that may have no row."""
    import pandas

    pandas.DataFrame(rows, columns=columns).to_csv(path, index=False)
