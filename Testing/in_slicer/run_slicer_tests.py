"""Run the self-tests of both modules in the real application, and leave the result where a workflow finds it.

    Slicer --no-splash --testing --ignore-slicerrc --additional-module-paths BrainAnomaly BrainAnomalyTraining \
        --python-script Testing/in_slicer/run_slicer_tests.py [RESULTS_FOLDER]

Ends Slicer with exit code 0 only if every test ran and passed. ``results.json`` lists each test with its seconds and
traceback; ``BrainAnomaly.png`` and ``BrainAnomalyTraining.png`` show the panels if there is a main window. No engine
package is installed by this script: PythonSlicer must have what Resources/requirements.txt names.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import slicer

MODULES = ("BrainAnomaly", "BrainAnomalyTraining")


def main(results_folder: Path) -> int:
    """Run everything, write results.json, and return the exit code."""
    results_folder.mkdir(parents=True, exist_ok=True)
    results = [result for name in MODULES for result in module_results(name, results_folder)]
    ok = bool(results) and all(result["passed"] for result in results)
    text = json.dumps({"passed": ok, "tests": results}, indent=2)
    (results_folder / "results.json").write_text(text, encoding="utf-8")
    for result in results:
        print(f"{'passed' if result['passed'] else 'FAILED'} {result['name']} ({result['seconds']:.1f} s)")
        print(result["traceback"], end="")
    return 0 if ok else 1


def module_results(name: str, results_folder: Path) -> list[dict[str, Any]]:
    """The panel is opened, then the module's self-test runs, then the panel must survive that the scene is closed."""
    return [
        timed(f"{name} panel opens", lambda: open_panel(name, results_folder)),
        timed(f"{name} self-test", lambda: self_test(name)),
        timed(f"{name} survives the end of the scene", lambda: close_scene(name)),
    ]


def timed(name: str, test: Any) -> dict[str, Any]:
    """Run one test; never raises."""
    start, text = time.monotonic(), ""
    try:
        test()
    except BaseException:
        text = traceback.format_exc()
    return {"name": name, "passed": not text, "seconds": time.monotonic() - start, "traceback": text}


def open_panel(name: str, results_folder: Path) -> None:
    """Open the module; no widget of its .ui may have been replaced by a plain QWidget, every selector has the scene."""
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule(name)
        slicer.app.processEvents()
    widget = getattr(slicer.modules, name.lower()).widgetRepresentation().self()
    loaded = vars(widget.ui)
    assert loaded, "the .ui has no named widget"
    for selector in slicer.util.findChildren(widget.parent, className="qMRMLNodeComboBox"):
        assert selector.mrmlScene() is not None, f"{selector.name} has no scene"
    check_classes(Path(widget.resourcePath(f"UI/{name}.ui")), loaded)
    if slicer.util.mainWindow() is not None:
        widget.parent.grab().save(str(results_folder / f"{name}.png"))


def check_classes(path: Path, loaded: dict[str, Any]) -> None:
    """The class that the .ui names is the class that was made."""
    import xml.etree.ElementTree as ElementTree

    for element in ElementTree.parse(path).iter("widget"):
        made = loaded.get(element.get("name", ""))
        if made is not None:
            wanted = {"Line": "QFrame"}.get(element.get("class"), element.get("class"))
            assert made.className() == wanted, f"{made.name} is a {made.className()}, not a {wanted}"


def self_test(name: str) -> None:
    """The test class of the module file."""
    module = sys.modules.get(name) or __import__(name)
    getattr(module, f"{name}Test")().runTest()


def close_scene(name: str) -> None:
    """Close the scene with the panel open, and set it up again."""
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    widget = getattr(slicer.modules, name.lower()).widgetRepresentation().self()
    widget.enter()
    slicer.app.processEvents()


if __name__ == "__main__":
    arguments = [text for text in sys.argv[1:] if not text.startswith("-")]
    folder = Path(arguments[-1]) if arguments else Path("slicer_test_results")
    slicer.util.exit(main(folder))
