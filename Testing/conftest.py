"""What holds for every test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# torch keeps what it compiled for later programs; the test host's settings go when its process ends.
_STAYS = ("torchinductor_", "test_host_settings_")
# Files that take longest, measured by a whole run, begin first, so that no process is left alone with them at the end.
_LONGEST = (
    *("test_evidence_detector", "test_structure_network", "test_training_command", "test_recipes", "test_cache"),
    *("test_training_panel_runs", "test_evaluation_command", "test_scan_level", "test_cohort_run", "test_mslub"),
    *("test_label_map_scans", "test_family_diffusion", "test_family_variational", "test_end_to_end", "test_artifacts"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the order within a file stays."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


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
