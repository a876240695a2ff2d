"""Further formats of a result, by name. Adding one is adding one file with a writer and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OptionsError

if TYPE_CHECKING:
    from ..detection import Detection

# name -> (module, writer, name of the file, check). A writer takes the detection, the path to write to and the path
# that the scan was read from; it may write nothing. A check, "" for none, takes that path before a run and raises
# BrainAnomalyError where the writer would fail.
_FORMATS = {
    "html": ("html", "write_result_report", "report.html", ""),
    "dicom": ("dicom_segmentation", "write_result_segmentation", "findings.dcm", "check_images"),
}


def format_names() -> tuple[str, ...]:
    """Names that ``write_formats`` knows."""
    return tuple(_FORMATS)


def checked_formats(names: Sequence[str], source: Path | None) -> tuple[str, ...]:
    """``names``, each once. Raises BrainAnomalyError for one that is not known or cannot be written for ``source``."""
    for name in names:
        if name not in _FORMATS:
            raise OptionsError(f"There is no format named '{name}'.", f"Choose among {', '.join(_FORMATS)}.")
        module, _, _, check = _FORMATS[name]
        if check:
            _named(module, check)(source)
    return tuple(dict.fromkeys(names))


def write_formats(detection: Detection, folder: Path, names: Sequence[str], source: Path | None) -> None:
    """Write the result into ``folder`` in every format of ``names``. Raises BrainAnomalyError."""
    for name in names:
        module, writer, file, _ = _FORMATS[name]
        _named(module, writer)(detection, folder / file, source)


def _named(module: str, function: str) -> Callable[..., None]:
    found: Callable[..., None] = getattr(import_module(f".{module}", __package__), function)
    return found
