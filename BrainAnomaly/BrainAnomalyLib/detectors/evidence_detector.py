"""What detectors share whose map is the weighted mean evidence of several component maps.

Each component becomes calibrated evidence (``scoring.evidence``), read off a table of healthy values of the scan's
contrast; their weighted mean is the result, and each stays visible as a component. Everything that is fitted to healthy
scans lies in the package, by contrast: tables, and what the scans look like as a whole. A subclass says what its
components are; the networks it needs are inside its package.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from ..errors import PackageError
from ..io.geometry import FloatArray, MaskArray
from ..io.volumes import CONTRASTS, Contrast
from ..packages.read import Package, below
from ..preparation.prepared import PreparedScan
from ..preparation.recipe import Recipe
from ..progress import Progress, silent
from ..scoring.evidence import evidence, weighted_evidence
from ..scoring.guard import GuardBank, bank_from_tensors
from .learned import UNCALIBRATED, LearnedDetector, threshold_advice
from .learning import config_from_json
from .protocol import CalibrationKind, Reconstruction, Score, ThresholdAdvice
from .registry import detector_class_named, replaced

TABLE_PREFIX = "table_"
Fitted = Mapping[str, FloatArray]


class EvidenceDetector:
    """Base of the detectors that weigh evidence. Subclasses set the class variables and override what differs.

    ``parts`` are the networks inside the package, by name; ``nearest`` says whose tables and thresholds hold for a
    contrast that has none. ``calibration`` states thresholds as a package's metadata do; ``fitted`` holds the tensors
    of every contrast.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    contrasts: ClassVar[tuple[Contrast, ...]]
    unit: ClassVar[str] = "evidence (-log10 of the part of healthy voxels as high)"
    cleans_map: ClassVar[bool] = False
    calibrated_by: ClassVar[CalibrationKind] = "evidence"
    nearest: ClassVar[Mapping[Contrast, Contrast]] = {}
    part_names: ClassVar[tuple[str, ...]]
    Config: ClassVar[type]
    recipe: Recipe

    def __init__(
        self,
        config: Any,
        parts: dict[str, LearnedDetector],
        fitted: Mapping[Contrast, Fitted] | None = None,
        calibration: dict[str, Any] | None = None,
        package: Package | None = None,
    ) -> None:
        """A detector around its networks; without tensors it has components but no map."""
        self.config, self.parts = config, parts
        self.fitted = dict(fitted or {})
        self.package_identity = None if package is None else package.identity
        self._stated = calibrations_by_contrast(self.contrasts[0], calibration)
        self.threshold = self.threshold_for(self.contrasts[0])

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> Self:
        """The detector of a verified package. Raises PackageError for one of another detector or without tables."""
        if (own := package.metadata["detector"]) != cls.name:
            message = f"The model package '{package.folder.name}' is for the detector '{own}'."
            raise PackageError(*(replaced(own) or (message, f"Choose a package for '{cls.name}'.")))
        config: Any = config_from_json(cls.Config, package.metadata["config"])
        parts = {name: _network(package.part(name), device) for name in cls.part_names}
        tensors = {name: value.float().numpy() for name, value in package.calibration().items()}
        fitted = {contrast: own for contrast in CONTRASTS if (own := below(tensors, f"{contrast}."))}
        detector = cls(config, parts, fitted, package.metadata["calibration"], package)
        known = fitted.get(cls.contrasts[0], {})
        if any(TABLE_PREFIX + name not in known for name in detector.weights(cls.contrasts[0])):
            raise PackageError(
                f"The model package '{package.folder.name}' has no evidence tables for {cls.contrasts[0]}.",
                "Use the package that comes with BrainAnomaly, or calibrate it again.",
            )
        return detector

    def fitted_to(self, contrast: Contrast, tensors: Fitted) -> Self:
        """The same networks with other tensors for a contrast, none for the others; for calibration."""
        other = copy(self)
        other.fitted = {contrast: dict(tensors)}
        return other

    def weights(self, contrast: Contrast) -> dict[str, float]:
        """Of the components that a contrast has, by name, in the order in which they are shown."""
        raise NotImplementedError

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The pseudo-healthy brain, and as ``parts`` the map of every component."""
        raise NotImplementedError

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """Where the detector speaks: the brain."""
        return prepared.brain_mask

    def known_as(self, contrast: Contrast) -> Contrast:
        """The contrast whose tables and thresholds hold: its own, else the nearest that has some, else the first."""
        near = contrast if contrast in self.fitted else self.nearest.get(contrast, contrast)
        return near if near in self.fitted else self.contrasts[0]

    def fitted_for(self, contrast: Contrast) -> Fitted:
        """The tensors that hold for a contrast."""
        return self.fitted.get(self.known_as(contrast), {})

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """Weighted mean evidence where the detector speaks; all components beside it."""
        made = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        inside, fitted = self.evaluated(prepared), self.fitted_for(prepared.shown)
        weights = self.weights(prepared.shown)
        parts = {name: evidence(made.parts[name][inside], fitted[TABLE_PREFIX + name]) for name in weights}
        mean = weighted_evidence(list(parts.values()), list(weights.values()))
        return Score(_placed(mean, inside), inside, {name: _placed(values, inside) for name, values in parts.items()})

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Of the contrast, or of the one that is known for it, which it says."""
        known = self.known_as(contrast)
        stated = self._stated.get(known)
        if stated is None:
            return UNCALIBRATED
        advice = threshold_advice(stated)
        if contrast in (known, "unknown"):
            return advice
        return replace(advice, source=f"{advice.source}; these are {known}, nothing was measured on {contrast}")

    def slice_means_for(self, contrast: Contrast) -> FloatArray | None:
        """Those of the healthy scans of that contrast."""
        return self.fitted.get(contrast, {}).get("healthy_slice_means")

    def guard_for(self, contrast: Contrast) -> GuardBank | None:
        """The healthy scans of that contrast, or of the one that is known for it."""
        known = self.known_as(contrast)
        return bank_from_tensors(self.fitted.get(known, {}), self._stated.get(known, {}), (known,))


def calibrations_by_contrast(first: Contrast, calibration: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What a package's metadata state of every contrast; the main entry is that of ``first``."""
    return {} if calibration is None else {first: calibration, **calibration.get("by_contrast", {})}


def within(volume: FloatArray, mask: MaskArray) -> FloatArray:
    """The volume, 0 outside the mask."""
    return np.where(mask, volume, 0.0).astype(np.float32)


def _placed(values: FloatArray, mask: MaskArray) -> FloatArray:
    """The volume with ``values`` (voxels of the mask in order) inside the mask and 0 elsewhere."""
    volume = np.zeros(mask.shape, dtype=np.float32)
    volume[mask] = values
    return volume


def _network(part: Package, device: str) -> LearnedDetector:
    """A network inside a package. Raises PackageError for a detector that is none."""
    kind: Any = detector_class_named(part.metadata["detector"])
    if not issubclass(kind, LearnedDetector):
        message = f"'{part.metadata['detector']}' in the package '{part.folder.name}' is no network."
        raise PackageError(message, "Do not use it.")
    network: LearnedDetector = kind.from_package(part, device)
    return network
