"""Anatomy and network together: what is known of a contrast's tissues and what was learned, as one map.

Three maps become calibrated evidence (``scoring.evidence``): the anatomical one (the denoising autoencoder for T1w, the
tissue reference for FLAIR and T2w), that of the network for any contrast, and the left-right asymmetry. Their weighted
mean is the result, and each stays visible as a component.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...errors import PackageError
from ...io.geometry import FloatArray, MaskArray, resample
from ...io.volumes import Contrast
from ...packages.read import Package, read_package
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...preparation.space.template import load_template
from ...progress import Progress, part, silent
from ...scoring.evidence import evidence, on_healthy_scale, weighted_evidence
from ...scoring.guard import FEATURES_TENSOR, SCORE_TENSOR_PREFIX, GuardBank
from ...scoring.normal_level import covered, relative, smoothed_inside
from ...scoring.normative_intensity import NormativeIntensity, deviation_map
from ...scoring.residuals import cleaned
from ..baselines.asymmetry import AsymmetryDetector
from ..baselines.tissue import TissueDetector
from ..families.self_supervised.denoising import DenoisingDetector
from ..learned import LearnedDetector
from ..protocol import Reconstruction, Score, ThresholdAdvice
from ..registry import embedded_folder
from .any_contrast import AnyContrastDetector

PREFIX = "combined_"
THRESHOLDS = f"{PREFIX}thresholds"
_FEW = "at most 1 mL of findings in the healthy scans named in the model card; not calibrated on a cohort"
_COHORT = "at most 0.25 mL of findings per healthy scan of the calibration, so that other scanners stay near 1 mL"
COVERAGE = f"{PREFIX}coverage"
LEVEL_PREFIX = f"{PREFIX}level_"
NORMATIVE_MEAN, NORMATIVE_DEVIATION = f"{PREFIX}normative_mean", f"{PREFIX}normative_deviation"
# 2.4 mm: findings that matter are larger, noise is not.
_SMOOTHED_VOXELS = 1.2


@dataclass(frozen=True)
class CombinedConfig:
    """Weights of the components' evidence. ``anatomy_package`` is the identity of the anatomical map's package.

    ``Testing/benchmarks/combination.py`` says what they are worth. For FLAIR and T2w anatomy counts more than the table
    asks: it knows confluent lesions of multiple sclerosis best.
    """

    anatomy: float = 2.0
    network: float = 1.0
    asymmetry: float = 0.5
    normative: float = 0.0
    anatomy_package: str = ""


class CombinedDetector:
    """Evidence of the tissue reference (1 mm), the network for any contrast and the asymmetry (2 mm)."""

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Combined: tissue reference and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    anatomy_name: ClassVar[str] = "tissue"
    unit: ClassVar[str] = "evidence (-log10 of the part of healthy voxels as high)"
    cleans_map: ClassVar[bool] = False
    healthy_slice_means: FloatArray | None = None
    guard_bank: GuardBank | None = None

    def __init__(
        self,
        network: AnyContrastDetector,
        tables: dict[str, FloatArray],
        identity: str | None = None,
    ) -> None:
        self.config = CombinedConfig()
        self.recipe = Recipe(grid="template_1mm")
        self.network, self.asymmetry = network, AsymmetryDetector()
        self.tissue = TissueDetector()
        self.tables, self.package_identity = tables, identity
        self.threshold = self.threshold_for(self.contrasts[0])

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> CombinedDetector:
        """The detector of an any-contrast package. Raises PackageError for one without tables of evidence."""
        network = AnyContrastDetector.from_package(package, device)
        assert isinstance(network, AnyContrastDetector)
        tables = {key: value for key, value in network.calibration.items() if key.startswith(("evidence_", PREFIX))}
        if any(table_name(name, cls.contrasts[0]) not in tables for name in cls.component_names()):
            raise PackageError(
                f"The model package '{Path(package.folder).name}' has no evidence tables for {cls.contrasts[0]}.",
                "Use the package that comes with BrainAnomaly.",
            )
        return cls(network, tables, package.identity)

    @classmethod
    def component_names(cls) -> tuple[str, ...]:
        """Names of the maps, in the order of ``weights``."""
        return cls.anatomy_name, "network", "asymmetry"

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Of the contrast, or of the detector's first one where its own is unknown."""
        fallback = f"evidence_threshold_{self.contrasts[0]}"
        values = self.tables.get(f"evidence_threshold_{contrast}", self.tables.get(fallback, np.asarray([2.0])))
        return ThresholdAdvice(float(np.ravel(values)[0]), _FEW, {})

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The network's pseudo-healthy brain and every component's map; the network's grid has voxels of 2 mm."""
        small = self.on_network_grid(prepared)
        found = self.network.reconstruct(small, part(progress, 0.0, 0.4))
        sides = self.asymmetry.score(small, self.asymmetry.reconstruct(small, part(progress, 0.4, 0.7)))
        maps = {
            self.anatomy_name: self.anatomy(prepared, part(progress, 0.7, 1.0)),
            "network": _onto(self.network.score(small, found).anomaly, small, prepared),
            "asymmetry": _onto(cleaned(sides.anomaly, sides.evaluated), small, prepared),
        }
        correction = _onto(small.image - found.pseudo_healthy, small, prepared)
        uncertainty = None if found.uncertainty is None else _onto(found.uncertainty, small, prepared)
        return Reconstruction(within(prepared.image - correction, prepared.brain_mask), uncertainty, parts=maps)

    def anatomy(self, prepared: PreparedScan, progress: Progress = silent) -> FloatArray:
        """The anatomical map on the recipe's grid."""
        return self.tissue.score(prepared, None).anomaly

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """Where the anatomical map speaks."""
        return self.tissue.evaluated(prepared)

    def on_network_grid(self, prepared: PreparedScan) -> PreparedScan:
        """The scan as the network wants it."""
        return at_2_mm(prepared)

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """Weighted mean evidence where the anatomical map speaks; all components beside it."""
        found = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        contrast, inside = prepared.contrast.contrast, self.evaluated(prepared)
        known = contrast if table_name(self.anatomy_name, contrast) in self.tables else self.contrasts[0]
        parts = {}
        for name in self.component_names():
            table = self.tables[table_name(name, known)]
            parts[name] = within(evidence(self.comparable(name, found.parts[name], inside, table), table), inside)
        return Score(self.joined(weighted_evidence(list(parts.values()), self.weights), inside), inside, parts)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        return self.config.anatomy, self.config.network, self.config.asymmetry

    def comparable(self, name: str, values: FloatArray, inside: MaskArray, table: FloatArray) -> FloatArray:
        """A component's map as its table of healthy values wants it: as it is."""
        return values

    def joined(self, anomaly: FloatArray, inside: MaskArray) -> FloatArray:
        """The weighted mean as it is shown."""
        return anomaly


class CombinedT1wDetector(CombinedDetector):
    """Evidence of the denoising autoencoder, the network for any contrast, the asymmetry, and how far intensities are
    from those of healthy scans at the same place (all 2 mm).

    A map counts relative to its normal level at a place (``scoring.normal_level``), and one that is raised or lowered
    all over the brain is brought to the healthy scans' bulk: scanners differ. The mean is smoothed (2.4 mm).
    """

    name: ClassVar[str] = "combined_t1w"
    title: ClassVar[str] = "Combined: denoising autoencoder and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w",)
    anatomy_name: ClassVar[str] = "denoising"

    def __init__(
        self,
        network: AnyContrastDetector,
        tables: dict[str, FloatArray],
        identity: str | None = None,
    ) -> None:
        super().__init__(network, tables, identity)
        folder = embedded_folder("denoising")
        assert folder is not None
        package = read_package(folder)
        self.denoising: LearnedDetector = DenoisingDetector.from_package(package, network.device)
        self.config = CombinedConfig(1.0, asymmetry=1.0, normative=0.5, anatomy_package=package.identity)
        self.recipe = network.recipe
        self.healthy_slice_means = tables.get(f"{PREFIX}healthy_slice_means")
        self.guard_bank = _bank(tables)

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Calibrated on held-out healthy scans: the first row is the default one, the others go by healthy rate."""
        stored = np.asarray(self.tables.get(THRESHOLDS, [[0.0, 2.0]]), dtype=np.float64)
        by_rate = {round(rate, 6): value for rate, value in stored[1:].tolist()}
        return ThresholdAdvice(float(stored[0, 1]), _COHORT, by_rate)

    @classmethod
    def component_names(cls) -> tuple[str, ...]:
        """Those of the other contrasts, and ``normative``."""
        return *super().component_names(), "normative"

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        return *super().weights, self.config.normative

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """As for other contrasts, with the deviation from healthy intensities. Needs the tables of these."""
        found = super().reconstruct(prepared, progress)
        normal = NormativeIntensity(self.tables[NORMATIVE_MEAN], self.tables[NORMATIVE_DEVIATION])
        normative = deviation_map(prepared.image, prepared.brain_mask, normal)
        return replace(found, parts={**found.parts, "normative": normative})

    def anatomy(self, prepared: PreparedScan, progress: Progress = silent) -> FloatArray:
        """The denoising autoencoder's map, cleaned."""
        score = self.denoising.score(prepared, self.denoising.reconstruct(prepared, progress))
        return cleaned(score.anomaly, score.evaluated)

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """The brain, where healthy scans had theirs."""
        coverage = self.tables.get(COVERAGE)
        mask = prepared.brain_mask
        return mask if coverage is None else mask & covered(coverage, mask.shape)

    def levelled(self, name: str, values: FloatArray) -> FloatArray:
        """A component's map relative to its normal level at every place."""
        level = self.tables.get(LEVEL_PREFIX + name)
        return values if level is None else relative(values, level)

    def comparable(self, name: str, values: FloatArray, inside: MaskArray, table: FloatArray) -> FloatArray:
        """Relative to its normal level, its bulk that of healthy scans."""
        return on_healthy_scale(self.levelled(name, values), inside, table)

    def joined(self, anomaly: FloatArray, inside: MaskArray) -> FloatArray:
        """Smoothed inside the evaluated brain."""
        return smoothed_inside(anomaly, inside, _SMOOTHED_VOXELS)

    def on_network_grid(self, prepared: PreparedScan) -> PreparedScan:
        """The scan itself."""
        return prepared


def _bank(tables: dict[str, FloatArray]) -> GuardBank | None:
    """The combined map's healthy scans, None in a package that was not calibrated for it."""
    features, scores = tables.get(PREFIX + FEATURES_TENSOR), PREFIX + SCORE_TENSOR_PREFIX
    if features is None:
        return None
    named = {
        key.removeprefix(scores): np.asarray(value, dtype=np.float64)
        for key, value in tables.items()
        if key.startswith(scores)
    }
    return GuardBank(np.asarray(features, dtype=np.float64), named, ("T1w",))


def table_name(component: str, contrast: str) -> str:
    """The tensor that holds a component's healthy quantiles for a contrast."""
    return f"evidence_{component}_{contrast}"


def at_2_mm(prepared: PreparedScan) -> PreparedScan:
    """A scan prepared at 1 mm on the network's grid."""
    template = load_template("template_2mm")
    grids = prepared.template.grid, template.grid
    inside = resample(prepared.brain_mask.astype(np.float32), *grids) > 0.5
    return replace(
        prepared,
        image=within(resample(prepared.image, *grids), inside),
        brain_mask=inside,
        template=template,
        recipe=Recipe(grid="template_2mm"),
    )


def within(volume: FloatArray, mask: MaskArray) -> FloatArray:
    """The volume, 0 outside the mask."""
    return np.where(mask, volume, 0.0).astype(np.float32)


def _onto(volume: FloatArray, small: PreparedScan, prepared: PreparedScan) -> FloatArray:
    """A volume of the network's grid on the scan's own, 0 outside the brain."""
    if small is prepared:
        return within(volume, prepared.brain_mask)
    return within(resample(volume.astype(np.float32), small.template.grid, prepared.template.grid), prepared.brain_mask)
