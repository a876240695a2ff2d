"""An earlier date as it is given: the folder of its result, or a scan that has a date of its own."""

from __future__ import annotations

import json
from pathlib import Path

from .. import __version__
from ..detection import Detection
from ..errors import OptionsError, OutputError
from ..io.dicom import study_date
from ..io.volumes import Scan, read_array
from ..output.folder import SUMMARY, read_results

_PROGRAM = f"BrainAnomaly {__version__}"
_REMEDY = "Give the earlier scan itself."


def is_result(path: Path) -> bool:
    """Whether a path is the folder of a result, not a scan."""
    return path.is_dir() and (path / SUMMARY).is_file()


def read_prior(folder: Path) -> Detection:
    """The detection in a result's folder, its scan as the detector saw it (0 outside the brain).

    Raises OutputError for a result that is damaged, of another version, or of a detector that expects no scan.
    """
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        program, files, facts = str(content["program"]), list(content["files"]), dict(content["scan"])
        name, contrast = str(facts["name"]), facts["given_contrast"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"The folder '{folder}' holds no whole result.", _REMEDY) from error
    if program != _PROGRAM:
        raise OutputError(f"The result in '{folder}' was made by {program}, this is {_PROGRAM}.", _REMEDY)
    if not {"pseudo_healthy.nii.gz", "residual_signed.nii.gz"} <= set(files):
        raise OutputError(f"The result in '{folder}' does not say how its scan looked.", _REMEDY)
    healthy, grid = read_array(folder / "pseudo_healthy.nii.gz")
    residual, _ = read_array(folder / "residual_signed.nii.gz")
    if healthy.shape != residual.shape:
        raise OutputError(f"The folder '{folder}' holds no whole result.", _REMEDY)
    return read_results(folder, Scan((healthy + residual).astype("float32"), grid, contrast, name))


def require_order(now: Path, before: Path) -> None:
    """Nothing where the dates of two DICOM folders are in order or not known. Raises OptionsError."""
    later, earlier = (study_date(path) if path.is_dir() else None for path in (now, before))
    if later is not None and earlier is not None and earlier > later:
        raise OptionsError(
            f"The earlier scan '{before.name}' is of {earlier:%Y-%m-%d}, after that of {later:%Y-%m-%d}.",
            "Give the scans the other way round.",
        )
