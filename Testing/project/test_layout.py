"""The house rules that a machine can check: file lists, imports, sizes, docstrings, nothing that executes data."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine_process import ENGINE, variables

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (ROOT / "BrainAnomaly" / "BrainAnomalyLib", ROOT / "BrainAnomalyTraining" / "BrainAnomalyTrainingLib")
MODULE_FILES = tuple(ROOT / name / f"{name}.py" for name in ("BrainAnomaly", "BrainAnomalyTraining"))
SOURCES = sorted(path for library in LIBRARIES for path in library.rglob("*.py"))
ENGINE_SOURCES = [path for path in SOURCES if LIBRARIES[0] in path.parents]
SLICER_ONLY = {"slicer", "vtk", "qt", "ctk", "mrml", "vtkmodules"}
# Rooms from the ground up: what stands on a line may import only what stands above it. A folder is one room, and so is
# a file at a library's top.
ROOMS = (
    ("errors", "progress", "devices", "resources"),
    ("io",),
    ("preparation.space",),
    ("preparation.intensity",),
    ("preparation.brain",),
    ("preparation",),
    ("scoring", "findings", "packages"),
    ("detectors",),
    ("detectors.networks", "models"),
    ("detectors.anatomy", "detectors.baselines"),
    ("detectors.families.self_supervised", "detectors.families.autoencoders"),
    ("detectors.families.diffusion",),
    ("detectors.families.variational", "detectors.shipped"),
    ("detectors.families.adversarial",),
    ("regions",),
    ("detection",),
    ("output", "evaluation", "examination"),
    ("output.dicom_objects", "followup"),
    ("service",),
    ("cohort", "group"),
    ("cli",),
    ("__main__", "slicer.scene.nodes"),
    ("slicer.scene",),
    ("slicer.panel.common",),
    ("slicer.panel.models", "slicer.panel.results", "slicer.panel.run"),
    ("slicer.panel",),
)
MOST_FILES = 15

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
identity = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def without_type_checking(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    for node in nodes:
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from without_type_checking(list(ast.iter_child_nodes(node)))


def imported(path: Path) -> set[str]:
    """Full names of what a file imports, at its top or inside functions."""
    package = path.relative_to(path.parents[len(path.parts) - len(library_of(path).parts)].parent).with_suffix("").parts
    names: set[str] = set()
    for node in without_type_checking(tree(path).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            names |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return names


def library_of(path: Path) -> Path:
    return next(library for library in LIBRARIES if library in path.parents)


def room_of(module: str) -> str:
    """The folder of a module without its library, or its own name for one at a library's top; "" for the library."""
    inside = module.split(".")[1:]
    folder = file_of(module) is not None and len(inside) > 1
    return ".".join(inside[:-1] if folder else inside)


def file_of(module: str) -> Path | None:
    """The file of a module that is no package, None for a package or a name inside a module."""
    base = next((library.parent for library in LIBRARIES if library.name == module.split(".")[0]), ROOT)
    path = base.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def rooms_used(path: Path) -> set[str]:
    """Rooms of the same library that a file imports from, but its own."""
    library, names = library_of(path).name, imported(path)
    modules = {name for name in names if name.split(".")[0] == library and (file_of(name) or is_package(name))}
    inner = {name for name in modules if not any(other.startswith(f"{name}.") for other in modules)}
    return {room_of(name) for name in inner} - {room_of(module_name(path)), ""}


def is_package(module: str) -> bool:
    base = next((library.parent for library in LIBRARIES if library.name == module.split(".")[0]), ROOT)
    return (base.joinpath(*module.split(".")) / "__init__.py").is_file()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(library_of(path).parent).with_suffix("").parts)


def functions(path: Path) -> Iterator[FunctionNode]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, FunctionNode))


def length(function: FunctionNode) -> int:
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    documented = ast.get_docstring(function) is not None
    return lines - (function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0)


def test_cmake_lists_match_the_disk() -> None:
    command = [sys.executable, ROOT / "Utilities" / "update_cmake_lists.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{checked.stdout}Run: make cmake-lists"


def test_cmake_lists_name_only_files_that_exist_once() -> None:
    for folder in (ROOT, ROOT / "BrainAnomaly", ROOT / "BrainAnomalyTraining"):
        text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
        named = re.findall(r"^  (\S+\.\w+)$", text, flags=re.MULTILINE)
        assert len(named) == len(set(named))
        assert [name for name in named if "$" not in name and not (folder / name).is_file()] == []


def test_installed_resources_lie_where_the_engine_looks() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}" in text
    assert "Resources/Template/SHA256SUMS.json" in text


def test_no_stray_python_file_beside_a_module() -> None:
    for module in MODULE_FILES:
        assert [path.name for path in module.parent.glob("*.py")] == [module.name]


@identity
def test_only_the_slicer_rooms_know_slicer(path: Path) -> None:
    if path.relative_to(library_of(path)).parts[0] != "slicer":
        assert {name.split(".")[0] for name in imported(path)} & SLICER_ONLY == set()


@pytest.mark.parametrize("path", [path for path in ENGINE_SOURCES if path.name != "__init__.py"], ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    floor = {room: index for index, rooms in enumerate(ROOMS) for room in rooms}
    own = room_of(module_name(path))
    assert own in floor, "name the new room in ROOMS"
    assert sorted(room for room in rooms_used(path) if floor[room] >= floor[own]) == []
    assert not any(name.startswith("BrainAnomalyTrainingLib") for name in imported(path))


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_no_circle_of_rooms(library: Path) -> None:
    graph: dict[str, set[str]] = {}
    for path in library.rglob("*.py"):
        if path.name != "__init__.py":
            graph.setdefault(room_of(module_name(path)), set()).update(rooms_used(path))
    done: set[str] = set()
    while ready := {room for room, needs in graph.items() if room not in done and needs <= done}:
        done |= ready
    assert {room: graph[room] - done for room in set(graph) - done} == {}


def test_no_room_is_crowded() -> None:
    crowds = {folder: len(list(folder.glob("*.py"))) for library in LIBRARIES for folder in library.rglob("*/")}
    assert {str(folder): count for folder, count in crowds.items() if count > MOST_FILES + 1} == {}


def test_every_name_is_used_once() -> None:
    names = [path.stem for path in SOURCES if path.stem not in ("__init__", "__main__")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_no_circles() -> None:
    known = {module_name(path): imported(path) for path in SOURCES}
    graph = {name: {other for other in seen if other in known and other != name} for name, seen in known.items()}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert sorted(set(graph) - done) == []


CHECK_IMPORT = """
import sys
{statement}
heavy = sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "monai", "SimpleITK", "matplotlib"))
raise SystemExit(", ".join(heavy[:3]) or 0)
"""
STAND_INS = """
import types
from unittest.mock import MagicMock
for name in ("ctk", "qt", "slicer", "vtk", "slicer.i18n", "slicer.ScriptedLoadableModule", "slicer.util"):
    sys.modules[name] = MagicMock()
base = types.ModuleType("slicer.ScriptedLoadableModule")
for name in ("", "Widget", "Logic", "Test"):
    setattr(base, "ScriptedLoadableModule" + name, type("ScriptedLoadableModule" + name, (), {{}}))
sys.modules["slicer.ScriptedLoadableModule"] = base
sys.path[:0] = [{folders}]
import {module}
"""


def imports_heavy(statement: str) -> subprocess.CompletedProcess[str]:
    code = CHECK_IMPORT.format(statement=statement)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables(), check=False)


def test_importing_the_engine_is_light() -> None:
    checked = imports_heavy("import BrainAnomalyLib, BrainAnomalyLib.service.client, BrainAnomalyLib.cli.main")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("path", MODULE_FILES, ids=lambda path: path.stem)
def test_importing_a_module_file_is_light(path: Path) -> None:
    folders = ", ".join(repr(str(folder)) for folder in (path.parent, ENGINE))
    checked = imports_heavy(STAND_INS.format(folders=folders, module=path.stem))
    assert (checked.returncode, checked.stderr) == (0, "")


@identity
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert {node.name: length(node) for node in functions(path) if length(node) > 50} == {}


def test_most_functions_are_very_short() -> None:
    lengths = [length(node) for path in SOURCES for node in functions(path)]
    assert np.median(lengths) <= 6
    assert np.percentile(lengths, 90) <= 20


@identity
def test_everything_public_has_a_docstring_and_types(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the file has no docstring"
    public = [node for node in tree(path).body if isinstance(node, FunctionNode | ast.ClassDef)]
    public += [
        method
        for node in public
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for method in node.body
        if isinstance(method, FunctionNode)
    ]
    bare = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert bare == []
    assert [node.name for node in functions(path) if node.returns is None] == []


@identity
def test_nothing_executes_data(path: Path) -> None:
    """No pickle, no eval, no torch.load: opening a package or a scan runs nothing of it."""
    called = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    assert called & {"eval", "exec", "compile", "__import__", "torch.load", "os.system"} == set()
    assert {name.split(".")[0] for name in imported(path)} & {
        "pickle",
        "cloudpickle",
        "dill",
        "joblib",
        "marshal",
    } == set()
    assert not any(name.endswith("extractall") for name in called)


@pytest.mark.parametrize("folder", ["BrainAnomaly", "BrainAnomalyTraining", "Testing", "Resources"])
def test_text_files_have_unix_line_ends(folder: str) -> None:
    texts = (path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".txt", ".json", ".sh"))
    assert [path for path in texts if b"\r" in path.read_bytes()] == []


def test_requirements_agree_with_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    running = requirements(ROOT / "BrainAnomaly" / "Resources" / "requirements.txt")
    assert set(project["dependencies"]) - running == {"torch>=2.4"}
    assert running - set(project["dependencies"]) == set(project["optional-dependencies"]["dicom"])
    training = requirements(ROOT / "BrainAnomalyTraining" / "Resources" / "requirements.txt")
    assert training == set(project["optional-dependencies"]["training"])
    assert set(project["optional-dependencies"]["test"]) == requirements(ROOT / "requirements-test.txt")
    assert not any("==" in line.split(";")[0] or line.startswith("torch") for line in running | training)


def requirements(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_ci_runs_the_readme_test_command() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_readme_shows_pictures_and_scripts_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"(Testing/[\w/]+\.py)", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
