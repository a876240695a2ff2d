"""What holds for every test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# torch keeps what it compiled for later programs; the test host's settings go when its process ends.
_STAYS = ("torchinductor_", "test_host_settings_")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_in_the_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests and the programs that they start have a temporary folder of their own; it is empty at the end."""
    tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(prefix="tests-") as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
        left = sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith(_STAYS))
        assert not left, f"left in the temporary folder: {', '.join(left)}"
