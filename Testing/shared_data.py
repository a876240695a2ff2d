"""Where the shared real scans are, for tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("BRAIN_ANOMALY_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skip a test, saying why, where this part of the shared data is absent."""
    place = FOLDER.joinpath(*parts)
    return pytest.mark.skipif(not place.exists(), reason=f"the shared data ({'/'.join(parts)}) are not on this machine")
