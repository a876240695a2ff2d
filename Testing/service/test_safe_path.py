"""Child processes import nothing from the current folder, whatever lies there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from BrainAnomalyLib.service.client import WorkerClient
from BrainAnomalyTrainingLib.slicer.runs.child_process import child_variables


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds files named like packages; importing one leaves a mark."""
    mark = tmp_path / "imported"
    for name in ("numpy", "scipy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return mark


def test_the_worker_imports_nothing_from_the_current_folder(poisoned: Path) -> None:
    with WorkerClient() as client:
        assert client.wait_for(client.ping(), 60)[-1]["event"] != "error"
    assert not poisoned.exists()


def test_a_training_of_the_panel_imports_nothing_from_the_current_folder(poisoned: Path) -> None:
    command = [sys.executable, "-m", "BrainAnomalyTrainingLib", "detectors"]
    done = subprocess.run(command, env=child_variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not poisoned.exists()


POOL = """
from BrainAnomalyTrainingLib.cache.worker_pool import run_tasks
import worker_cases
if __name__ == "__main__":
    print(sorted(result for _, result in run_tasks(worker_cases.doubled_unless_deadly, [(1, False), (2, False)], 1)))
"""


def test_workers_of_a_preparation_import_nothing_from_the_current_folder(poisoned: Path, tmp_path: Path) -> None:
    script = tmp_path / "elsewhere" / "pool.py"
    script.parent.mkdir()
    script.write_text(POOL, encoding="utf-8")
    variables = child_variables()
    variables["PYTHONPATH"] += f":{Path(__file__).resolve().parents[1] / 'helpers'}"
    done = subprocess.run([sys.executable, script], env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[2, 4]", done.stderr
    assert not poisoned.exists()
