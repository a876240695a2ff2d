"""``python -m BrainAnomalyLib cohort INPUT OUT``: one detection on many scans."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, TextIO, get_args

from ..cohort.cohort_tables import write_tables
from ..cohort.compute import Compute, job_script
from ..cohort.entries import Cohort, Selection
from ..cohort.extras import check_extras
from ..cohort.listeners import listener_for
from ..cohort.page import write_page
from ..cohort.records import CohortOptions, Record
from ..cohort.scheduling import run_cohort
from ..cohort.sources import find_cohort
from ..detectors.registry import detector_names
from ..devices import Device
from ..errors import OptionsError
from ..io.volumes import CONTRASTS
from ..output.folder import RESEARCH_USE
from ..output.formats import format_names
from ..preparation.brain.methods import CHOICES as BRAIN_MASK_METHODS

_SOME_FAILED = 3


def add_cohort_parser(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the ``cohort`` command to a command line; ``common`` holds the options of all commands."""
    parser = subparsers.add_parser("cohort", parents=[common], help="find anomalies in many scans, resumable")
    parser.add_argument("cohort", type=Path, metavar="INPUT", help="BIDS data set, folder, or CSV or TSV table")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for results, tables and the page")
    parser.add_argument("--subject", action="append", default=[], metavar="LABEL", help="only this; may be repeated")
    parser.add_argument("--session", action="append", default=[], metavar="LABEL", help="only this; may be repeated")
    parser.add_argument("--contrast", action="append", default=[], choices=CONTRASTS, help="only this; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="list what would run and what is left out, and why")
    parser.add_argument("--retry-failed", action="store_true", help="try scans again that failed before")
    parser.add_argument("--json", action="store_true", help="progress and result as JSON lines")
    add_detection_options(parser)
    _add_compute(parser)


def add_detection_options(parser: argparse.ArgumentParser) -> None:
    """Add what is the same for all scans."""
    parser.add_argument("--detector", choices=detector_names(), help="default: the one that suits each contrast")
    parser.add_argument("--package", type=Path, metavar="FOLDER", help="a trained model package; default: embedded")
    parser.add_argument("--threshold", type=float, metavar="X", help="in the map's unit; default: the detector's")
    parser.add_argument("--minimum-size", type=float, default=20.0, metavar="MM3", help="default: %(default)s mm3")
    parser.add_argument("--brain-mask", choices=BRAIN_MASK_METHODS, help="how to find the brain")
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="where networks run")
    parser.add_argument(
        "--write", action="append", choices=format_names(), default=[], help="a further format; may be repeated"
    )


def _add_compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes, or jobs with --slurm; default: what the computer takes"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, as tcp://host:8786")
    chosen.add_argument(
        "--slurm", nargs="*", metavar="NAME=VALUE", help="submit jobs; options of dask_jobqueue.SLURMCluster"
    )


def run_cohort_command(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``cohort`` command: 0, or 3 if some scans failed. Raises BrainAnomalyError."""
    check_extras()
    compute = _compute(options)
    wanted = Selection(tuple(options.subject), tuple(options.session), tuple(options.contrast))
    # Workers elsewhere have another current folder.
    cohort, out = find_cohort(options.cohort.absolute(), wanted), options.out.absolute()
    if options.dry_run:
        print("\n".join(listed(cohort, compute)), file=output)
        return 0
    listener = listener_for(messages, options.json, options.quiet)
    records = run_cohort(cohort.entries, out, cohort_options(options), compute, listener, options.retry_failed)
    return finish(records, records, out, options.json, output)


def finish(records: list[Record], shown: list[Record], out: Path, as_json: bool, output: TextIO) -> int:
    """Write tables and page of the scans ``shown``, say how those of ``records`` ended, and return the exit code."""
    write_tables(shown, out)
    _report(records, write_page(shown, out), as_json, output)
    return _SOME_FAILED if any(record["status"] == "failed" for record in records) else 0


def _compute(options: argparse.Namespace) -> Compute:
    if options.workers is not None and options.workers < 1:
        raise OptionsError("There must be at least one worker.", "Leave --workers out.")
    slurm = None
    if options.slurm is not None:
        pairs = [option.split("=", 1) for option in options.slurm]
        if any(len(pair) < 2 for pair in pairs):
            raise OptionsError("Options of --slurm are NAME=VALUE.", "For example queue=short memory=4GB.")
        slurm = tuple((name, value) for name, value in pairs)
    return Compute(options.workers, options.scheduler, slurm, options.device == "cuda")


def cohort_options(options: argparse.Namespace) -> CohortOptions:
    """What is the same for all scans, of a parsed command."""
    return CohortOptions(
        detector=options.detector,
        package=None if options.package is None else options.package.absolute(),
        threshold=options.threshold,
        minimum_mm3=options.minimum_size,
        brain_mask_method=options.brain_mask,
        device=options.device,
        formats=tuple(options.write),
    )


def listed(cohort: Cohort, compute: Compute) -> list[str]:
    """What would run, what would not and why, and what Slurm would be given."""
    count = len(cohort.entries)
    lines = [f"{count} scan{'' if count == 1 else 's'} would run:"]
    lines += [f"  {entry.key}  {entry.scan}" for entry in cohort.entries]
    lines += [f"{len(cohort.left_out)} left out:"] if cohort.left_out else []
    lines += [f"  {one.path}  {one.reason}" for one in cohort.left_out]
    return [*lines, "", job_script(compute)] if compute.slurm is not None else lines


def _report(records: list[Record], page: Path, as_json: bool, output: TextIO) -> None:
    bad = [record for record in records if record["status"] == "failed"]
    if as_json:
        counts = {"done": len(records) - len(bad), "failed": len(bad), "page": str(page.resolve())}
        print(json.dumps({"event": "ended", **counts}), file=output)
        return
    print(f"Done: {len(records) - len(bad)}, failed: {len(bad)}", file=output)
    for record in bad[:20]:
        print(f"  {record['key']}: {record['reason']}", file=output)
    print(f"Page:    {page.resolve()}", file=output)
    print(RESEARCH_USE, file=output)
