"""The scans of a cohort from what the user has: a BIDS data set, any folder, or a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..errors import OptionsError
from ..io.file_search import files_below
from ..io.scan_names import NOT_A_SCAN, named_file
from ..io.series_search import find_series
from ..io.volumes import READABLE
from .bids_source import Filters, scans_of_bids
from .entries import Cohort, Entry, LeftOut, Selection, known_contrast, selected

_COLUMNS = ("subject", "session", "contrast", "path", "mask", "series")


def find_cohort(given: Path, wanted: Selection | None = None, filters: Filters | None = None) -> Cohort:
    """The wanted scans of a BIDS data set, a folder or a CSV or TSV table, and what was left out and why.

    ``filters`` are those of a BIDS data set (see ``scans_of_bids``). Raises OptionsError for what is none of these or
    holds no scan.
    """
    if given.is_dir():
        bids = (given / "dataset_description.json").is_file()
        found = scans_of_bids(given, filters) if bids else _of_folder(given)
    elif given.is_file() and given.suffix.lower() in (".csv", ".tsv", ".txt"):
        found = _of_table(given)
    else:
        raise OptionsError(f"'{given}' is no folder and no table.", "Give a folder, a BIDS data set, a CSV or a TSV.")
    cohort = selected(found, wanted or Selection())
    if not cohort.entries:
        why = f" {len(cohort.left_out)} left out: {cohort.left_out[0].reason}" if cohort.left_out else ""
        raise OptionsError(f"'{given}' holds no scan that was asked for.{why}", "See --dry-run.")
    return cohort


# --- Tables ----------------------------------------------------------------------------------------------------------


def _of_table(path: Path) -> Cohort:
    """Columns subject, session, contrast, path, mask, series; only ``path`` must be there, others are kept."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"The table '{path}' cannot be read.", "Save it as CSV in UTF-8.") from error
    first = text.split("\n", 1)[0]
    delimiter = max(("\t", ";", ","), key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
    if "path" not in names:
        raise OptionsError(f"The table '{path}' has no column 'path'.", f"Its columns: {', '.join(_COLUMNS)}.")
    entries, left_out = [], []
    for row in reader:
        values = {name: str(row.get(column) or "").strip() for name, column in names.items()}
        entry = _row_entry(values, path.parent)
        if isinstance(entry, LeftOut):
            left_out.append(entry)
        else:
            entries.append(entry)
    return Cohort(entries, left_out)


def _row_entry(values: dict[str, str], home: Path) -> Entry | LeftOut:
    scan = home / values["path"]
    contrast = known_contrast(values.get("contrast", ""))
    mask = home / values["mask"] if values.get("mask") else None
    if not values["path"]:
        return LeftOut(home, "A row of the table names no path.")
    if contrast is None:
        return LeftOut(scan, f"Its contrast '{values['contrast']}' is not known.")
    if not scan.exists():
        return LeftOut(scan, "There is no such file or folder.")
    if mask is not None and not mask.is_file():
        return LeftOut(scan, f"There is no mask '{mask}'.")
    return Entry(
        scan=scan,
        subject=values.get("subject") or named_file(scan, scan.parent).name or scan.stem,
        session=values.get("session", ""),
        contrast=contrast,
        mask=mask,
        series=values.get("series") or None,
        extra={name: value for name, value in values.items() if name not in _COLUMNS},
    )


# --- Folders ---------------------------------------------------------------------------------------------------------


def _of_folder(root: Path) -> Cohort:
    files = files_below(root)
    images = [path for path in files if path.name.lower().endswith(READABLE)]
    entries, left_out = [], []
    for path in images:
        one = named_file(path, root)
        if one.kind != "scan":
            left_out.append(LeftOut(path, NOT_A_SCAN[one.kind]))
            continue
        place = one.home.relative_to(root).as_posix() if one.home != root else ""
        entries.append(Entry(path, one.name or place or path.stem, one.session, one.contrast))
    known = set(images)
    for series in find_series([path for path in files if path not in known], root):
        spread = any(path.parent != series.folder for path in series.files)
        fault = series.fault or ("Its images lie in several folders." if spread else "")
        if fault:
            left_out.append(LeftOut(series.folder, fault))
        else:
            entries.append(Entry(series.folder, series.subject, series.session, series.contrast, series=series.uid))
    return Cohort(entries, left_out)
