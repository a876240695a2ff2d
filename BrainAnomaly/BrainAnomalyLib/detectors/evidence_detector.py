"""What detectors share whose map is the weighted evidence of several component maps.

Each component becomes calibrated evidence (``scoring.evidence``), read off a table of healthy values of the scan's
contrast; their weighted mean is the result, and each stays visible as a component. Everything that is fitted to healthy
scans lies in the package, by contrast: tables, where the class asks for it how high each component is at a place, and
what the scans look like as a whole. A subclass says what its components are; the networks it needs are inside its
package.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
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
from ..scoring.normal_level import covered, relative
from .learned import UNCALIBRATED, LearnedDetector, threshold_advice
from .learning import config_from_json
from .protocol import CalibrationKind, Reconstruction, Score, ThresholdAdvice
from .registry import detector_class_named

TABLE_PREFIX, LEVEL_PREFIX, COVERAGE = "table_", "level_", "coverage"
Fitted = Mapping[str, FloatArray]


class EvidenceDetector:
    """Base of the detectors that weigh evidence. Subclasses set the class variables and override what differs.

    ``parts`` are the networks inside the package, by name; ``fits_places`` says whether components count relative to
    their normal level at a place, and ``allowed_ml`` how many mL of findings the default threshold may leave in a
    healthy scan. ``calibration`` states thresholds as a package's metadata do; ``fitted`` holds the tensors of every
    contrast.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    contrasts: ClassVar[tuple[Contrast, ...]]
    unit: ClassVar[str] = "evidence (-log10 of the part of healthy voxels as high)"
    cleans_map: ClassVar[bool] = False
    calibrated_by: ClassVar[CalibrationKind] = "evidence"
    fits_places: ClassVar[bool] = False
    allowed_ml: ClassVar[float] = 1.0
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
        if package.metadata["detector"] != cls.name:
            message = f"The model package '{package.folder.name}' is for the detector '{package.metadata['detector']}'."
            raise PackageError(message, f"Choose a package for '{cls.name}'.")
        config: Any = config_from_json(cls.Config, package.metadata["config"])
        parts = {name: _network(package.part(name), device) for name in cls.part_names}
        tensors = {name: value.float().numpy() for name, value in package.calibration().items()}
        fitted = {contrast: own for contrast in CONTRASTS if (own := below(tensors, f"{contrast}."))}
        detector = cls(config, parts, fitted, package.metadata["calibration"], package)
        known = fitted.get(cls.contrasts[0], {})
        if any(TABLE_PREFIX + name not in known for name in detector.component_names()):
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

    def component_names(self) -> tuple[str, ...]:
        """Names of the maps, in the order of ``weights``."""
        raise NotImplementedError

    def weights(self, contrast: Contrast) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        raise NotImplementedError

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The pseudo-healthy brain, and as ``parts`` every component's map that needs nothing fitted."""
        raise NotImplementedError

    def fitted_for(self, contrast: Contrast) -> Fitted:
        """The tensors of a contrast, or of the detector's first one where its own is unknown."""
        return self.fitted.get(contrast) or self.fitted.get(self.contrasts[0], {})

    def component_maps(self, prepared: PreparedScan, made: Reconstruction) -> dict[str, FloatArray]:
        """Every component's map relative to its normal level at each place, as far as that is fitted."""
        fitted = self.fitted_for(prepared.shown)
        return {
            name: values if (level := fitted.get(LEVEL_PREFIX + name)) is None else relative(values, level)
            for name, values in made.parts.items()
        }

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """The brain, where healthy scans had theirs."""
        coverage, mask = self.fitted_for(prepared.shown).get(COVERAGE), prepared.brain_mask
        return mask if coverage is None else mask & covered(coverage, mask.shape)

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """Weighted mean evidence where the detector speaks; all components beside it."""
        made = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        inside, fitted = self.evaluated(prepared), self.fitted_for(prepared.shown)
        maps = self.component_maps(prepared, made)
        parts = {}
        for name in self.component_names():
            table = fitted[TABLE_PREFIX + name]
            parts[name] = evidence(self.comparable(maps[name], inside, table)[inside], table)
        mean = _placed(weighted_evidence(list(parts.values()), self.weights(prepared.shown)), inside)
        return Score(
            self.joined(mean, inside), inside, {name: _placed(values, inside) for name, values in parts.items()}
        )

    def comparable(self, values: FloatArray, inside: MaskArray, table: FloatArray) -> FloatArray:
        """A component's map as its table of healthy values wants it: as it is."""
        return values

    def joined(self, anomaly: FloatArray, inside: MaskArray) -> FloatArray:
        """The weighted mean as it is shown."""
        return anomaly

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Of the contrast, or of the detector's first one where its own is unknown."""
        stated = self._stated.get(contrast) or self._stated.get(self.contrasts[0])
        return UNCALIBRATED if stated is None else threshold_advice(stated)

    def slice_means_for(self, contrast: Contrast) -> FloatArray | None:
        """Those of the healthy scans of that contrast."""
        return self.fitted.get(contrast, {}).get("healthy_slice_means")

    def guard_for(self, contrast: Contrast) -> GuardBank | None:
        """The healthy scans of that contrast; those of the first one for a contrast that is not calibrated at all."""
        known = contrast if contrast in self.fitted else self.contrasts[0]
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
