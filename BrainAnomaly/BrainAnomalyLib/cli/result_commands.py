"""``report`` and ``dicom``: further forms of a result folder that is there already."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, TextIO

from ..errors import OptionsError, OutputError
from ..output.folder import RESEARCH_USE
from ..output.origin import Origin, Words
from ..output.stored_scan import stored_detection_of


def add_result_parsers(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to a command line; ``common`` holds the options of all commands."""
    report = subparsers.add_parser("report", parents=[common], help="write the report of a result as HTML or PDF")
    _add_common(report)
    report.add_argument("--scan", type=Path, metavar="SCAN", help="the scan (default: what the result holds of it)")
    report.add_argument(
        "--out", type=Path, default=Path("report.pdf"), metavar="FILE", help=".pdf or .html (default: %(default)s)"
    )
    dicom = subparsers.add_parser("dicom", parents=[common], help="write a result as DICOM of the scan's study")
    _add_common(dicom)
    dicom.add_argument("scan", type=Path, metavar="SERIES", help="folder of the scan's DICOM series")
    dicom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the objects")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", type=Path, metavar="RESULT", help="folder that 'detect' has written")
    parser.add_argument("--series", metavar="N|UID", help="of several DICOM series in a folder: number or UID")
    parser.add_argument("--named", action="store_true", help="let the scan's name appear in the report")
    parser.add_argument("--heading", default="", metavar="TEXT", help="a line below the title: a name, a date")


def run_report(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``report`` command. Raises BrainAnomalyError."""
    from ..output.html import write_report
    from ..output.pdf import write_pdf

    writers = {".pdf": write_pdf, ".html": write_report}
    if (writer := writers.get(options.out.suffix.lower())) is None:
        raise OptionsError(f"'{options.out.name}' is no report's name.", "Let it end with .pdf or .html.")
    detection = stored_detection_of(options.result, options.scan, options.series)
    written = writer(detection, options.out, Words(options.named, options.heading))
    print(f"Report: {written.resolve()}\n{RESEARCH_USE}", file=output)
    return 0


def run_dicom(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``dicom`` command. Raises BrainAnomalyError."""
    from ..output.dicom_objects.dicom_result import SEGMENTATION_FILE, check_images, write_dicom_result

    origin = Origin(options.scan, words=Words(options.named, options.heading), series=options.series)
    check_images(origin)
    detection = stored_detection_of(options.result, options.scan, options.series)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dicom-", dir=options.out) as scratch:
            write_dicom_result(detection, Path(scratch) / SEGMENTATION_FILE, origin)
            written = [path.replace(options.out / path.name) for path in sorted(Path(scratch).iterdir())]
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"Nothing could be written to '{options.out}': {reason}.", "Choose another folder."
        ) from error
    print("\n".join([*(f"DICOM: {path.resolve()}" for path in written), RESEARCH_USE]), file=output)
    return 0
