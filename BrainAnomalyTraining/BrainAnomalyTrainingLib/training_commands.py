"""The command line: ``python -m BrainAnomalyTrainingLib train FOLDER --detector NAME --out PACKAGE`` and its siblings.

What happens goes to the run folder and as lines to standard error, the result to standard output. Exit codes are those
of ``python -m BrainAnomalyLib``; a pause ends with 0. Several processes are started by ``accelerate launch -m`` or
``torchrun -m`` in the place of ``python -m``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO, get_args

from BrainAnomalyLib.cli.main import CommandParser
from BrainAnomalyLib.detectors.registry import PRESETS, trainable_names
from BrainAnomalyLib.devices import Device, Precision
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.volumes import CONTRASTS
from BrainAnomalyLib.output.folder import RESEARCH_USE
from BrainAnomalyLib.preparation.space.grids import GRIDS
from BrainAnomalyLib.service.jobs import in_plain_words
from BrainAnomalyLib.service.streams import program_name, while_read

from .run.run_folder import Event, Paused

Command = Callable[[argparse.Namespace, TextIO, TextIO], None]
_SHOWN_SECONDS = 2.0


def run_command(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed command and return its exit code. Raises BrokenPipeError where nobody reads ``output`` any more."""
    try:
        _COMMANDS[options.command](options, output, messages)
    except Paused as pause:
        print(pause.sentence(), file=messages)
        return pause.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        plain = in_plain_words(error)
        if options.debug:
            traceback.print_exception(error, file=messages)
        print(f"error: {' '.join(plain.sentence().split())}", file=messages)
        return plain.exit_code
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command and its options; wrong usage ends the program with exit code 2."""
    parser = CommandParser(
        prog=program_name("BrainAnomalyTrainingLib", "brain-anomaly-train"),
        description=f"Train detectors on healthy scans. {RESEARCH_USE}",
    )
    common = CommandParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show where a failure happened")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", parents=[common], help="train, calibrate and write a package")
    _add_cohort(train)
    _add_training(train)
    prepare = commands.add_parser("prepare", parents=[common], help="check a cohort and prepare its scans")
    _add_cohort(prepare)
    prepare.add_argument("--grid", choices=tuple(GRIDS), default="template_2mm", help="default: %(default)s")
    prepare.add_argument("--detector", choices=trainable_names(), help="prepare as this detector needs it")
    prepare.add_argument("--preset", default="paper", help=argparse.SUPPRESS)
    calibrate = commands.add_parser("calibrate", parents=[common], help="calibrate a package for a site's own scans")
    calibrate.add_argument("package", type=Path, metavar="PACKAGE", help="folder of the package")
    _add_cohort(calibrate)
    calibrate.add_argument("--out", type=Path, required=True, metavar="NEW", help="new folder for the package")
    calibrate.add_argument("--site", default="", metavar="TEXT", help="name of the site or scanner")
    calibrate.add_argument("--device", choices=get_args(Device), default="auto")
    rebuild = commands.add_parser(
        "rebuild", parents=[common], help="make a shipped package, or one like it, by a recipe"
    )
    _add_rebuild(rebuild)
    listing = commands.add_parser("detectors", parents=[common], help="list the detectors that can be trained")
    listing.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def event_lines(stream: TextIO) -> Callable[[Event], None]:
    """A listener that writes events as lines such as ``[train 45 %] 12 s left``."""

    def listen(event: Event) -> None:
        line = _line(event)
        if line:
            print(line, file=stream, flush=True)

    return listen


def _line(event: Event) -> str:
    if event["event"] == "stage":
        return str(event["message"])
    if event["event"] == "progress":
        left = event["seconds_left"]
        return f"[{event['stage']} {100 * event['fraction']:.0f} %]" + (f" {left:.0f} s left" if left else "")
    if event["event"] == "scan" and event["reason"]:
        return f"{event['subject']} ({Path(event['path']).name}) {event['status']}: {event['reason']}"
    if event["event"] == "loss":
        validation = "" if event["validation"] is None else f", validation error {event['validation']:.4f}"
        return f"step {event['step']} of {event['steps']}: loss {event['loss']:.4f}{validation}"
    return f"Warning: {event['message']}" if event["event"] == "warning" else ""


def _train(options: argparse.Namespace, output: TextIO, messages: TextIO) -> None:
    from .runs import train

    package = train(_settings(options), _listener(options, messages))
    if package is not None:
        print(f"Package: {package.folder}\n{RESEARCH_USE}", file=output)


def _prepare(options: argparse.Namespace, output: TextIO, messages: TextIO) -> None:
    from .runs import prepare

    scans = prepare(_settings(options), _listener(options, messages))
    print(f"{len(scans)} scans are prepared: {options.run}", file=output)


def _calibrate(options: argparse.Namespace, output: TextIO, messages: TextIO) -> None:
    from .runs import calibrate

    package = calibrate(_settings(options), _listener(options, messages))
    print(f"Package: {package.folder}\n{RESEARCH_USE}", file=output)


def _rebuild(options: argparse.Namespace, output: TextIO, messages: TextIO) -> None:
    from .runs import rebuild_package

    out = rebuild_package(_settings(options), _listener(options, messages))
    print(f"Package: {out}\n{RESEARCH_USE}", file=output)


def _detectors(options: argparse.Namespace, output: TextIO, messages: TextIO) -> None:
    from .runs import trainable_families

    families = trainable_families()
    if options.json:
        print(json.dumps(families, indent=2), file=output)
        return
    for family in families:
        presets = ", ".join(f"{name} {value['parameters']:,} values" for name, value in family["presets"].items())
        print(f"{family['name']:24} {family['title']} ({family['source']}); {presets}", file=output)


_COMMANDS: dict[str, Command] = {
    "train": _train,
    "prepare": _prepare,
    "calibrate": _calibrate,
    "rebuild": _rebuild,
    "detectors": _detectors,
}


def _listener(options: argparse.Namespace, messages: TextIO) -> Callable[[Event], None] | None:
    return None if options.quiet else event_lines(messages)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options as settings of a run, with the places of run and cache filled in."""
    settings = {key: value for key, value in vars(options).items() if key not in ("command", "quiet", "debug")}
    out: Path | None = settings.get("out")
    if settings["run"] is None:
        if out is None:
            raise OptionsError("Without --out there must be a --run.", "Give a folder for the run.")
        settings["run"] = out.with_name(f"{out.name}.training")
    if settings["cache"] is None:
        settings["cache"] = settings["run"].absolute().parent / "prepared-scans"
    if "exclude" in settings:
        settings["exclude"] = tuple(settings["exclude"])
    return settings


def _add_cohort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="healthy scans: BIDS, image files or DICOM series")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: PACKAGE.training)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared scans (default: beside the run)")
    parser.add_argument("--contrast", choices=CONTRASTS, help="use the scans of this contrast")
    parser.add_argument("--exclude", nargs="+", default=(), metavar="SUBJECT", help="leave these subjects out")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that prepare scans")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detector", choices=trainable_names(), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="PACKAGE", help="new folder for the package")
    parser.add_argument("--preset", choices=PRESETS, default="paper", help="default: %(default)s")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file with entries that replace the preset's")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="default: the preset's")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="finish the training in this time")
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="default: the preset's")
    parser.add_argument("--seed", type=int, default=7, help="of split, weights and batches; default: %(default)s")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="no", help="mixed precision")
    parser.add_argument("--patience", type=int, default=0, metavar="N", help="end after N validations without a better")
    parser.add_argument("--site", default="", metavar="TEXT", help="name of the site or scanner of the scans")
    parser.add_argument("--license", default="", metavar="TEXT", help="license of the package")


def _add_rebuild(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="folder with a recipe.json")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data the recipe names")
    parser.add_argument("--out", type=Path, required=True, metavar="PACKAGE", help="new folder for what is made")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: PACKAGE.training)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared scans (default: beside the run)")
    parser.add_argument(
        "--packages", type=Path, metavar="DIR", help="packages of the recipe's parts (default: embedded)"
    )
    parser.add_argument("--weights", type=Path, metavar="PACKAGE", help="take this package's network, do not train")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="default: the recipe's")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="finish the training in this time")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that prepare scans")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command on the standard streams and return its exit code."""
    options = parse(arguments)
    return while_read(lambda output: run_command(options, output, sys.stderr), sys.stdout)
