"""The package as a stranger gets it: a wheel in an environment of its own, away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib import __version__
from BrainAnomalyLib.io.volumes import write_volume
from BrainAnomalyLib.preparation.space.template import load_template

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def bare_variables() -> dict[str, str]:
    """The environment without anything that leads back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BRAIN_ANOMALY"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A command of an environment that has this one's packages, the wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, cwd=folder)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    place = ("-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    packages = subprocess.run([scripts / "python", *place], check=True, capture_output=True, text=True, cwd=folder)
    path_file = Path(packages.stdout.strip()) / "packages_of_the_tests.pth"
    path_file.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    install = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True, env=bare_variables(), cwd=folder)

    def command(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        call = [scripts / name, *arguments]
        return subprocess.run(call, check=False, capture_output=True, text=True, env=bare_variables(), cwd=folder)

    return command


def test_the_wheel_has_libraries_models_template_recipes_and_licenses(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    moved = {
        "Resources/Models/": "BrainAnomalyLib/Resources/Models/",
        "Resources/Template/": "BrainAnomalyLib/Resources/Template/",
        "Resources/Regions/": "BrainAnomalyLib/Resources/Regions/",
        "Resources/StructureNetwork/": "BrainAnomalyLib/Resources/StructureNetwork/",
        "Resources/BrainMask/": "BrainAnomalyLib/Resources/BrainMask/",
        "BrainAnomalyTraining/Recipes/": "BrainAnomalyTrainingLib/Recipes/",
        "BrainAnomaly/BrainAnomalyLib/": "BrainAnomalyLib/",
        "BrainAnomalyTraining/BrainAnomalyTrainingLib/": "BrainAnomalyTrainingLib/",
    }
    wanted = {new + name[len(old) :] for old, new in moved.items() for name in tracked if name.startswith(old)}
    assert wanted - set(names) == set()
    licenses = f"brain_anomaly-{__version__}.dist-info/licenses/"
    assert {f"{licenses}LICENSE.txt", f"{licenses}Resources/Template/LICENSE.txt"} <= set(names)
    assert not [name for name in names if name.startswith("Testing/") or name.endswith(".pyc")]


def test_detection_runs_from_the_wheel(run: Run, tmp_path: Path) -> None:
    template = load_template("template_2mm")
    scan = tmp_path / "scan.nii.gz"
    write_volume(scan, (template.brain * template.brain_mask * 100.0).astype(np.float32), template.grid)
    done = run("brain-anomaly", "detect", scan, "--out", tmp_path / "out", "--no-pictures", "--quiet")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["detector"]["name"] == "combined_t1w"
    assert (tmp_path / "out" / "anomaly_map.nii.gz").is_file()


def test_the_commands_answer_from_the_wheel(run: Run) -> None:
    assert __version__ in run("brain-anomaly", "--version").stdout
    trained = run("brain-anomaly-train", "detectors")
    assert trained.returncode == 0, trained.stderr
    assert "denoising" in trained.stdout


def test_the_library_comes_from_the_wheel(run: Run) -> None:
    code = "import BrainAnomalyLib, BrainAnomalyTrainingLib; print(BrainAnomalyLib.__file__)"
    assert str(ROOT) not in run("python", "-c", code).stdout
