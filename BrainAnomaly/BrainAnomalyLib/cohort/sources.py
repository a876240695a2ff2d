"""The scans of a cohort from what the user has: a BIDS data set, any folder, or a table."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from ..errors import DependencyError, OptionsError
from ..io.scan_names import NOT_A_SCAN, NOT_SEARCHED, named_file
from ..io.series_search import find_series
from ..io.volumes import READABLE, Contrast
from .entries import Cohort, Entry, LeftOut, Selection, known_contrast, selected

_COLUMNS = ("subject", "session", "contrast", "path", "mask", "series")
_BIDS_CONTRASTS: dict[str, Contrast] = {
    **{"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "PDw": "PD"},
    **{"PD": "PD", "inplaneT1": "T1w", "inplaneT2": "T2w", "UNIT1": "T1w"},
}


def find_cohort(given: Path, wanted: Selection | None = None) -> Cohort:
    """The wanted scans of a BIDS data set, a folder or a CSV or TSV table, and what was left out and why.

    Raises OptionsError for what is none of these or holds no scan, DependencyError.
    """
    if given.is_dir():
        found = _of_bids(given) if (given / "dataset_description.json").is_file() else _of_folder(given)
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
    files = _files(root)
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


def _files(root: Path) -> list[Path]:
    """Every file below ``root`` in a fixed order, without hidden ones; links to folders are followed once."""
    found, seen = [], set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in NOT_SEARCHED)
        found += [Path(place) / name for name in sorted(names) if name[0] != "."]
    return found


# --- BIDS ------------------------------------------------------------------------------------------------------------


def _of_bids(root: Path) -> Cohort:
    """Anatomical images as pybids finds them; derivatives are not searched."""
    try:
        import bids
    except ImportError as error:
        raise DependencyError(
            "Reading a BIDS data set needs the Python package pybids.", "Install brain-anomaly[cohort]."
        ) from error
    try:
        layout = bids.BIDSLayout(root, validate=True, derivatives=False)
        files = layout.get(datatype="anat", extension=[".nii", ".nii.gz"])
    except Exception as error:  # pybids raises many kinds for broken data sets
        reason = " ".join(str(error).split())
        message = f"The BIDS data set '{root}' cannot be read ({reason})."
        raise OptionsError(message, "Check it with the BIDS validator.") from error
    entries, left_out = [], []
    for file in sorted(files, key=lambda one: one.path):
        entities = file.get_entities()
        reason = _bids_fault(entities, Path(file.path))
        if reason:
            left_out.append(LeftOut(Path(file.path), reason))
        else:
            entries.append(_bids_entry(Path(file.path), entities))
    return Cohort(entries, left_out)


def _bids_fault(entities: dict[str, Any], path: Path) -> str:
    if "ceagent" in entities or "ce" in entities:
        return NOT_A_SCAN["contrast agent"]
    if entities.get("suffix") not in _BIDS_CONTRASTS:
        return f"Images of the kind '{entities.get('suffix')}' are not analysed."
    if entities.get("part") in ("phase", "imag", "real"):
        return "It is no magnitude image."
    return "" if path.exists() else "The file is not there (a link that leads nowhere)."


def _bids_entry(path: Path, entities: dict[str, Any]) -> Entry:
    extra = {name: str(value) for name, value in entities.items() if name in ("acquisition", "run", "reconstruction")}
    return Entry(
        scan=path,
        subject=f"sub-{entities['subject']}",
        session=f"ses-{entities['session']}" if "session" in entities else "",
        contrast=_BIDS_CONTRASTS[entities["suffix"]],
        extra=extra,
    )
