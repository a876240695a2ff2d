"""``brain-anomaly group OUT``: what the results of a cohort say together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TextIO

from ..cohort.extras import check_extras
from ..group.analysis import GroupOptions, GroupResult, analyse_group
from ..output.folder import RESEARCH_USE


def add_group_parser(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the ``group`` command to a command line; ``common`` holds the options of all commands."""
    parser = subparsers.add_parser("group", parents=[common], help="analyse the results of a cohort together")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that 'cohort' has written")
    add_group_options(parser)


def add_group_options(parser: Any) -> None:
    """Add what a group's analysis can be told."""
    parser.add_argument("--participants", type=Path, metavar="TSV", help="subjects' ages and groups (participant_id)")
    parser.add_argument("--decisions", type=Path, metavar="CSV", help="saved from the page; default: OUT/decisions.csv")
    parser.add_argument("--compare", metavar="COLUMN", help="compare two groups by this column")
    parser.add_argument("--groups", nargs=2, default=(), metavar="NAME", help="which two, where the column has more")
    parser.add_argument("--permutations", type=int, default=5000, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")


def run_group(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``group`` command. Raises BrainAnomalyError."""
    check_extras()
    return analyse(options, options.out.absolute(), output)


def analyse(options: argparse.Namespace, out: Path, output: TextIO) -> int:
    """Analyse the cohort in ``out`` as parsed options say and report it. Raises BrainAnomalyError."""
    chosen = GroupOptions(
        decisions=options.decisions,
        participants=options.participants,
        compare=options.compare,
        groups=tuple(options.groups),
        permutations=options.permutations,
        seed=options.seed,
    )
    print("\n".join(_report(analyse_group(out, chosen))), file=output)
    return 0


def _report(result: GroupResult) -> list[str]:
    table, left_out = result.scans.table, result.scans.left_out
    lines = [f"{len(table)} scans of {table['subject'].nunique()} subjects; {len(left_out)} left out"]
    lines += [f"  {key}: {reason}" for key, reason in left_out[:20]]
    lines += result.notes
    lines += [f"Outlier: {row['subject']} {row['key']} ({row['reason']})" for row in result.outliers[:20]]
    lines += [_compared(row) for row in result.comparison]
    return [*lines, f"Page:    {result.folder / 'index.html'}", RESEARCH_USE]


def _compared(row: dict[str, Any]) -> str:
    means = f"{row['first']} {row['first_mean']:.2f}, {row['second']} {row['second_mean']:.2f}"
    return f"{row['contrast']} {row['measure']}: {means}, p {row['p']:.3g}, for all measures {row['p_corrected']:.3g}"
