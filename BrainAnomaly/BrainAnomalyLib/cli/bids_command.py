"""``brain-anomaly-bids BIDS_DIR OUT_DIR participant|group``: the cohort's detection as a BIDS App.

The command line is that of BIDS Apps: Gorgolewski et al., PLoS Computational Biology 2017.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from .. import __version__
from ..cohort.bids_source import read_filters
from ..cohort.cohort_tables import write_tables
from ..cohort.compute import Compute
from ..cohort.derivative import WORK, BidsDerivative, derivative_entries, describe_derivative, tidy
from ..cohort.entries import Entry, Selection
from ..cohort.extras import check_extras
from ..cohort.listeners import listener_for
from ..cohort.page import write_page
from ..cohort.records import STATE, read_records
from ..cohort.scheduling import run_cohort
from ..cohort.sources import find_cohort
from ..cohort.work import run_task
from ..errors import OptionsError
from ..io.volumes import CONTRASTS
from ..service.workplace import writing
from .cohort_command import add_detection_options, cohort_options, finish, listed
from .group_command import add_group_options, analyse

SCRIPT = "brain-anomaly-bids"


def add_bids_parser(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the ``bids`` command to a command line; ``common`` holds the options of all commands."""
    parser = subparsers.add_parser("bids", parents=[common], help=f"the same as {SCRIPT}: a BIDS App")
    parser.add_argument("bids", type=Path, metavar="BIDS_DIR", help="the data set; nothing is written to it")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="the derivative data set")
    parser.add_argument("level", choices=("participant", "group"), help="detect in each scan, or analyse them all")
    parser.add_argument("--version", action="version", version=f"BrainAnomaly {__version__}")
    _add_participant(parser)
    add_detection_options(parser)
    add_group_options(parser.add_argument_group("group level"))


def _add_participant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--participant-label", nargs="+", default=[], metavar="LABEL", help="with or without sub-")
    parser.add_argument("--session-label", nargs="+", default=[], metavar="LABEL", help="with or without ses-")
    parser.add_argument("--contrast", action="append", default=[], choices=CONTRASTS, help="only this; may be repeated")
    parser.add_argument("--bids-filter-file", type=Path, metavar="JSON", help="entities wanted of each contrast")
    parser.add_argument("--nprocs", type=int, metavar="N", help="worker processes; default: what the computer takes")
    parser.add_argument("--mem-gb", type=float, metavar="GB", help="memory of all workers together")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, as tcp://host:8786")
    parser.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help=f"unfinished files; default: OUT_DIR/{WORK}")
    parser.add_argument("--stop-on-first-crash", action="store_true", help="begin nothing more after a scan failed")
    parser.add_argument("--dry-run", action="store_true", help="list what would run and what is left out, and why")
    parser.add_argument("--retry-failed", action="store_true", help="try scans again that failed before")
    parser.add_argument("--json", action="store_true", help="progress and result as JSON lines")


def run_bids(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``bids`` command: 0, or 3 if some scans failed. Raises BrainAnomalyError."""
    check_extras()
    if not (options.bids / "dataset_description.json").is_file():
        raise OptionsError(f"'{options.bids}' is no BIDS data set.", "It has no dataset_description.json.")
    return (_participant if options.level == "participant" else _group)(options, output, messages)


def _participant(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    compute = _compute(options)
    raw, out = options.bids.resolve(), options.out.resolve()
    wanted = Selection(tuple(options.participant_label), tuple(options.session_label), tuple(options.contrast))
    filters = None if options.bids_filter_file is None else read_filters(options.bids_filter_file)
    cohort = find_cohort(raw, wanted, filters)
    entries = derivative_entries(cohort.entries)
    if options.dry_run:
        print("\n".join(listed(cohort._replace(entries=entries), compute)), file=output)
        return 0
    work = out / WORK if options.work_dir is None else options.work_dir.absolute()
    with writing(out):
        describe_derivative(out, raw)
    records = run_cohort(
        entries,
        out,
        cohort_options(options),
        compute,
        listener_for(messages, options.json, options.quiet),
        options.retry_failed,
        partial(run_task, places=BidsDerivative(raw, work)),
        options.stop_on_first_crash,
        _folders_of_subjects(entries, out),
    )
    tidy(work, entries)
    return finish(records, read_records(out), out, options.json, output)


def _folders_of_subjects(entries: Iterable[Entry], out: Path) -> list[Path]:
    """What a run locks, so that jobs of single participants may share a derivative."""
    return [out / STATE / subject for subject in sorted({entry.subject for entry in entries})]


def _group(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    out = options.out.resolve()
    records = read_records(out)
    if not records:
        raise OptionsError(f"'{out}' holds no results.", "Run the level 'participant' first.")
    write_tables(records, out)
    write_page(records, out)
    participants = options.bids / "participants.tsv"
    if options.participants is None and participants.is_file():
        options.participants = participants
    return analyse(options, out, output)


def _compute(options: argparse.Namespace) -> Compute:
    if (options.nprocs is not None and options.nprocs < 1) or (options.mem_gb is not None and options.mem_gb <= 0):
        raise OptionsError("--nprocs and --mem-gb must be above 0.", "Leave them out.")
    return Compute(options.nprocs, options.scheduler, gpu=options.device == "cuda", memory_gb=options.mem_gb)
