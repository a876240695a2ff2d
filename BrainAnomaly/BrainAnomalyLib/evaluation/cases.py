"""Cohorts with known lesions: a CSV file, or a folder in which the truth lies beside each scan."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..errors import OptionsError
from ..io.geometry import MaskArray
from ..io.scan_names import NamedFile, named_file
from ..io.volumes import READABLE, Contrast, Scan, read_mask, stem

_COLUMNS = ("scan", "truth", "subject", "contrast", "mask", "group")
# Files of nnU-Net: the number of the channel ends a scan's name, and the mask has the name without it.
_CHANNEL = re.compile(r"(.*\d.*)_\d{4}")
_MOST_LISTED = 10


@dataclass(frozen=True)
class Case:
    """One scan of a cohort; ``truth`` is None for a healthy scan, ``mask`` an optional brain mask."""

    scan: Path
    truth: Path | None
    subject: str
    contrast: Contrast = "unknown"
    mask: Path | None = None
    group: str = ""


def find_cases(place: Path, healthy_without_truth: bool = False) -> list[Case]:
    """The cases of a CSV file (columns scan, truth, subject, contrast, mask, group; paths relative to it) or folder.

    In a folder, a truth has the name of its scan's subject and a word like lesion, seg or gt in it, or lies in a folder
    of such a name. Raises OptionsError for what cannot be used, with what is missing, and with a list of the scans for
    which names leave open which truth is theirs.
    """
    if place.is_file():
        cases = _from_table(place)
    elif place.is_dir():
        cases = _from_folder(place)
    else:
        raise OptionsError(f"There is no folder or table '{place}'.")
    if not cases:
        raise OptionsError(
            f"'{place}' holds no scan that can be evaluated.", "Give images, or a CSV file with a column 'scan'."
        )
    twice = {case.scan for case in cases if sum(other.scan == case.scan for other in cases) > 1}
    if twice:
        raise OptionsError(f"The scan '{min(twice).name}' is named twice.", "Name every scan once.")
    bare = [case.scan.name for case in cases if case.truth is None]
    if bare and not healthy_without_truth:
        raise OptionsError(
            f"{len(bare)} scans have no truth, for example '{bare[0]}'.",
            "Add --without-truth healthy if they are healthy, or put a lesion mask beside each.",
        )
    return cases


def read_truth(path: Path, scan: Scan) -> MaskArray:
    """Voxels above 0 of a lesion mask, which may be empty, on the grid of its scan. Raises ScanError on another."""
    return read_mask(path, scan, may_be_empty=True)


def _from_table(table: Path) -> list[Case]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeError, csv.Error) as error:
        raise OptionsError(f"'{table.name}' cannot be read as a table.", "Give a CSV file in UTF-8.") from error
    if "scan" not in columns or not set(columns) <= set(_COLUMNS):
        raise OptionsError(f"'{table.name}' needs a column 'scan' and may have {', '.join(_COLUMNS[1:])}.")
    return [_case(row, table.parent, line) for line, row in enumerate(rows, start=2)]


def _case(row: dict[str, str | None], folder: Path, line: int) -> Case:
    values = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    paths = {name: folder / values[name] if values[name] else None for name in ("scan", "truth", "mask")}
    scan = paths["scan"]
    if scan is None:
        raise OptionsError(f"Line {line} of the table names no scan.", "Fill in the column 'scan', or drop the line.")
    if values["contrast"] and values["contrast"] not in get_args(Contrast):
        raise OptionsError(f"Line {line} of the table has an unknown contrast '{values['contrast']}'.")
    contrast: Contrast = values["contrast"] or "unknown"  # type: ignore[assignment]
    subject = values["subject"] or stem(scan)
    return Case(scan, paths["truth"], subject, contrast, paths["mask"], values["group"])


@dataclass(frozen=True)
class _Member:
    """A file of a folder, and its subject's name in small letters."""

    file: NamedFile
    name: str


def _from_folder(folder: Path) -> list[Case]:
    images = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(READABLE))
    scans, truths = _members([named_file(path, folder) for path in images], folder)
    pairs = [(scan, _truths_of(scan, scans, truths)) for scan in scans]
    _require_clear(pairs, truths, folder)
    subjects = _subjects(scans, folder)
    return [
        Case(scan.file.path, found[0].path if found else None, subject, scan.file.contrast)
        for (scan, found), subject in zip(pairs, subjects, strict=True)
    ]


def _members(files: list[NamedFile], root: Path) -> tuple[list[_Member], list[_Member]]:
    """Scans and truths. A scan's channel number is no part of its name where there is a mask without it."""
    images = [file for file in files if file.kind in ("scan", "contrast agent") and not file.may_be_truth]
    channels = {(file.home, found[1]) for file in images if (found := _CHANNEL.fullmatch(file.name))}
    plain = [file for file in images if (file.home, file.name) in channels and stem(file.path) == file.name]
    truths = [_member(file, root) for file in files if file.may_be_truth or file in plain]
    names = {truth.name for truth in truths}
    scans = [_member(file, root) for file in images if file not in plain]
    return [_without_channel(scan, names) for scan in scans], truths


def _member(file: NamedFile, root: Path) -> _Member:
    name = file.name or (file.home.name if file.home != root else "")
    return _Member(file, name.casefold())


def _without_channel(scan: _Member, names: set[str]) -> _Member:
    found = _CHANNEL.fullmatch(scan.name)
    return _Member(scan.file, found[1]) if found and found[1] in names and scan.name not in names else scan


def _truths_of(scan: _Member, scans: list[_Member], truths: list[_Member]) -> list[NamedFile]:
    """The truths that may be this scan's; one if names leave no doubt, none if there is none of its subject.

    Where none is certain, the scan itself stands first among them.
    """
    alike = [other.file for other in scans if other.name == scan.name]
    every = [truth.file for truth in truths if truth.name == scan.name]
    own = [truth for truth in every if truth.home == scan.file.home]
    if not own and len({other.home for other in alike}) == 1:
        own = every
    fitting = [truth for truth in own if truth.session == scan.file.session]
    if not fitting and len({other.session for other in alike}) == 1:
        fitting = [truth for truth in own if not truth.session]
    return _closest(scan.file, fitting) if fitting or not every else [scan.file, *every]


def _closest(scan: NamedFile, truths: list[NamedFile]) -> list[NamedFile]:
    """Those that are lesions by name, and of these the ones of the scan's contrast, else of none."""
    truths = [truth for truth in truths if truth.kind == "lesion"] or truths
    same = [truth for truth in truths if truth.contrast == scan.contrast]
    return same or [truth for truth in truths if truth.contrast == "unknown"] or truths


def _require_clear(pairs: list[tuple[_Member, list[NamedFile]]], truths: list[_Member], root: Path) -> None:
    """Raise OptionsError where more than one truth may be a scan's, or a scan has none and a truth no scan."""
    names = {scan.name for scan, _ in pairs}
    stray = [_shown(truth.file.path, root) for truth in truths if truth.name not in names]
    bare = [_shown(scan.file.path, root) for scan, found in pairs if not found]
    told = [
        f"'{_shown(scan.file.path, root)}' ({_some([_shown(one.path, root) for one in found if one != scan.file])})"
        for scan, found in pairs
        if len(found) > 1
    ]
    if bare and stray:
        told.append(f"no mask has the name of {_some(bare)}, and no scan that of {_some(stray)}")
    if told:
        raise OptionsError(
            f"Names leave open which lesion mask belongs to which scan: {_some(told, '; ')}.",
            "Rename the files, or give a CSV file with the columns scan and truth.",
        )


def _some(names: list[str], between: str = ", ") -> str:
    more = [f"{len(names) - _MOST_LISTED} more"] if len(names) > _MOST_LISTED else []
    return between.join(names[:_MOST_LISTED] + more)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _subjects(scans: list[_Member], root: Path) -> list[str]:
    """A name for each scan's subject, with its folder where several folders hold a subject of that name."""
    homes: dict[str, set[Path]] = {}
    for scan in scans:
        homes.setdefault(scan.name, set()).add(scan.file.home)
    return [_subject(scan, len(homes[scan.name]) > 1, root) for scan in scans]


def _subject(scan: _Member, shared: bool, root: Path) -> str:
    file = scan.file
    name = file.name or (file.home.name if file.home != root else file.session or root.resolve().name)
    if file.name.casefold() != scan.name and file.name:
        name = file.name[: len(scan.name)]
    place = _shown(file.home, root)
    return name if not shared or place in (".", name) else f"{place}/{name}"
