"""The recipes of the containers and what they take from the checkout."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE, APPTAINER = ROOT / "Dockerfile", ROOT / "apptainer.def"


def copied() -> list[str]:
    """What of the checkout the Dockerfile takes into the container, in order."""
    lines = re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]
