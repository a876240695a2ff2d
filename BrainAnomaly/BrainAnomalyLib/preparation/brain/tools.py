"""Brain extraction by tools the user may have installed: HD-BET (Isensee et al. 2019) and deepbet (Fisch et al. 2024).

Each runs as a process of its own on a copy of the scan in a temporary folder that is always removed. Nothing is
downloaded: HD-BET is refused until its parameters are on this computer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ...errors import DependencyError, PreparationError
from ...io.geometry import MaskArray
from ...io.volumes import Scan, read_scan, write_volume

_HD_BET_PARAMETERS = Path("hd-bet_params", "release_2.0.0", "fold_all", "checkpoint_final.pth")
_TIME_LIMIT_SECONDS = 1800
_EXECUTABLES = {"hd-bet": "hd-bet", "deepbet": "deepbet-cli"}


def brain_by_tool(scan: Scan, tool: str, device: str = "cpu") -> MaskArray:
    """The brain mask (i, j, k on the scan's grid) that ``tool`` (``hd-bet`` or ``deepbet``) finds.

    Raises DependencyError if the tool is not installed, PreparationError if it fails.
    """
    executable = installed_tool(tool)
    with tempfile.TemporaryDirectory(prefix="brain-anomaly-") as folder:
        scratch = Path(folder)
        write_volume(scratch / "scan.nii.gz", scan.array, scan.grid)
        mask = scratch / ("brain_bet.nii.gz" if tool == "hd-bet" else "mask.nii.gz")
        _run(tool, _command(tool, executable, scratch, device))
        if not mask.is_file():
            raise PreparationError(f"{tool} found no brain in '{scan.name}'.", "Choose another brain mask method.")
        found = read_scan(mask)
    return np.asarray(found.array > 0.5)


def brain_by_hd_bet(scan: Scan) -> MaskArray:
    """Brain mask (i, j, k on the scan's grid) by HD-BET. Raises DependencyError, PreparationError."""
    return brain_by_tool(scan, "hd-bet")


def brain_by_deepbet(scan: Scan) -> MaskArray:
    """Brain mask (i, j, k on the scan's grid) by deepbet. Raises DependencyError, PreparationError."""
    return brain_by_tool(scan, "deepbet")


def installed_tool(tool: str) -> str:
    """Path of the tool's program. Raises DependencyError with what to install."""
    beside_python = Path(sys.executable).with_name(_EXECUTABLES[tool])
    program = shutil.which(_EXECUTABLES[tool]) or (str(beside_python) if beside_python.is_file() else None)
    if program is None:
        raise DependencyError(f"The brain extraction tool {tool} is not installed.", f"Install {tool} or use 'auto'.")
    if tool == "hd-bet" and not (Path.home() / _HD_BET_PARAMETERS).is_file():
        raise DependencyError(
            "HD-BET's network parameters are not on this computer.", "Run hd-bet once by hand; it will fetch them."
        )
    return program


def _command(tool: str, executable: str, scratch: Path, device: str) -> list[str]:
    source = str(scratch / "scan.nii.gz")
    if tool == "hd-bet":
        outputs = ["-o", str(scratch / "brain.nii.gz"), "--save_bet_mask", "--no_bet_image"]
        return [executable, "-i", source, *outputs, "-device", device, "--disable_tta"]
    no_gpu = ["--no_gpu"] if device == "cpu" else []
    return [executable, "-i", source, "-o", str(scratch / "brain.nii.gz"), "-m", str(scratch / "mask.nii.gz"), *no_gpu]


def _run(tool: str, command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise PreparationError(f"{tool} took longer than 30 minutes.", "Choose another brain mask method.") from error
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise PreparationError(f"{tool} failed: {' '.join(last)}.", "Choose another brain mask method.") from error
