"""The test host for every test of this folder; Testing/scene in the same process sees nothing of it."""

import pytest
from host import installed, missing

MISSING = missing()
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header():
    return f"Testing/gui is left out: {MISSING}" if MISSING else "Testing/gui: PySide6 with PythonQt's manners"


@pytest.fixture
def host():
    """A running host with an empty scene. Fails the test if anything went wrong that the application would swallow."""
    with installed() as running:
        yield running
    assert running.record.problems == []
