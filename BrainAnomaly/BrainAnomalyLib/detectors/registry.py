"""Detectors by name. Adding a family is adding one file and one line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..errors import OptionsError
from ..volumes import Contrast
from .base import Detector

# name -> (module, class, package folder under Resources/Models or None)
_DETECTORS: dict[str, tuple[str, str, str | None]] = {
    "histogram": ("histogram", "HistogramDetector", None),
    "tissue": ("tissue", "TissueDetector", None),
    "denoising": ("denoising", "DenoisingDetector", "denoising_t1w"),
}


def detector_names() -> tuple[str, ...]:
    """Names that ``load_detector`` knows."""
    return tuple(_DETECTORS)


def detector_for(contrast: Contrast) -> str:
    """The detector that suits a contrast: the trained one where there is one, else the tissue reference."""
    return "denoising" if contrast == "T1w" else "tissue"


def load_detector(name: str, package: str | Path | None = None, device: str = "auto") -> Detector:
    """The detector of that name; trainable ones with ``package`` (a folder) or the embedded one, on ``device``.

    ``device`` is auto, cpu, cuda or mps. Raises OptionsError for an unknown name, PackageError for a bad package.
    """
    if name not in _DETECTORS:
        raise OptionsError(f"There is no detector named '{name}'.", f"Choose one of {', '.join(_DETECTORS)}.")
    module, class_name, embedded = _DETECTORS[name]
    detector_class = getattr(import_module(f".{module}", __package__), class_name)
    if embedded is None:
        return _without_package(detector_class, name, package)
    from ..packages import read_package
    from ..resources import resources_folder

    folder = Path(package) if package is not None else resources_folder() / "Models" / embedded
    return detector_class.from_package(read_package(folder), device)  # type: ignore[no-any-return]


def _without_package(detector_class: type, name: str, package: str | Path | None) -> Detector:
    if package is not None:
        raise OptionsError(f"The detector '{name}' needs no model package.", "Leave the package out.")
    return detector_class()  # type: ignore[no-any-return]
