"""``python -m BrainAnomalyLib package ...``: verify, show, import, export, list and delete model packages."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import PackageError
from ..models.store import (
    Model,
    cohort_sentence,
    delete_model,
    export_package,
    find_model,
    import_package,
    list_models,
)
from ..output.folder import RESEARCH_USE
from ..packages.read import CALIBRATION, WEIGHTS, Package, hash_list, read_package, unlisted_files
from ..packages.schema import FORMAT, missing_bundle_entries

if TYPE_CHECKING:
    from torch import Tensor

Action = Callable[[argparse.Namespace, TextIO], None]


def add_package_parser(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the ``package`` command with its actions to a command line; ``common`` holds the options of all commands."""
    parser = subparsers.add_parser("package", help="verify, show, import, export, list or delete trained models")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, words in (("verify", "check every file of a package"), ("show", "what a package is and was trained on")):
        action = actions.add_parser(name, parents=[common], help=words)
        action.add_argument("package", metavar="PACKAGE", help="folder, zip, or a name that 'package list' shows")
    taken = actions.add_parser("import", parents=[common], help="add a package to the models")
    taken.add_argument("source", type=Path, metavar="SOURCE", help="zip or folder of a package")
    taken.add_argument("--into", type=Path, metavar="DIR", help="folder of packages (default: the user's models)")
    written = actions.add_parser("export", parents=[common], help="write a package as one zip file")
    written.add_argument("package", metavar="PACKAGE", help="folder, or a name that 'package list' shows")
    written.add_argument("zip", type=Path, metavar="ZIP", help="the file to write; an earlier one is replaced")
    actions.add_parser("list", parents=[common], help="all models there are")
    actions.add_parser("delete", parents=[common], help="remove one of the user's models").add_argument("key")
    for name in ("verify", "show", "list"):
        actions.choices[name].add_argument("--json", action="store_true", help="print JSON")


def run_package(options: argparse.Namespace, output: TextIO, messages: TextIO) -> int:
    """Run a parsed ``package`` command; the result goes to ``output``. Raises BrainAnomalyError."""
    _ACTIONS[options.action](options, output)
    return 0


def verified_facts(package: Package) -> dict[str, Any]:
    """Check what opening a package does not: no unlisted files, tensors load and are finite, weights fit the detector.

    Returns what was found, as JSON values. Raises PackageError, or OptionsError for an unknown detector.
    """
    extra = unlisted_files(package.folder)
    if extra:
        raise PackageError(f"The package holds files that its hash list does not name: {extra[0]}.", "Do not use it.")
    counts = {WEIGHTS: _finite(package, package.weights()), CALIBRATION: _finite(package, package.calibration())}
    _load(package)
    sizes = [(package.folder / name).stat().st_size for name in hash_list(package.folder)]
    return {
        "identity": package.identity,
        "files": len(sizes),
        "bytes": sum(sizes),
        "format": FORMAT,
        "detector": package.metadata["detector"],
        "tensors": {name: {"tensors": tensors, "numbers": numbers} for name, (tensors, numbers) in counts.items()},
        "missing_bundle_entries": list(missing_bundle_entries(package.metadata)),
    }


def package_facts(package: Package) -> list[tuple[str, str]]:
    """What a package is, in pairs of a short heading and words for a person."""
    data = package.metadata
    calibration = data["calibration"]
    facts = [
        ("Model", f"{data['name']}, version {data['version']}"),
        ("About", data["description"]),
        ("Detector", f"{data['detector']}, for {', '.join(data['contrasts'])}"),
        ("Network", f"{data['parameters']:,} parameters" if data.get("parameters") else ""),
        ("Trained on", cohort_sentence(data["cohort"])),
        ("Sources", "; ".join(data["cohort"]["sources"])),
        ("Training", _training_words(data.get("training", {}))),
        ("Calibrated on", _calibration_words(calibration)),
        ("Threshold", f"{calibration['default_threshold']:.4g} ({calibration['default_source']})"),
        ("Time per scan", _timing_words(data.get("timing"))),
        ("License", data["license"]),
        ("Intended use", data["intended_use"]),
        ("Identity", package.identity),
    ]
    return [(heading, words) for heading, words in facts if words]


def _verify(options: argparse.Namespace, output: TextIO) -> None:
    with _opened(options.package) as package:
        facts = verified_facts(package)
    if options.json:
        print(json.dumps(facts, indent=2), file=output)
        return
    weights, calibration = (facts["tensors"][name] for name in (WEIGHTS, CALIBRATION))
    print(f"Files        {facts['files']}, {_megabytes(facts['bytes'])}; every SHA-256 is as listed", file=output)
    print(f"Metadata     fits {facts['format']}; the preparation recipe is this version's", file=output)
    print(f"Weights      {weights['numbers']:,} numbers, finite; fit the detector '{facts['detector']}'", file=output)
    print(f"Calibration  {calibration['numbers']:,} numbers in {calibration['tensors']} tensors, finite", file=output)
    lacking = ", ".join(facts["missing_bundle_entries"])
    print(f"MONAI bundle {f'lacks {lacking}' if lacking else 'has every entry its tools ask for'}", file=output)
    print(f"Identity     {facts['identity']}", file=output)


def _show(options: argparse.Namespace, output: TextIO) -> None:
    with _opened(options.package) as package:
        if options.json:
            print(json.dumps({"identity": package.identity, **package.metadata}, indent=2), file=output)
            return
        for heading, words in package_facts(package):
            print(f"{heading:14} {words}", file=output)
    print(RESEARCH_USE, file=output)


def _import(options: argparse.Namespace, output: TextIO) -> None:
    package = import_package(options.source, options.into)
    print(f"Imported {package.metadata['name']}: {package.folder}", file=output)


def _export(options: argparse.Namespace, output: TextIO) -> None:
    print(f"Exported {export_package(_folder(options.package), options.zip)}", file=output)


def _list(options: argparse.Namespace, output: TextIO) -> None:
    models = list_models()
    if options.json:
        print(json.dumps([_model_json(model) for model in models], indent=2), file=output)
        return
    for model in models:
        words = f"not usable: {model.problem}" if model.problem else f"{model.title}; {', '.join(model.contrasts)}"
        print(f"{model.key:24} {words}", file=output)


def _delete(options: argparse.Namespace, output: TextIO) -> None:
    delete_model(find_model(options.key))
    print(f"Deleted {options.key}", file=output)


_ACTIONS: dict[str, Action] = {
    "verify": _verify,
    "show": _show,
    "import": _import,
    "export": _export,
    "list": _list,
    "delete": _delete,
}


@contextmanager
def _opened(named: str) -> Iterator[Package]:
    """The package of a folder, a zip (unpacked for the moment) or a model's key."""
    if Path(named).is_file():
        with tempfile.TemporaryDirectory() as scratch:
            yield import_package(Path(named), Path(scratch))
    else:
        yield read_package(_folder(named))


def _folder(named: str) -> Path:
    if Path(named).exists() or len(Path(named).parts) > 1:
        return Path(named)
    model = find_model(named)
    if model.folder is None:
        raise PackageError(f"The detector '{named}' needs no training and has no package.", "Name another model.")
    return model.folder


def _finite(package: Package, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Number of tensors and of their elements. Raises PackageError where one is not finite."""
    import torch

    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            message = f"The tensor '{name}' of the package '{package.folder.name}' holds numbers that are not finite."
            raise PackageError(message, "Train the model again.")
    return len(tensors), sum(tensor.numel() for tensor in tensors.values())


def _load(package: Package) -> None:
    from ..detectors.registry import load_detector

    load_detector(package.metadata["detector"], package.folder, "cpu")


def _model_json(model: Model) -> dict[str, Any]:
    return {**asdict(model), "folder": None if model.folder is None else str(model.folder)}


def _training_words(training: dict[str, Any]) -> str:
    parts = [f"{training['steps']} steps" if "steps" in training else ""]
    parts.append(f"of {training['batch']} scans or slices" if "batch" in training else "")
    parts.append(f"with the settings '{training['preset']}'" if training.get("preset") else "")
    return " ".join(part for part in parts if part)


def _calibration_words(calibration: dict[str, Any]) -> str:
    scans = calibration["scans"]
    words = f"{scans} held-out healthy scan{'' if scans == 1 else 's'}" if scans else "nothing yet"
    return f"{words}, site {calibration['site']}" if calibration.get("site") else words


def _timing_words(timing: dict[str, Any] | None) -> str:
    if timing is None:
        return ""
    machine = f" on {timing['machine']}" if timing.get("machine") else ""
    return f"{timing['seconds_per_scan']:.3g} s{machine}"


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MB"
