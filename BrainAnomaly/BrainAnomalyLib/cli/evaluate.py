"""``python -m BrainAnomalyLib evaluate COHORT``: detectors against scans with known lesions."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..detectors.registry import detector_names
from ..errors import OptionsError, OutputError
from ..evaluation.cases import Case, find_cases
from ..evaluation.figures import Curve, curve_of, curves, example_scans, examples
from ..evaluation.protocols import PROTOCOLS
from ..evaluation.run import Collected, collect
from ..evaluation.scan import EvaluatedScan
from ..evaluation.scan_table import scan_records
from ..evaluation.summary import lesion_threshold_of, summarize
from ..evaluation.tables import Table, markdown, write_tables
from ..output.folder import check_folder
from ..progress import Progress, part, progress_lines, silent

_SOME_FAILED = 3


def add_evaluate_parser(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the ``evaluate`` command to a command line; ``common`` holds the options of all commands."""
    parser = subparsers.add_parser("evaluate", parents=[common], help="score detectors on scans with known lesions")
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="CSV file (scan, truth, subject, ...) or folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tables and figures")
    parser.add_argument(
        "--detector", action="append", choices=(*detector_names(), "auto"), help="may be repeated; default: auto"
    )
    parser.add_argument("--package", type=Path, metavar="FOLDER", help="a model package, for one detector")
    parser.add_argument(
        "--protocol", action="append", choices=tuple(PROTOCOLS), help="may be repeated; default: default"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold", type=float, metavar="X", help="chosen on other scans with lesions; a further row"
    )
    chosen.add_argument(
        "--validation", type=Path, metavar="COHORT", help="scans of other subjects with lesions, to choose it on"
    )
    parser.add_argument("--healthy", type=Path, metavar="COHORT", help="healthy scans for thresholds by healthy rate")
    parser.add_argument("--without-truth", choices=("healthy",), help="what scans without a truth are")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run_evaluate(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``evaluate`` command: 0, or 3 if some scans had to be left out. Raises BrainAnomalyError."""
    if options.bootstrap < 0:
        raise OptionsError("The number of resamples must be zero or more.", "Leave --bootstrap out for 1000.")
    cases = find_cases(options.cohort, options.without_truth == "healthy")
    further = {
        "healthy": find_cases(options.healthy, True) if options.healthy else [],
        "validation": _validation(options.validation, cases) if options.validation else [],
    }
    out = _empty_folder(options.out)
    progress = silent if options.quiet else progress_lines(messages)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-evaluating-", dir=out.parent) as scratch:
            result = _evaluated(cases, further, Path(scratch), options, progress)
            write_tables(_fresh(Path(scratch) / "tables"), result.tables, result.notes, result.pictures, result.scans)
            if out.exists():
                out.rmdir()
            (Path(scratch) / "tables").rename(out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"The tables could not be written to '{out}': {reason}.", "Check space and rights."
        ) from error
    for note in result.notes:
        print(note, file=messages)
    rows = [record for table in result.tables for record in table.records()]
    print(json.dumps(rows, indent=1) if options.json else markdown(result.tables, result.notes), file=output)
    return _SOME_FAILED if result.failed else 0


@dataclass(eq=False)
class _Result:
    tables: list[Table]
    notes: list[str]
    pictures: dict[str, bytes]
    scans: list[dict[str, Any]]
    failed: bool


def _validation(place: Path, cases: list[Case]) -> list[Case]:
    """Cases to choose a threshold on. Raises OptionsError if one of their subjects is evaluated too."""
    chosen = find_cases(place)
    both = {case.subject for case in chosen} & {case.subject for case in cases}
    if both:
        raise OptionsError(
            f"The subject '{min(both)}' is in the cohort and in the validation cohort.",
            "A threshold must come from other subjects; take the subject out of one of them.",
        )
    return chosen


def _evaluated(
    cases: list[Case], further: dict[str, list[Case]], scratch: Path, options: argparse.Namespace, progress: Progress
) -> _Result:
    detectors = list(dict.fromkeys(options.detector or ["auto"]))
    cohorts = {name: some for name, some in {"cases": cases, **further}.items() if some}
    count, done, found = sum(len(some) for some in cohorts.values()), 0, {}
    for name, some in cohorts.items():
        way = part(progress, done / count, (done + len(some)) / count)
        found[name] = collect(some, detectors, _fresh(scratch / name), options.package, options.device, way)
        done += len(some)
    failures = [failure for collected in found.values() for failure in collected.failures]
    notes = [f"Left out: {failure.case.scan.name}: {failure.reason}" for failure in failures]
    result = _Result([], notes, {}, [], bool(failures))
    _fill(result, found, detectors, options)
    return result


def _fill(result: _Result, found: dict[str, Collected], detectors: list[str], options: argparse.Namespace) -> None:
    """Tables and pictures, one detector's maps in memory at a time."""
    lines: dict[str, Curve] = {}
    shown: dict[str, list[EvaluatedScan]] = {}
    for name in detectors:
        scans = found["cases"].scans(name)
        healthy = [scan for scan in found["healthy"].scans(name) if scan.healthy] if "healthy" in found else []
        for protocol in dict.fromkeys(options.protocol or ["default"]):
            threshold = options.threshold
            if "validation" in found:
                threshold = lesion_threshold_of(found["validation"].scans(name), protocol)
            rows = summarize(scans, protocol, healthy, options.bootstrap, threshold)
            result.tables.append(Table(name, protocol, rows))
        result.scans += scan_records(name, scans)
        if not all(scan.healthy for scan in scans):
            lines[name], shown[name] = curve_of(scans), example_scans(scans)
    if lines:
        result.pictures = {"Precision and recall": curves(lines), "Examples": examples(shown)}


def _empty_folder(folder: Path) -> Path:
    out = check_folder(folder)
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"'{out}' exists already and is not empty.", "Choose a new folder.")
    return out


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder
