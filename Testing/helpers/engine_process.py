"""Running the command line the way a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[2] / "BrainAnomaly"


def variables() -> dict[str, str]:
    """The environment with the engine on the path, in a locale that knows no letters but ASCII."""
    return {**os.environ, "PYTHONPATH": str(ENGINE), "LC_ALL": "C"}


def engine(*arguments: object, timeout: float = 300.0) -> subprocess.CompletedProcess[bytes]:
    """``python -m BrainAnomalyLib ARGUMENTS``, to its end."""
    command = [sys.executable, "-m", "BrainAnomalyLib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=variables(), timeout=timeout, check=False)


def training_variables() -> dict[str, str]:
    """The environment with both libraries and the test helpers on the path, one thread."""
    root = ENGINE.parent
    folders = [ENGINE, root / "BrainAnomalyTraining", root / "Testing", root / "Testing" / "helpers"]
    return {**variables(), "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
