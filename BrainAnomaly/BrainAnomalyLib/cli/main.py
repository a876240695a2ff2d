"""The command line: ``python -m BrainAnomalyLib detect SCAN --out DIR`` and its siblings.

The result goes to standard output, progress and errors to standard error. Exit codes: 0 done, 1 out of memory,
2 wrong usage or option, 3 scan (of an evaluation: some were left out), 4 model package, 5 preparation, 6 output,
7 missing dependency, 70 fault of the program, 130 cancelled, 143 ended by the system.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, get_args

from .. import __version__
from ..detectors.registry import detector_names, load_detector
from ..devices import Device
from ..errors import BrainAnomalyError
from ..findings.table import Change
from ..io.volumes import CONTRASTS
from ..output.folder import RESEARCH_USE
from ..output.formats import format_names
from ..preparation.brain.methods import CHOICES as BRAIN_MASK_METHODS
from ..progress import Progress, progress_lines, silent
from ..service.jobs import DetectionJob, Outcome, in_plain_words, run_job, unequal_contrasts
from ..service.streams import program_name, while_read
from .bids_command import add_bids_parser, run_bids
from .cohort_command import add_cohort_parser, run_cohort_command
from .evaluate import add_evaluate_parser, run_evaluate
from .group_command import add_group_parser, run_group
from .package import add_package_parser, run_package
from .result_commands import add_result_parsers, run_dicom, run_report

Command = Callable[[argparse.Namespace, TextIO, TextIO], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command on the standard streams and return its exit code."""
    options = parse(arguments)
    return while_read(lambda output: run_command(options, output, sys.stderr), sys.stdout)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command and its options; wrong usage ends the program with exit code 2."""
    return _parser().parse_args(arguments)


def run_command(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed command and return its exit code; the result goes to ``output``, all else to ``messages``.

    Raises BrokenPipeError where nobody reads ``output`` any more.
    """
    try:
        return _COMMANDS[options.command](options, output, messages)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        plain = in_plain_words(error)
        if options.debug:
            traceback.print_exception(error, file=messages)
        print(f"error: {_one_line(plain.sentence())}", file=messages)
        return plain.exit_code


def _one_line(sentence: str) -> str:
    """The sentence in one line, but for the lines of a numbered list."""
    return "\n".join(" ".join(part.split()) for part in re.split(r"\n(?=  \d+\. )", sentence))


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage, and ends the program with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(2, f"error: {message}. See {self.prog} --help.\n")


def _detect(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    outcome = run_job(_job(options), _progress(options, messages))
    if options.json:
        print(json.dumps({"folder": str(outcome.folder), **outcome.summary}, indent=2), file=output)
    else:
        print("\n".join(_report(outcome)), file=output)
    return 0


def _demo(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    from .demo import run_demo

    print(run_demo(options.out, _progress(options, messages)), file=output)
    print(f"Results:  {options.out.resolve()}", file=output)
    for picture in sorted(options.out.resolve().rglob("*.png")):
        print(f"Picture:  {picture}", file=output)
    print(RESEARCH_USE, file=output)
    return 0


def _detectors(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    for name in detector_names():
        print(f"{name:12} {_detector_line(name)}", file=output)
    return 0


def _worker(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    from ..service.streams import claim_stdin
    from ..service.worker import serve

    return serve(claim_stdin(), output)


_COMMANDS: dict[str, Command] = {
    "bids": run_bids,
    "cohort": run_cohort_command,
    "detect": _detect,
    "demo": _demo,
    "detectors": _detectors,
    "dicom": run_dicom,
    "evaluate": run_evaluate,
    "group": run_group,
    "package": run_package,
    "report": run_report,
    "worker": _worker,
}


def _detector_line(name: str) -> str:
    try:
        detector = load_detector(name, device="cpu")
    except (BrainAnomalyError, ImportError) as error:
        return f"not available: {in_plain_words(error).sentence()}"
    contrasts = ", ".join(detector.contrasts)
    return f"{detector.title}; for {contrasts}; threshold {detector.threshold.value:.4g} ({detector.unit})"


def _job(options: argparse.Namespace) -> DetectionJob:
    contrasts = options.contrast or ["unknown"] * len(options.scan)
    if len(contrasts) != len(options.scan):
        raise unequal_contrasts()
    return DetectionJob(
        scan=options.scan[0],
        out=options.out,
        detector=options.detector,
        package=options.package,
        threshold=options.threshold,
        minimum_mm3=options.minimum_size,
        mask=options.mask,
        brain_mask_method=options.brain_mask,
        contrast=contrasts[0],
        device=options.device,
        pictures=not options.no_pictures,
        formats=tuple(options.write),
        series=options.series,
        further=tuple(options.scan[1:]),
        further_contrasts=tuple(contrasts[1:]),
        prior=tuple(options.prior),
    )


def _progress(options: argparse.Namespace, messages: TextIO) -> Progress:
    return silent if options.quiet else progress_lines(messages)


def _report(outcome: Outcome) -> list[str]:
    """The result in a few lines for a person."""
    summary = outcome.summary
    threshold = summary["threshold"]
    count = len(summary["findings"])
    lines = [f"{count} finding{'' if count == 1 else 's'}, {summary['total_ml']:.2f} mL in total"]
    lines.append(f"Threshold {threshold['value']:.4g} ({threshold['source']})")
    lines += _followed_lines(summary)
    lines += [_finding_line(finding) for finding in summary["findings"][:20]]
    lines += ["(more in findings.csv)"] if count > 20 else []
    lines += [f"Warning: {warning}" for warning in summary["warnings"]]
    lines += [f"Results: {outcome.folder}"]
    lines += [f"Picture: {outcome.folder / name}" for name in summary["files"] if name.endswith(".png")]
    return [*lines, RESEARCH_USE]


def _followed_lines(summary: dict[str, Any]) -> list[str]:
    """How many findings changed, and which change is the smallest that counts."""
    if summary["prior"] is None:
        return []
    changes = [finding["change"] for finding in summary["findings"]]
    counts = ", ".join(f"{changes.count(name)} {name}" for name in get_args(Change) if name in changes and name)
    smallest = summary["prior"]["smallest_change_ml"]
    return [f"Since '{summary['prior']['name']}': {counts or 'nothing found'} (changes of {smallest:.3f} mL and more)"]


def _finding_line(finding: dict[str, Any]) -> str:
    position = ", ".join(f"{value:.0f}" for value in finding["centroid_ras"])
    size = f"{finding['volume_ml']:8.2f} mL"
    place = ", ".join(part for part in (finding["side"], finding["region"], finding["place"]) if part)
    line = f"  {finding['id']:3d} {size}  {finding['looks']:8} peak {finding['peak']:.3g}  {place} ({position}) mm RAS"
    return "  ".join(text for text in (line, finding["contrasts"], _change_text(finding)) if text)


def _change_text(finding: dict[str, Any]) -> str:
    """What became of a finding since the earlier date, "" without one."""
    if not finding["change"]:
        return ""
    percent = finding["change_percent"]
    share = "" if percent is None else f", {percent:+.0f} %"
    return f"{finding['change']} ({finding['change_ml']:+.2f} mL{share})"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("BrainAnomalyLib", "brain-anomaly"), description=f"Find anomalies. {RESEARCH_USE}"
    )
    parser.add_argument("--version", action="version", version=f"BrainAnomaly {__version__}")
    common = CommandParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show where a failure happened and what libraries say")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_detect(
        commands.add_parser(
            "detect", parents=[common], help="find anomalies in one scan, or in several contrasts together"
        )
    )
    demo = commands.add_parser("demo", parents=[common], help="run on an example and show the results")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="results (default: %(default)s)")
    commands.add_parser("detectors", parents=[common], help="list the detectors")
    add_package_parser(commands, common)
    add_cohort_parser(commands, common)
    add_bids_parser(commands, common)
    add_group_parser(commands, common)
    add_evaluate_parser(commands, common)
    add_result_parsers(commands, common)
    commands.add_parser("worker", parents=[common], help="take requests as JSON lines on standard input")
    return parser


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scan",
        type=Path,
        nargs="+",
        metavar="SCAN",
        help="NIfTI, NRRD, MetaImage, MGZ or a DICOM series' folder; several contrasts of one session go together",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--detector", choices=detector_names(), help="default: the one that suits the contrast")
    parser.add_argument("--package", type=Path, metavar="FOLDER", help="a trained model package; default: embedded")
    parser.add_argument("--threshold", type=float, metavar="X", help="in the map's unit; default: the detector's")
    parser.add_argument("--minimum-size", type=float, default=20.0, metavar="MM3", help="default: %(default)s mm3")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="brain mask on the scan's grid")
    parser.add_argument(
        "--brain-mask", choices=BRAIN_MASK_METHODS, help="how to find the brain (default: the detector's)"
    )
    parser.add_argument(
        "--contrast",
        action="append",
        choices=CONTRASTS,
        default=[],
        help="what the scan shows; for several, once for each",
    )
    parser.add_argument(
        "--prior",
        type=Path,
        nargs="+",
        default=[],
        metavar="RESULT_OR_SCAN",
        help="an earlier date of the same person: the folder of its result, or its scans in the same order",
    )
    parser.add_argument("--series", metavar="N|UID", help="of several DICOM series in a folder: number or UID")
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="where networks run")
    parser.add_argument("--no-pictures", action="store_true", help="no overview picture")
    parser.add_argument(
        "--write", action="append", choices=format_names(), default=[], help="a further format; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the whole summary as JSON")
