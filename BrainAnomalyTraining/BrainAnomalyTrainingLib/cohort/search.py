"""Finding healthy scans in a folder: BIDS, flat files, one folder for each subject, or DICOM series."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.file_search import files_below
from BrainAnomalyLib.io.scan_names import NOT_A_SCAN, NamedFile, contrast_of_words, named_file
from BrainAnomalyLib.io.series_search import FoundSeries, find_series, scanner_name
from BrainAnomalyLib.io.volumes import CONTRASTS, READABLE, Contrast, stem
from BrainAnomalyLib.resources import sha256

from .cohort import Cohort, CohortError, CohortScan, SkippedScan

_NOT_DICOM = {".json", ".tsv", ".csv", ".txt", ".md", ".bval", ".bvec", ".png", ".jpg", ".pdf", ".zip", ".raw", ".img"}
_FREESURFER_ORDER = ("T1", "orig", "rawavg", "nu", "orig_nu", "norm", "brain", "brainmask")
_SCAN_OF_IXI = re.compile(r"IXI\d{3}-([A-Za-z]+)-\d+")
_UNKNOWN: Contrast = "unknown"


def find_scans(folder: Path, contrast: Contrast | None = None) -> Cohort:
    """The scans in ``folder`` and below, and what was passed over and why.

    A subject is a ``sub-*`` label, else what is left of the file name without words on contrast and processing, else
    its folder. Equal names under different data sets are different subjects. A subject with a lesion mask is not
    healthy and is skipped; so are repeats of one contrast in a session and files with equal content. Folders named
    ``derivatives`` or ``sourcedata`` are not searched.

    Raises CohortError for a folder without scans and, when no ``contrast`` is given, for one with several contrasts.
    """
    _check(folder, contrast)
    files = files_below(folder)
    images = [path for path in files if path.name.lower().endswith(READABLE)]
    named, doubles = _without_freesurfer_doubles([named_file(path, folder) for path in images])
    scans, skipped = _scans_of(named, folder)
    readable = set(images)
    rest = [path for path in files if path not in readable and path.suffix.lower() not in _NOT_DICOM]
    series, unfit = _of_series(find_series(rest, folder))
    found, unhealthy = _without_lesions([*scans, *series], named, folder)
    kept, repeats = _without_repeats(sorted(found, key=_order))
    chosen, others = _of_contrast(kept, contrast, folder)
    every = sorted([*doubles, *skipped, *unfit, *unhealthy, *repeats, *others[1]], key=lambda one: str(one.path))
    if not chosen:
        raise _nothing_found(folder, every)
    return Cohort(folder, tuple(chosen), tuple(every), others[0])


def _check(folder: Path, contrast: Contrast | None) -> None:
    if not folder.is_dir():
        raise CohortError(f"There is no folder '{folder}'.", "Give the folder that holds the healthy scans.")
    if contrast is not None and contrast not in CONTRASTS:
        raise OptionsError(f"There is no contrast named '{contrast}'.", f"Choose one of {', '.join(CONTRASTS)}.")


def _nothing_found(folder: Path, skipped: list[SkippedScan]) -> CohortError:
    counts = Counter(one.reason for one in skipped if one.reason != NOT_A_SCAN["brain mask"])
    why = " ".join(f"{count} skipped: {reason}" for reason, count in counts.most_common(3))
    return CohortError(
        f"The folder '{folder}' holds no healthy scan that can be used. {why}".strip(),
        f"Give a folder with scans ({', '.join(READABLE)}, or DICOM series), in BIDS layout or any other.",
    )


def _order(scan: CohortScan) -> tuple[str, str, str]:
    return scan.subject, scan.session, str(scan.path)


def _without_freesurfer_doubles(named: list[NamedFile]) -> tuple[list[NamedFile], list[SkippedScan]]:
    """FreeSurfer keeps a scan in many stages in one folder ``mri``: the first of ``_FREESURFER_ORDER`` is taken."""
    kept, skipped = [], []
    best: dict[Path, int] = {}
    for one in named:
        if _is_freesurfer(one):
            rank = _rank(one)
            best[one.path.parent] = min(best.get(one.path.parent, rank), rank)
    for one in named:
        if _is_freesurfer(one) and one.kind == "scan" and _rank(one) != best[one.path.parent]:
            skipped.append(SkippedScan(one.home.name, one.path, "FreeSurfer keeps this scan in another stage as well."))
        else:
            kept.append(replace(one, name="") if _is_freesurfer(one) else one)
    return kept, skipped


def _is_freesurfer(one: NamedFile) -> bool:
    return one.path.parent.name == "mri" and one.path.suffix.lower() in (".mgz", ".mgh")


def _rank(one: NamedFile) -> int:
    name = stem(one.path)
    return _FREESURFER_ORDER.index(name) if name in _FREESURFER_ORDER else len(_FREESURFER_ORDER)


def _scans_of(named: list[NamedFile], root: Path) -> tuple[list[CohortScan], list[SkippedScan]]:
    subjects = _subjects(named, root)
    masks = _brain_masks(named, subjects)
    ages: dict[Path, dict[str, float]] = {}
    scans, skipped = [], []
    for one in named:
        subject = subjects[one.path]
        sidecar = _sidecar(one.path)
        described = " ".join(str(sidecar.get(key, "")) for key in ("ProtocolName", "SeriesDescription"))
        contrast = one.contrast if one.contrast != "unknown" else contrast_of_words(described)
        if one.kind != "scan":
            accessory = one.kind in ("brain mask", "labels", "lesion")
            skipped.append(SkippedScan(subject, one.path, NOT_A_SCAN[one.kind], contrast, accessory))
            continue
        table = ages[one.home] if one.home in ages else ages.setdefault(one.home, _ages_above(one.home, root))
        scanner = scanner_name(sidecar, "Manufacturer", "ManufacturersModelName") or _scanner_folder(one, subject, root)
        age = table.get(subject, table.get(one.name))
        mask = _nearest(masks.get((one.path.parent, subject), ()), one.path)
        scans.append(CohortScan(subject, scanner, one.path, mask, one.session, contrast, age))
    return scans, skipped


def _of_series(found: list[FoundSeries]) -> tuple[list[CohortScan], list[SkippedScan]]:
    unfit = [SkippedScan(one.subject, one.folder, one.fault, one.contrast) for one in found if one.fault]
    return [
        CohortScan(
            subject=one.subject,
            scanner=one.scanner,
            path=one.folder,
            session=one.session,
            contrast=one.contrast,
            age_years=one.age_years,
            files=one.files,
        )
        for one in found
        if not one.fault
    ], unfit


def _subjects(named: list[NamedFile], root: Path) -> dict[Path, str]:
    """Path to subject; a name that several homes use is told apart by the home's own name."""
    homes: dict[str, set[Path]] = defaultdict(set)
    names: dict[Path, set[str]] = defaultdict(set)
    for one in named:
        if one.name and one.kind == "scan":
            homes[one.name].add(one.home)
            names[one.home].add(one.name)
    return {one.path: _subject(one, root, homes, names) for one in named}


def _subject(one: NamedFile, root: Path, homes: dict[str, set[Path]], names: dict[Path, set[str]]) -> str:
    place = one.home.relative_to(root).as_posix() if one.home != root else ""
    if not one.name:
        return place or (next(iter(names[root])) if len(names[root]) == 1 else stem(one.path))
    if len(homes.get(one.name, ())) < 2 or not place:
        return one.name
    return place if len(names.get(one.home, ())) == 1 else f"{place}/{one.name}"


def _brain_masks(named: list[NamedFile], subjects: dict[Path, str]) -> dict[tuple[Path, str], list[Path]]:
    masks: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for one in named:
        if one.kind == "brain mask":
            masks[one.path.parent, subjects[one.path]].append(one.path)
    return masks


def _nearest(masks: Iterable[Path], scan: Path) -> Path | None:
    """The mask whose name shares the longest beginning with the scan's, so that each contrast gets its own."""
    return max(masks, key=lambda mask: _shared_beginning(mask.name, scan.name), default=None)


def _shared_beginning(first: str, second: str) -> int:
    return next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), len(first))


def _sidecar(path: Path) -> dict[str, Any]:
    """The BIDS description beside a scan; empty if there is none that can be read."""
    try:
        content = json.loads((path.parent / f"{stem(path)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _scanner_folder(one: NamedFile, subject: str, root: Path) -> str:
    """The scanner as far as folders tell it: that of IXI in its names, else the site's or the data set's folder."""
    ixi = _SCAN_OF_IXI.match(subject)
    if ixi is not None:
        return f"IXI-{ixi[1]}"
    own = one.home != root and (not one.name or one.home.name in (subject, one.name))
    return (one.home.parent if own else one.home).resolve().name


def _ages_above(home: Path, root: Path) -> dict[str, float]:
    """Ages of the participants tables from ``root`` down to ``home``; the nearest counts."""
    folders = [root.joinpath(*home.relative_to(root).parts[:depth]) for depth in range(len(home.parts))]
    return {subject: age for folder in dict.fromkeys(folders) for subject, age in _ages(folder).items()}


def _ages(folder: Path) -> dict[str, float]:
    """Subject to age in years from the participants table of a BIDS data set."""
    try:
        with (folder / "participants.tsv").open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, ValueError, csv.Error):
        return {}
    found = {}
    for row in rows:
        values = {str(key).lower(): value for key, value in row.items()}
        subject = values.get("participant_id") or next(iter(values.values()), None)
        text = next((value for key, value in values.items() if key.startswith("age")), None)
        try:
            found[str(subject)] = float(str(text).strip().rstrip("+"))
        except ValueError:
            continue
    return found


def _without_lesions(
    scans: list[CohortScan], named: list[NamedFile], root: Path
) -> tuple[list[CohortScan], list[SkippedScan]]:
    subjects = _subjects(named, root)
    scanned = {subjects[one.path] for one in named if one.kind == "scan"} | {scan.subject for scan in scans}
    lesions: dict[str, str] = {}
    for one in named:
        if one.kind == "lesion":
            namesakes = [subjects[other.path] for other in named if other.kind == "scan" and other.name == one.name]
            own = subjects[one.path]
            lesions |= dict.fromkeys([own] if own in scanned else namesakes, one.path.name)
    kept = [scan for scan in scans if scan.subject not in lesions]
    reason = "It is not healthy: the lesion mask '{}' belongs to it.".format
    return kept, [
        SkippedScan(scan.subject, scan.path, reason(lesions[scan.subject]), scan.contrast)
        for scan in scans
        if scan.subject in lesions
    ]


def _without_repeats(scans: list[CohortScan]) -> tuple[list[CohortScan], list[SkippedScan]]:
    """The first of those with one subject, session and contrast, and the first of those with equal content."""
    kept: list[CohortScan] = []
    skipped = []
    used: dict[tuple[str, str, str], CohortScan] = {}
    seen: dict[str, CohortScan] = {}
    contents = _equal_contents(scans)
    for scan in scans:
        content = contents.get(scan.path, "")
        key = (scan.subject, scan.session, scan.contrast)
        if content in seen:
            twin = seen[content]
            skipped.append(_skip(scan, f"It is the same file as '{twin.path.name}' of {twin.title}."))
        elif key in used:
            skipped.append(_skip(scan, f"A second scan of {scan.title}: '{used[key].path.name}' is used."))
        else:
            used[key] = scan
            kept.append(scan)
            seen |= {content: scan} if content else {}
    return kept, skipped


def _skip(scan: CohortScan, reason: str) -> SkippedScan:
    return SkippedScan(scan.subject, scan.path, reason, scan.contrast)


def _equal_contents(scans: list[CohortScan]) -> dict[Path, str]:
    """Path to the SHA-256 of files that share their size with another; the others cannot be equal to any."""
    sizes = {scan.path: _size(scan.path) for scan in scans if not scan.files}
    shared = {size for size, count in Counter(sizes.values()).items() if count > 1 and size > 0}
    return {path: _digest(path) for path, size in sizes.items() if size in shared}


def _size(path: Path) -> int:
    """Bytes of a file, 0 for one that cannot be reached (a link to a file that is not there)."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> str:
    """SHA-256 of a file, '' if it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _of_contrast(
    scans: list[CohortScan], asked: Contrast | None, folder: Path
) -> tuple[list[CohortScan], tuple[Contrast, list[SkippedScan]]]:
    """Scans of the wanted contrast or of none told yet; the contrast; and the others."""
    counts: Counter[Contrast] = Counter(scan.contrast for scan in scans if scan.contrast != "unknown")
    if asked is None and len(counts) > 1:
        raise several_contrasts(folder, counts)
    wanted = asked if asked is not None else next(iter(counts), _UNKNOWN)
    fitting = [scan for scan in scans if scan.contrast in (wanted, "unknown")]
    others = [scan for scan in scans if scan.contrast not in (wanted, "unknown")]
    return fitting, (wanted, [_skip(scan, f"It is {scan.contrast}, not {wanted}.") for scan in others])


def several_contrasts(folder: Path, counts: Counter[Contrast]) -> CohortError:
    """The refusal to mix contrasts, with how many scans there are of each."""
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return CohortError(
        f"The folder '{folder}' holds scans of several contrasts: {listed}.",
        f"Choose one, for example --contrast {counts.most_common(1)[0][0]}.",
    )
