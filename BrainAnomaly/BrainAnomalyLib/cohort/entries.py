"""One scan of a cohort, what was left out, and which ones the user wants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..io.volumes import CONTRASTS, Contrast, stem

_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST = 80


@dataclass(frozen=True)
class Entry:
    """A scan to run: a file, or the DICOM ``series`` (UID) in the folder ``scan``.

    ``key`` names its folder of results, as ``subject/session/contrast``; ``extra`` are further columns of a table.
    """

    scan: Path
    subject: str
    session: str = ""
    contrast: Contrast = "unknown"
    mask: Path | None = None
    series: str | None = None
    key: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def group(self) -> tuple[str, str]:
        """Subject and session: what is scanned in one visit is one task."""
        return self.subject, self.session


class LeftOut(NamedTuple):
    """A file or folder that is no scan of the cohort, and why, in a sentence."""

    path: Path
    reason: str


class Cohort(NamedTuple):
    """The scans in the order of their keys, and what was left out."""

    entries: list[Entry]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Selection:
    """Which scans are wanted; an empty tuple wants all. Labels may be given with or without ``sub-`` and ``ses-``."""

    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()

    def reason_against(self, entry: Entry) -> str:
        """Why an entry is not wanted, in a sentence; '' if it is."""
        if not _among(self.subjects, entry.subject, "sub-"):
            return "Its subject was not asked for."
        if not _among(self.sessions, entry.session, "ses-"):
            return "Its session was not asked for."
        if self.contrasts and entry.contrast not in self.contrasts:
            return "Its contrast was not asked for."
        return ""


def selected(cohort: Cohort, wanted: Selection) -> Cohort:
    """The wanted scans with keys of their own; the others are left out with a reason."""
    kept = [entry for entry in cohort.entries if not wanted.reason_against(entry)]
    others = [LeftOut(one.scan, reason) for one in cohort.entries if (reason := wanted.reason_against(one))]
    return Cohort(with_keys(kept), [*cohort.left_out, *others])


def with_keys(entries: Iterable[Entry]) -> list[Entry]:
    """The entries in order, each with a key that no other has and that every file system takes."""
    found = list(entries)
    keys = [_key(entry, _contrast_or_name(entry)) for entry in found]
    taken = Counter(key.casefold() for key in keys)
    keys = [
        _key(entry, stem(entry.scan)) if taken[key.casefold()] > 1 and entry.series is None else key
        for entry, key in zip(found, keys, strict=True)
    ]
    seen: Counter[str] = Counter()
    named = []
    for entry, key in zip(found, keys, strict=True):
        seen[key.casefold()] += 1
        again = seen[key.casefold()]
        named.append(replace(entry, key=key if again == 1 else f"{key}_{again}"))
    return sorted(named, key=lambda entry: entry.key)


def known_contrast(text: str) -> Contrast | None:
    """The contrast of that name in whatever case, ``unknown`` for an empty one, None for another word."""
    if not text.strip():
        return "unknown"
    return next((one for one in (*CONTRASTS, "unknown") if one.lower() == text.strip().lower()), None)


def _contrast_or_name(entry: Entry) -> str:
    return entry.contrast if entry.contrast != "unknown" else stem(entry.scan)


def _key(entry: Entry, name: str) -> str:
    parts = [_safe(part) for part in (entry.subject, entry.session, name) if part]
    return "/".join(parts)


def _safe(text: str) -> str:
    """A name without separators and odd characters, not hidden, not too long."""
    return _UNSAFE.sub("_", text).strip("._")[:_LONGEST] or "unnamed"


def _among(wanted: tuple[str, ...], label: str, prefix: str) -> bool:
    return not wanted or label.removeprefix(prefix) in {one.removeprefix(prefix) for one in wanted}
