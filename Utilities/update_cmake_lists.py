"""Write the file lists of the CMakeLists.txt files from what is on disk: ``python Utilities/update_cmake_lists.py``.

With ``--check`` nothing is written and the exit code tells whether the lists are up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("BrainAnomaly", "BrainAnomalyTraining")
# Folders under Resources that both modules share; scripts there serve the repository only.
SHARED_FOLDERS = ("BrainMask", "Example", "Models", "Regions", "StructureNetwork", "Template", "Terminology")


def module_scripts(module: str) -> list[str]:
    """The module file and every Python file of its library, relative to the module's folder."""
    folder = ROOT / module
    return [f"{module}.py", *_relative(folder, (folder / f"{module}Lib").rglob("*.py"))]


def module_resources(module: str) -> list[str]:
    """Every file that the module needs besides Python: its Resources folder and data files of its library."""
    folder = ROOT / module
    library = (path for path in (folder / f"{module}Lib").rglob("*") if path.suffix not in (".py", ".pyc"))
    return _relative(folder, [*(folder / "Resources").rglob("*"), *library])


def shared_resources() -> list[str]:
    """Every file under Resources that an installed extension needs, relative to the repository."""
    files = (path for name in SHARED_FOLDERS for path in (ROOT / "Resources" / name).rglob("*"))
    return _relative(ROOT, (path for path in files if path.suffix != ".py"))


def updated() -> Iterator[tuple[Path, str]]:
    """Each CMakeLists.txt with the text it should have."""
    lists = {ROOT / "CMakeLists.txt": {"SHARED_RESOURCES": shared_resources()}}
    for module in MODULES:
        lists[ROOT / module / "CMakeLists.txt"] = {
            "MODULE_PYTHON_SCRIPTS": module_scripts(module),
            "MODULE_PYTHON_RESOURCES": module_resources(module),
        }
    for path, values in lists.items():
        text = path.read_text(encoding="utf-8")
        for name, files in values.items():
            text = _with_list(text, name, files)
        yield path, text


def main() -> int:
    """Update or check all lists."""
    check = "--check" in sys.argv[1:]
    stale = [(path, text) for path, text in updated() if path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        print(("out of date: " if check else "updated: ") + path.relative_to(ROOT).as_posix())
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return int(check and bool(stale))


def _with_list(text: str, name: str, files: list[str]) -> str:
    block = "".join(f"  {file}\n" for file in files)
    return re.sub(rf"set\({name}\n(?:  \S.*\n)*?  \)", lambda _: f"set({name}\n{block}  )", text)


def _relative(folder: Path, paths: Iterable[Path]) -> list[str]:
    """Sorted file names with forward slashes, without caches and hidden files."""
    files = (path.relative_to(folder) for path in paths if path.is_file())
    return sorted(file.as_posix() for file in files if not any(p.startswith((".", "__pycache__")) for p in file.parts))


if __name__ == "__main__":
    sys.exit(main())
