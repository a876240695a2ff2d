"""Cohorts with known lesions: a CSV file, or a folder in which the truth lies beside each scan."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..errors import OptionsError
from ..io.geometry import MaskArray
from ..io.volumes import READABLE, Contrast, Scan, read_mask, stem

_COLUMNS = ("scan", "truth", "subject", "contrast", "mask", "group")
_TRUTH = re.compile(r"(lesions?|seg|gt|truth|consensus|label|roi)(?=[_.-]|$)|_mask$", re.IGNORECASE)
_BRAIN = re.compile(r"brain_?mask", re.IGNORECASE)
_CONTRASTS: tuple[tuple[str, Contrast], ...] = (("flair", "FLAIR"), ("t1", "T1w"), ("t2", "T2w"), ("pd", "PD"))


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

    In a folder, a truth has the name of its scan's subject and a word like lesion, seg or gt in it. Raises
    OptionsError for what cannot be used, with what is missing.
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


def _from_folder(folder: Path) -> list[Case]:
    images = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(READABLE))
    truths = [path for path in images if _TRUTH.search(stem(path)) and not _BRAIN.search(stem(path))]
    scans = [path for path in images if path not in truths and not re.search(r"mask", stem(path), re.IGNORECASE)]
    return [Case(scan, _truth_of(scan, truths), _subject(scan), contrast_of_name(scan)) for scan in scans]


def _truth_of(scan: Path, truths: list[Path]) -> Path | None:
    """The truth with the longest beginning in common, among those of the same subject."""
    own = [truth for truth in truths if _subject(truth) == _subject(scan)]
    return max(own, key=lambda truth: (_common(scan, truth), -len(truth.name)), default=None)


def _common(one: Path, other: Path) -> int:
    pairs = zip(one.name, other.name, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one.name), len(other.name)))


def contrast_of_name(path: Path) -> Contrast:
    """The contrast that a file's name tells."""
    name = stem(path).lower()
    return next((contrast for word, contrast in _CONTRASTS if word in name), "unknown")


def _subject(path: Path) -> str:
    """What stands before the first underscore: ``sub-01`` of ``sub-01_FLAIR.nii.gz``."""
    return stem(path).split("_")[0]
