"""The package as a stranger gets it: a wheel in an environment of its own, away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from BrainAnomalyLib import __version__
from BrainAnomalyLib.io.volumes import write_volume
from BrainAnomalyLib.preparation.space.template import load_template
from container_recipes import ROOT, copied

pytestmark = pytest.mark.slow
Run = Callable[..., "subprocess.CompletedProcess[str]"]
NO_NETWORK = """
import socket, sys
def refuse(event, arguments):
    if event == "socket.connect" and arguments[0].type == socket.SOCK_STREAM and isinstance(arguments[1], tuple):
        if arguments[1][0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError("the network was asked for")
sys.addaudithook(refuse)
"""


def bare_variables() -> dict[str, str]:
    """The environment without anything that leads back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BRAIN_ANOMALY"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as the containers do, from the files that they copy and no others; the index is not asked."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
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
    path_file.write_text(f"{sysconfig.get_path('purelib')}\nimport no_network\n", encoding="utf-8")
    path_file.with_name("no_network.py").write_text(NO_NETWORK, encoding="utf-8")
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


@pytest.fixture(scope="module")
def bids_app(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A data set of two subjects through the BIDS App of the wheel."""
    folder = tmp_path_factory.mktemp("data")
    template = load_template("template_2mm")
    for subject, place in (("01", 60), ("02", 36)):
        scan = template.brain * 100.0
        scan[place - 3 : place + 3, 55:61, 50:56] = 0.0
        path = folder / "bids" / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        write_volume(path, (scan * template.brain_mask).astype(np.float32), template.grid)
    described = json.dumps({"Name": "two subjects", "BIDSVersion": "1.10.0"})
    (folder / "bids" / "dataset_description.json").write_text(described, encoding="utf-8")
    options = ("participant", "--nprocs", "1", "-w", folder / "work", "--json")
    return run("brain-anomaly-bids", folder / "bids", folder / "out", *options), folder / "out"


def test_a_bids_data_set_becomes_derivatives_table_and_page(bids_app: tuple[Any, Path]) -> None:
    done, out = bids_app
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"event": "ended", "done": 2, "failed": 0, "page": str(out / "index.html")}
    for subject in ("sub-01", "sub-02"):
        stem = f"{out}/{subject}/anat/{subject}_space-orig_desc-"
        sidecar = json.loads(Path(f"{stem}anomalymap_T1w.json").read_text(encoding="utf-8"))
        assert sidecar["BrainAnomaly"]["detector"]["name"] == "combined"
        assert len(sidecar["BrainAnomaly"]["findings"]) > 0
        assert Path(f"{stem}T1wfindings_dseg.nii.gz").is_file()
        assert Path(f"{stem}pseudohealthy_T1w.nii.gz").is_file()
    assert (out / "index.html").is_file()
    rows = (out / "cohort.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3


def test_the_group_level_runs_from_the_wheel(run: Run, bids_app: tuple[Any, Path]) -> None:
    _, out = bids_app
    done = run("brain-anomaly-bids", out.parent / "bids", out, "group")
    assert done.returncode == 0, done.stderr
    assert "2 scans of 2 subjects; 0 left out" in done.stdout
    assert (out / "group" / "frequency_T1w.png").is_file()


def test_the_network_cannot_be_reached_from_the_bare_environment(run: Run) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    assert "the network was asked for" in run("python", "-c", code).stderr


def test_the_commands_answer_from_the_wheel(run: Run) -> None:
    for name in ("brain-anomaly", "brain-anomaly-bids"):
        assert __version__ in run(name, "--version").stdout
    trained = run("brain-anomaly-train", "detectors")
    assert trained.returncode == 0, trained.stderr
    assert "denoising" in trained.stdout


def test_the_library_comes_from_the_wheel(run: Run) -> None:
    code = "import BrainAnomalyLib, BrainAnomalyTrainingLib; print(BrainAnomalyLib.__file__)"
    assert str(ROOT) not in run("python", "-c", code).stdout
