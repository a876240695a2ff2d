"""Documentation: the site builds without network, and what the pages say exists, parses and is up to date."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import BrainAnomalyLib
from BrainAnomalyLib.cli.main import parse
from BrainAnomalyLib.detectors.registry import detector_names
from BrainAnomalyTrainingLib.training_commands import parse as parse_training
from engine_process import variables

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "Resources" / "Example" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# The program in front of a command's arguments -> the parser of the arguments.
PARSERS = {
    "brain-anomaly": parse,
    "brain-anomaly-bids": lambda arguments: parse(["bids", *arguments]),
    "python -m BrainAnomalyLib": parse,
    "brain-anomaly-train": parse_training,
    "python -m BrainAnomalyTrainingLib": parse_training,
    "accelerate launch -m BrainAnomalyTrainingLib": parse_training,
    "torchrun --nproc_per_node 2 -m BrainAnomalyTrainingLib": parse_training,
}
OFFLINE = """
import socket, sys
def refused(*arguments):
    raise OSError("the network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from mkdocs.__main__ import cli
sys.exit(cli())
"""
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a page in a language, "" for those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = (line.split("  #")[0].split(" # ")[0].strip() for block in blocks(page, "") for line in block.splitlines())
    return [line for line in lines if line.startswith(tuple(PARSERS))]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=variables(), cwd=ROOT, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly by a process that cannot reach any network."""
    folder = tmp_path_factory.mktemp("site")
    built = run("-c", OFFLINE, "build", "--strict", "--config-file", ROOT / "mkdocs.yml", "-d", folder)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def test_site_has_every_page_and_asks_no_other_host(site):
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    named = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named <= built
    loads = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?(https?:[^\s\">]+)")
    assert {
        path.name: found for path in site.rglob("*.html") if (found := loads.findall(path.read_text("utf-8")))
    } == {}


def test_site_is_searchable_for_a_detector(site):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert all(f"methods/{name}.html" in index for name in detector_names())


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pages
def test_links_lead_to_files_and_headings(page):
    text = page.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in headings(path)):
            broken.append(target)
    assert broken == []


def headings(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pages
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    made = set(re.findall(r"[Ss]ave (?:it|this) as\s+`([^`]+)`", text))
    tops = r"(?:BrainAnomaly|BrainAnomalyTraining|Testing|Utilities|Resources|docs|\.github)"
    named = set(re.findall(rf"(?<![\w/.])({tops}/[\w./-]+)", text)) - made
    inside = set(re.findall(r"(?<![\w/])(BrainAnomaly(?:Training)?Lib/[\w/]+\.py)", text))
    known = {name.split("Lib/")[0] + "/" + name for name in inside - {name.partition("/")[2] for name in made}}
    assert sorted(name for name in named | known if not (ROOT / name.rstrip("./")).exists()) == []


@pages
def test_make_targets_that_are_named_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - {"package"} <= targets  # "make package" is CMake's


@pages
def test_commands_are_those_of_the_programs(page):
    for line in commands(page):
        program = max((name for name in PARSERS if line.startswith(f"{name} ")), key=len)
        assert PARSERS[program](shlex.split(line.removeprefix(program))).command, line
        if program in ("brain-anomaly", "brain-anomaly-bids", "brain-anomaly-train"):
            assert program in PROJECT["scripts"]


def test_commands_were_found():
    assert len(commands(ROOT / "README.md")) >= 4
    assert len({line for page in PAGES for line in commands(page)}) > 15


@pages
def test_python_examples_import_what_exists(page):
    for block in blocks(page, "python"):
        code = block if not block.startswith("    ") else f"x = {{\n{block}}}"
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.startswith("BrainAnomaly"):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("script", ["make_family_pages.py", "draw_house.py"])
def test_what_scripts_write_is_up_to_date(script):
    checked = run(ROOT / "Utilities" / script, "--check")
    assert checked.returncode == 0, f"{checked.stdout}{checked.stderr[-800:]}Run: make pages"


def test_every_detector_has_a_page_with_words_of_its_own():
    for name in detector_names():
        above = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8").split("<!-- Below")[0]
        assert "**Paper.**" in above, name
        assert "## Equations" in above, name
        assert "## What it is good for" in above, name


def test_settings_of_a_page_are_those_of_the_code():
    from BrainAnomalyLib.detectors.baselines.tissue import TissueConfig

    text = (ROOT / "docs" / "methods" / "tissue.md").read_text(encoding="utf-8")
    assert f"| `erosion_mm` | {TissueConfig().erosion_mm:g} |" in text


def test_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == BrainAnomalyLib.__version__
    assert citation["license"] in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    assert all({"type", "title", "authors"} <= set(entry) for entry in citation["references"])


def test_issue_forms_are_forms():
    for name in ("bug.yml", "feature.yml"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        assert all(part["type"] in ("checkboxes", "input", "textarea") for part in form["body"])


def test_example_scans_carry_their_license():
    folder = ROOT / "Resources" / "Example"
    license_text = (folder / "LICENSE.txt").read_text(encoding="utf-8")
    assert license_text.startswith("MIT License")
    assert "Chris Rorden" in license_text
    assert {path.name for path in folder.glob("*.nii.gz")} == {"FLAIR.nii.gz", "T1.nii.gz", "T2.nii.gz"}
