"""The scan of a result folder, which keeps none: the one given, or what the result's volumes say of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..detection import Detection
from ..errors import OutputError, ScanError
from ..io.volumes import Scan, read_array, read_scan
from .folder import SUMMARY, read_results


def stored_detection_of(folder: Path, scan: Path | None = None, series: str | None = None) -> Detection:
    """The detection in ``folder``, of the scan read from ``scan``; without one, of the scan inside its brain mask.

    Raises OutputError for a folder without a result, ScanError for a scan that cannot be read.
    """
    if not (folder / SUMMARY).is_file():
        raise OutputError(f"'{folder}' holds no result.", "Give a folder that 'detect' has written.")
    return read_results(folder, read_scan(scan, series=series) if scan is not None else _scan_within(folder))


def _scan_within(folder: Path) -> Scan:
    """Pseudo-healthy plus residual: the bias-corrected scan inside the brain mask, 0 outside."""
    try:
        stated = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["scan"]
        healthy, grid = read_array(folder / "pseudo_healthy.nii.gz")
        residual, _ = read_array(folder / "residual_signed.nii.gz")
        name, contrast = str(stated["name"]), stated["given_contrast"]
    except (ScanError, OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"The result in '{folder}' holds no pseudo-healthy scan from which the scan's pictures could be drawn.",
            "Give the scan with --scan.",
        ) from error
    return Scan(np.asarray(healthy + residual, dtype=np.float32), grid, contrast, name)
