"""Further formats of a result, by name. Adding one is adding one file with a writer and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import OptionsError
from .origin import Origin

if TYPE_CHECKING:
    from ..detection import Detection


class Format(NamedTuple):
    """A format as readers see it, and where its writer is.

    ``writer`` of ``module`` takes the detection, the path to write to and the Origin; it may write nothing. ``check``,
    "" for none, takes the Origin before a run and raises BrainAnomalyError where the writer would fail.
    """

    title: str
    about: str
    file: str
    module: str
    writer: str
    check: str = ""
    # Whether only scans that come from DICOM images can be written.
    needs_dicom: bool = False


FORMATS = {
    "html": Format(
        "Report",
        "One HTML page with pictures, settings and warnings.",
        "report.html",
        *("html", "write_result_report"),
    ),
    "pdf": Format(
        "PDF report",
        "Pages with a table, pictures of each finding in three planes, and settings.",
        "report.pdf",
        *("pdf", "write_result_pdf", "check_pdf"),
    ),
    "dicom": Format(
        "DICOM",
        "The kept findings as a DICOM segmentation, their measurements, the anomaly map and the report.",
        "findings.dcm",
        *("dicom_objects.dicom_result", "write_dicom_result", "check_images"),
        needs_dicom=True,
    ),
}


def format_names() -> tuple[str, ...]:
    """Names that ``write_formats`` knows."""
    return tuple(FORMATS)


def checked_formats(names: Sequence[str], origin: Origin) -> tuple[str, ...]:
    """``names``, each once. Raises BrainAnomalyError for one that is not known or cannot be written for ``origin``."""
    for name in names:
        if name not in FORMATS:
            raise OptionsError(f"There is no format named '{name}'.", f"Choose among {', '.join(FORMATS)}.")
        chosen = FORMATS[name]
        if chosen.check:
            _named(chosen.module, chosen.check)(origin)
    return tuple(dict.fromkeys(names))


def write_formats(detection: Detection, folder: Path, names: Sequence[str], origin: Origin) -> None:
    """Write the result into ``folder`` in every format of ``names``. Raises BrainAnomalyError."""
    for name in names:
        chosen = FORMATS[name]
        _named(chosen.module, chosen.writer)(detection, folder / chosen.file, origin)


def _named(module: str, function: str) -> Callable[..., None]:
    found: Callable[..., None] = getattr(import_module(f".{module}", __package__), function)
    return found
