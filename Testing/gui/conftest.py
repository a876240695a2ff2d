"""The test host for every test of this folder; Testing/scene in the same process sees nothing of it."""

from pathlib import Path

import pytest
from host import installed, missing

MISSING = missing()
# The guard only reads code, so it runs everywhere.
_RUNS_ANYWHERE = ("test_static_guard.py",)
collect_ignore = [
    path.name for path in Path(__file__).parent.glob("test_*.py") if MISSING and path.name not in _RUNS_ANYWHERE
]


def pytest_report_header():
    return f"Testing/gui is left out: {MISSING}" if MISSING else "Testing/gui: PySide6 with PythonQt's manners"


@pytest.fixture
def host():
    """A running host with an empty scene. Fails the test if anything went wrong that the application would swallow."""
    with installed() as running:
        yield running
    assert running.record.problems == []
