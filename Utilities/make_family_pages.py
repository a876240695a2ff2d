"""Bring the pages of the detectors in docs/methods up to date with the registry and with docs/families.json.

    PYTHONPATH=BrainAnomaly python Utilities/make_family_pages.py [--check]

Each detector has one page. What stands above the marker is written by hand; below it this script writes settings,
training and measured scores. A detector without a page gets one that begins with its docstrings. The table of
docs/methods/index.md and the list of pages in mkdocs.yml are written too. With ``--check`` nothing is written and the
exit code tells whether all is up to date.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.registry import detector_class_named, detector_names, embedded_folder, load_detector

METHODS = ROOT / "docs" / "methods"
SCORES = ROOT / "docs" / "families.json"
MARKER = "<!-- Below: written by Utilities/make_family_pages.py. Do not edit. -->"
NAVIGATION = "  # Detectors: written by Utilities/make_family_pages.py."
_DIMENSIONS = {2: "axial slices", 3: "whole volumes"}
# Key in families.json -> what it is; see docs/families.md for how each is measured.
_MEASURED = {
    "dark_ap": "AP of inserted lesions, 25 % darker",
    "bright_ap": "AP of inserted lesions, 25 % brighter",
    "mslub_t1w_ap": "AP on MSLUB patient19, T1w",
    "mslub_flair_ap": "AP on MSLUB patient19, FLAIR",
    "mslub_flair_dice": "best Dice there (oracle)",
    "soop_ap": "AP on SOOP slices, FLAIR",
    "soop_dice": "best Dice there (oracle)",
    "seconds_per_scan": "seconds for a scan, one processor core",
}


def main() -> int:
    """Update or check all files."""
    check = "--check" in sys.argv[1:]
    stale = [(path, text) for path, text in updated() if not path.is_file() or path.read_text("utf-8") != text]
    for path, text in stale:
        print(("out of date: " if check else "updated: ") + path.relative_to(ROOT).as_posix())
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return int(check and bool(stale))


def updated() -> Iterator[tuple[Path, str]]:
    """Each file with the text it should have."""
    scores = json.loads(SCORES.read_text("utf-8"))
    for name in detector_names():
        path = METHODS / f"{name}.md"
        above = path.read_text("utf-8").split(MARKER)[0] if path.is_file() else beginning(name)
        yield path, f"{above.rstrip()}\n\n{MARKER}\n\n{below(name, scores.get(name, {}))}"
    index = METHODS / "index.md"
    yield index, f"{index.read_text('utf-8').split(MARKER)[0].rstrip()}\n\n{MARKER}\n\n{overview()}"
    yield ROOT / "mkdocs.yml", navigation((ROOT / "mkdocs.yml").read_text("utf-8"))


def beginning(name: str) -> str:
    """The first words of a page that nobody has written yet: the docstrings of module and class."""
    kind = detector_class_named(name)
    module = inspect.getdoc(inspect.getmodule(kind)) or ""
    return f"# {kind.title}\n\n{_markdown(module)}\n\n{_markdown(inspect.getdoc(kind) or '')}\n"  # type: ignore[attr-defined]


def below(name: str, scores: dict[str, Any]) -> str:
    """Facts, settings, training and scores of a detector in Markdown."""
    parts = [facts(name), settings(name), training(name), measured(scores)]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(name: str) -> str:
    """Name, contrasts, unit and file as a table."""
    kind: Any = detector_class_named(name)
    rows = {
        "Name": f"`{name}`",
        "Contrasts": ", ".join(kind.contrasts),
        "Works on": _DIMENSIONS.get(getattr(kind, "dimensions", None), "whole volumes"),
        "Unit of the map": kind.unit,
        "Needs": needs(name),
        "File": f"`{kind.__module__.replace('.', '/')}.py`",
    }
    if getattr(kind, "source", ""):
        rows["After"] = kind.source
    return "\n".join(
        ["## In short", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    )


def needs(name: str) -> str:
    """What a detector needs before it can be used."""
    kind: Any = detector_class_named(name)
    folder = embedded_folder(name)
    if folder is not None:
        return f"nothing: the package `{folder.name}` is embedded"
    return "a package trained by you" if issubclass(kind, LearnedDetector) else "no training"


def settings(name: str) -> str:
    """Every entry of the configuration with its value in each preset and in the embedded package."""
    columns = configurations(name)
    if not columns:
        return ""
    first = next(iter(columns.values()))
    text = _markdown(inspect.getdoc(type(first)) or "")
    head = f"| Setting | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
    rows = [
        f"| `{entry.name}` | {' | '.join(_value(getattr(config, entry.name)) for config in columns.values())} |"
        for entry in fields(first)
    ]
    return "\n".join(["## Settings", "", text, "", head, *rows])


def configurations(name: str) -> dict[str, Any]:
    """Configurations by the heading of their column."""
    kind: Any = detector_class_named(name)
    found = {f"`{key}`": preset.config for key, preset in getattr(kind, "presets", {}).items()}
    if embedded_folder(name) is not None:
        found["embedded package"] = load_detector(name, device="cpu").config
    if not found and is_dataclass(config := kind().config):
        found["default"] = config
    return found


def training(name: str) -> str:
    """Presets and phases of a trained family."""
    kind: Any = detector_class_named(name)
    if not issubclass(kind, LearnedDetector):
        return ""
    lines = [
        "## Training",
        "",
        "| Preset | Steps | Images a step | Running average | Gradient norm |",
        "|---|" + 4 * "---|",
    ]
    for key, preset in kind.presets.items():
        steps = str(preset.steps) if kind.phases(preset.config) else "fitted in closed form"
        average, norm = _value(preset.average_decay), _value(preset.gradient_norm)
        lines.append(f"| `{key}` | {steps} | {preset.batch} | {average} | {norm} |")
    return "\n".join([*lines, *phases(kind)])


def phases(kind: type[LearnedDetector]) -> list[str]:
    """The phases of the published preset as a table; none for families fitted in closed form."""
    found = kind.phases(kind.presets["paper"].config)
    if not found:
        return []
    lines = [
        "",
        "Phases of `paper`:",
        "",
        "| Phase | Part of the training | Trains | Every | Adam |",
        "|---|" + 4 * "---|",
    ]
    for phase in found:
        part = f"{phase.starts:.0%} to {phase.ends:.0%}"
        optimizer = phase.optimizer
        adam = f"rate {optimizer.learning_rate:g}, {optimizer.schedule}, betas {_value(optimizer.betas)}"
        adam += f", weight decay {optimizer.weight_decay:g}" if optimizer.weight_decay else ""
        adam += ", amsgrad" if optimizer.amsgrad else ""
        lines.append(f"| {phase.name} | {part} | {', '.join(phase.modules) or 'all'} | {phase.every} | {adam} |")
    return lines


def measured(scores: dict[str, Any]) -> str:
    """Scores of docs/families.json; of trained families those after a minute's training."""
    rows = [f"| {text} | {scores[key]:.3f} |" for key, text in _MEASURED.items() if scores.get(key) is not None]
    if not rows:
        return ""
    sizes = [
        f"| values in the network, `{key}` | {preset['parameters']:,} |"
        for key, preset in scores.get("presets", {}).items()
    ]
    note = (
        "after a minute's training of the small preset on 8 scans: a sign that the family works, not how good it can be"
    )
    kind = note if "presets" in scores else "without training"
    link = "[How it was measured](../families.md)"
    return "\n".join(["## Measured", "", f"{link}, {kind}.", "", "| | |", "|---|---|", *sizes, *rows])


def overview() -> str:
    """One row for every detector."""
    head = ["| Detector | Title | Contrasts | Needs | After |", "|---|---|---|---|---|"]
    kinds = {name: detector_class_named(name) for name in detector_names()}
    rows = [
        f"| [`{name}`]({name}.md) | {kind.title} | {', '.join(kind.contrasts)} | {needs(name)} "  # type: ignore[attr-defined]
        f"| {getattr(kind, 'source', '')} |"
        for name, kind in kinds.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def navigation(text: str) -> str:
    """mkdocs.yml with one line for each page, between the two marks."""
    before, _, after = text.partition(f"{NAVIGATION} begin\n")[::1]
    end = after.partition(f"{NAVIGATION} end\n")[2]
    pages = "".join(f"    - {name}: methods/{name}.md\n" for name in detector_names())
    return f"{before}{NAVIGATION} begin\n{pages}{NAVIGATION} end\n{end}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(_value(part) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text or "none"


def _markdown(docstring: str) -> str:
    """A docstring with Markdown's code marks."""
    return docstring.replace("``", "`").replace("|", "&#124;")


if __name__ == "__main__":
    sys.exit(main())
