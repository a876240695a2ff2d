"""Healthy cohorts: which scans belong to them and how their subjects are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.io.volumes import Contrast

# The least that can be split into two subjects to train on, one to validate and two to calibrate with.
SMALLEST_COHORT = 5


class CohortError(ScanError):
    """A folder does not hold a cohort that can be used: empty, too few subjects, or several contrasts."""


class OfSubject(Protocol):
    """Anything that belongs to a subject and was made by a scanner."""

    @property
    def subject(self) -> str:
        """Who was scanned."""

    @property
    def scanner(self) -> str:
        """Which scanner, as far as known."""


Member = TypeVar("Member", bound=OfSubject)


@dataclass(frozen=True)
class CohortScan:
    """One healthy scan: subject, scanner, image file, and a label file whose voxels above 0 are brain, if any.

    ``files`` are the slices of a DICOM series, then ``path`` is the folder they lie in; empty for an image file.
    """

    subject: str
    scanner: str
    path: Path
    brain_labels: Path | None = None
    session: str = ""
    contrast: Contrast = "unknown"
    age_years: float | None = None
    files: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """Subject and session, for messages."""
        return f"{self.subject}, {self.session}" if self.session else self.subject


@dataclass(frozen=True)
class SkippedScan:
    """An image that is not used, and why, in a plain sentence; ``accessory`` marks masks and labels."""

    subject: str
    path: Path
    reason: str
    contrast: Contrast = "unknown"
    accessory: bool = False


@dataclass(frozen=True)
class Cohort:
    """Scans found in a folder, ordered by subject, session and path.

    ``contrast`` is the one asked for or the only one that names tell; ``unknown`` leaves it to the intensities.
    """

    folder: Path
    scans: tuple[CohortScan, ...]
    skipped: tuple[SkippedScan, ...]
    contrast: Contrast = "unknown"


def subject_parts(members: Sequence[Member], shares: Sequence[float], seed: int) -> list[list[Member]]:
    """One part for each share, then the rest, each ordered by subject; sessions of a subject stay together.

    Every scanner (that of a subject's first scan) gives its share, rounded; what rounding gives or takes is made up for
    by the next scanners, so that the parts of the whole cohort are right however few subjects each scanner has. A part
    whose share is above 0 gets at least one subject of a cohort that has enough.
    """
    scanner_of: dict[str, str] = {}
    for member in members:
        scanner_of.setdefault(member.subject, member.scanner)
    parts: list[list[str]] = [[] for _ in range(len(shares) + 1)]
    seen = 0
    for scanner in sorted(set(scanner_of.values())):
        subjects = [subject for subject, own in scanner_of.items() if own == scanner]
        order = [subjects[index] for index in np.random.default_rng(seed).permutation(len(subjects))]
        seen += len(order)
        for part, share in zip(parts, shares, strict=False):
            count = max(0, round(share * seen - len(part)))
            part.extend(order[:count])
            del order[:count]
        parts[-1].extend(order)
    _fill_empty(parts, shares)
    of_part = {subject: index for index, part in enumerate(parts) for subject in part}
    ordered = sorted(members, key=lambda member: member.subject)
    return [[member for member in ordered if of_part[member.subject] == index] for index in range(len(parts))]


def _fill_empty(parts: list[list[str]], shares: Sequence[float]) -> None:
    for part, share in zip(parts, shares, strict=False):
        if share > 0 and not part and len(parts[-1]) > 1:
            part.append(parts[-1].pop())


def require_subjects(members: Sequence[OfSubject], needed: int = SMALLEST_COHORT) -> None:
    """Raises CohortError, saying how many are needed, when there are fewer subjects."""
    count = len({member.subject for member in members})
    if count < needed:
        found = "only one healthy subject is" if count == 1 else f"only {count} healthy subjects are"
        raise CohortError(
            f"Training needs scans of at least {needed} subjects, but {found} usable.",
            "Add healthy scans of the same contrast, or mend the scans that were skipped.",
        )
