"""The entry for the Extensions Index: its schema's fields, and agreement with CMake, docs and the sample data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
# Every field of slicer-extension-catalog-entry-schema v1.0.2 with its type.
FIELDS = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}


@pytest.fixture
def entry():
    return json.loads((ROOT / f"{cmake(r'project')}.json").read_text(encoding="utf-8"))


def cmake(name: str) -> str:
    found = re.search(rf'{name}\(?\s*"?([^")]+)"?\)', CMAKE)
    assert found, name
    return found[1]


def test_fields_are_those_of_the_schema(entry):
    assert {name: type(value) for name, value in entry.items()} == {name: FIELDS[name] for name in entry}
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert "v1.0.2" in entry["$schema"]
    assert 1 <= entry["tier"] <= 5


def test_entry_agrees_with_cmake(entry):
    assert entry["build_dependencies"] == cmake("set.EXTENSION_DEPENDS ").split()
    homepage = cmake("set.EXTENSION_HOMEPAGE ")
    assert entry["scm_url"] == f"{homepage}.git"
    assert homepage.rsplit("/", 1)[1] == f"Slicer{cmake('project')}"
    owner = homepage.removeprefix("https://github.com/")
    for name in ("set.EXTENSION_ICONURL ", "set.EXTENSION_SCREENSHOTURLS "):
        address = cmake(name)
        assert address.startswith(f"https://raw.githubusercontent.com/{owner}/{entry['scm_revision']}/")
        assert (ROOT / address.split(f"/{entry['scm_revision']}/")[1]).is_file()


def test_category_is_that_of_the_modules(entry):
    for module in ("BrainAnomaly", "BrainAnomalyTraining"):
        text = (ROOT / module / f"{module}.py").read_text(encoding="utf-8")
        assert f'translate("qSlicerAbstractCoreModule", "{entry["category"]}")' in text


def test_every_requirement_of_the_tiers_says_who_has_to_do_what():
    text = (ROOT / "docs" / "extension_index.md").read_text(encoding="utf-8")
    tiers = text[text.index("## Tier 1") : text.index("## What the automatic")]
    rows = [line.strip("|").split("|") for line in tiers.splitlines() if line.startswith("| ")]
    states = [state.strip() for _, state in rows if state.strip() != "State"]
    assert states
    assert [state for state in states if not state.startswith(("done", "person", "see above"))] == []
