"""The first stage of every training: find the scans, check them, and have each prepared in the cache."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from BrainAnomalyLib.devices import available_processors
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyLib.io.volumes import Contrast
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.quality import Verdict
from BrainAnomalyLib.service.workplace import write_json

from ..cohort.cohort import Cohort, CohortScan, SkippedScan, require_subjects
from ..cohort.search import find_scans, several_contrasts
from ..run.run_folder import PICTURES, RunFolder
from .cached_scans import CachedScan, CacheOutcome, CacheTask, Status, cache_scan, open_cached, remove_leftovers
from .worker_pool import run_tasks

COHORT_FILE = "cohort.json"
_SURE_CONTRAST = 0.7
_MOST_WORKERS = 16
_DIED = "Its worker process was ended twice, most likely for lack of memory."


@dataclass(frozen=True)
class ScanReport:
    """What became of one scan, as the ``scan`` event tells it; ``reason`` is empty if all is well."""

    scan: CohortScan
    status: Status
    reason: str = ""
    cached: CachedScan | None = None
    picture: str | None = None
    registration: Verdict | None = None

    def event(self) -> dict[str, Any]:
        """The entries of the event."""
        cached = self.cached
        return {
            "subject": self.scan.subject,
            "session": self.scan.session,
            "path": self.scan.path,
            "status": self.status,
            "reason": self.reason,
            "contrast": cached.contrast if cached else self.scan.contrast,
            "spacing_mm": cached.spacing_mm if cached else None,
            "shape": cached.shape if cached else None,
            "brain_ml": cached.brain_ml if cached else None,
            "registration": self.registration,
            "thumbnail": f"{PICTURES}/{self.picture}" if self.picture else None,
        }


def prepare_cohort(
    folder: Path,
    recipe: Recipe,
    run: RunFolder,
    cache: Path,
    contrast: Contrast | None = None,
    exclude: Iterable[str] = (),
    workers: int | None = None,
    needed: int = 1,
) -> list[CachedScan]:
    """The usable scans of ``folder``, each prepared once in ``cache``, ordered by subject and session.

    Every scan is told to ``run`` as it is finished; those that cannot be used are told with the reason. ``exclude``
    names subjects. ``workers`` processes share the processors (by default half of them). The list is kept in the run
    folder for ``read_cohort``. Raises CohortError (empty, fewer than ``needed`` subjects, several contrasts), Cancelled
    or Paused when the user asks for it, and OutputError for a full disk; whatever was prepared stays in the cache.
    """
    run.stage("find", f"Looking for scans in '{folder}'.")
    cohort = _without_excluded(find_scans(folder, contrast), set(exclude), run)
    for one in cohort.skipped:
        _tell_skipped(one, run)
    require_subjects(cohort.scans, needed)
    _make(cache)
    run.stage("prepare", f"Preparing {len(cohort.scans)} scans.")
    try:
        reports = list(_told(prepared_reports(cohort.scans, recipe, cache, run, workers), len(cohort.scans), run))
    finally:
        remove_leftovers(cache)
    usable = _usable(reports, cohort, contrast, run)
    require_subjects(usable, needed)
    _keep_list(usable, run)
    return usable


def prepared_reports(
    scans: Sequence[CohortScan], recipe: Recipe, cache: Path, run: RunFolder, workers: int | None = None
) -> Generator[ScanReport, None, None]:
    """A report on every scan as it is finished, in any order. Raises OutputError when nothing more can be cached."""
    tasks = [CacheTask(scan, recipe, cache, run.path / PICTURES) for scan in scans]
    count = workers or min(_MOST_WORKERS, max(1, available_processors() // 2))
    with closing(run_tasks(cache_scan, tasks, max(1, min(count, len(tasks))), run.obey)) as results:
        for index, outcome in results:
            if outcome is not None and outcome.fatal is not None:
                raise outcome.fatal
            yield _report(scans[index], outcome)


def read_cohort(run: Path) -> list[CachedScan]:
    """The scans that ``prepare_cohort`` found usable, as kept in a run folder. Raises OutputError if that is lost."""
    try:
        entries = json.loads((run / COHORT_FILE).read_text(encoding="utf-8"))
        opened = [open_cached(Path(entry.pop("file")), _scan_of(entry)) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _lost(run) from error
    found = [scan for scan in opened if scan is not None]
    if len(found) < len(opened):
        raise _lost(run)
    return found


def _lost(run: Path) -> OutputError:
    return OutputError(f"The prepared scans of the run '{run}' are gone or damaged.", "Prepare them again.")


def _scan_of(entry: dict[str, Any]) -> CohortScan:
    return CohortScan(**{**entry, "path": Path(entry["path"])})


def _keep_list(scans: list[CachedScan], run: RunFolder) -> None:
    entries = [
        {
            "file": scan.file.resolve(),
            "subject": scan.subject,
            "session": scan.session,
            "scanner": scan.scanner,
            "path": scan.source,
            "contrast": scan.contrast,
            "age_years": scan.age_years,
        }
        for scan in scans
    ]
    try:
        write_json(run.path / COHORT_FILE, entries)
    except OSError as error:
        raise OutputError(f"'{run.path}' cannot be written: {error.strerror}.", "Free some space.") from error


def _make(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The cache '{cache}' cannot be made: {error.strerror}.", "Choose another folder.") from error
    remove_leftovers(cache)


def _without_excluded(cohort: Cohort, exclude: set[str], run: RunFolder) -> Cohort:
    for name in sorted(exclude - {scan.subject for scan in cohort.scans} - {one.subject for one in cohort.skipped}):
        run.warning(f"There is no subject '{name}' to leave out.")
    left_out = [
        SkippedScan(scan.subject, scan.path, "It was left out by the user.", scan.contrast)
        for scan in cohort.scans
        if scan.subject in exclude
    ]
    kept = tuple(scan for scan in cohort.scans if scan.subject not in exclude)
    return replace(cohort, scans=kept, skipped=(*cohort.skipped, *left_out))


def _tell_skipped(one: SkippedScan, run: RunFolder) -> None:
    if not one.accessory:
        scan = CohortScan(one.subject, "", one.path, contrast=one.contrast)
        run.event("scan", **ScanReport(scan, "skipped", one.reason).event())


def _report(scan: CohortScan, outcome: CacheOutcome | None) -> ScanReport:
    if outcome is None:
        return ScanReport(scan, "skipped", _DIED)
    return ScanReport(scan, outcome.status, outcome.reason, outcome.cached, outcome.picture, outcome.registration)


def _told(reports: Generator[ScanReport, None, None], count: int, run: RunFolder) -> Iterator[ScanReport]:
    """The same reports, each told to the run with how far the whole has come; cached ones do not count as work."""
    started, worked = time.monotonic(), 0
    with closing(reports):
        for done, report in enumerate(reports, start=1):
            worked += report.status != "cached"
            each = (time.monotonic() - started) / worked if worked else 0.0
            run.event("scan", **report.event())
            run.progress("prepare", done / count, each * (count - done))
            yield report


def _usable(reports: list[ScanReport], cohort: Cohort, asked: Contrast | None, run: RunFolder) -> list[CachedScan]:
    """The prepared scans of one contrast, without scans that prove to be the same; the others are told as skipped."""
    order = {scan: index for index, scan in enumerate(cohort.scans)}
    done = sorted((report for report in reports if report.cached is not None), key=lambda report: order[report.scan])
    wanted = _wanted(done, cohort)
    kept: list[CachedScan] = []
    digests: dict[str, CachedScan] = {}
    for report in done:
        fault = _fault(report, wanted, asked, digests)
        if fault:
            run.event("scan", **replace(report, status="skipped", reason=fault).event())
        elif report.cached is not None:
            digests[report.cached.digest] = report.cached
            kept.append(replace(report.cached, contrast=wanted))
    return kept


def _wanted(done: list[ScanReport], cohort: Cohort) -> Contrast:
    """The cohort's contrast, told from the intensities where names do not. Raises CohortError if there are several."""
    if cohort.contrast != "unknown":
        return cohort.contrast
    counts: Counter[Contrast] = Counter(guess for report in done if (guess := _guess(report)[0]) != "unknown")
    if len(counts) > 1:
        raise several_contrasts(cohort.folder, counts)
    return next(iter(counts), "unknown")


def _guess(report: ScanReport) -> tuple[Contrast, float]:
    if report.cached is None:
        return "unknown", 0.0
    guess = report.cached.guess()
    return guess.contrast, guess.confidence


def _fault(report: ScanReport, wanted: Contrast, asked: Contrast | None, digests: dict[str, CachedScan]) -> str:
    """Why a prepared scan is not used after all, or ''."""
    guess, confidence = _guess(report)
    unnamed = report.scan.contrast == "unknown"
    if unnamed and guess not in (wanted, "unknown") and confidence > _SURE_CONTRAST:
        return f"It looks like {guess}, not {wanted}."
    if unnamed and guess == "unknown" and wanted != "unknown" and asked is None:
        return f"Neither its name nor its intensities tell its contrast; add _{wanted} to its name to use it."
    twin = digests.get(report.cached.digest) if report.cached is not None else None
    return f"It is the same image as '{twin.source.name}' of {twin.subject}." if twin is not None else ""
