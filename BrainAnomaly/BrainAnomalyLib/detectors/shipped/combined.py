"""Anatomy and network together: what is known of a contrast's tissues and what was learned, as one map.

Components are the anatomical map (the denoising autoencoder for T1w, the tissue reference for FLAIR and T2w), that of
the network for any contrast, the left-right asymmetry, for T1w how far intensities are from healthy ones, and the
deviation from the scan's own healthy structures, which also heals the scan.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from ...devices import shared_processors
from ...errors import PackageError
from ...io.geometry import FloatArray, MaskArray
from ...io.volumes import Contrast
from ...packages.read import Package
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, part, silent
from ...scoring.evidence import on_healthy_scale
from ...scoring.normal_level import smoothed_inside
from ...scoring.normative_intensity import NORMATIVE_DEVIATION, NORMATIVE_MEAN, NormativeIntensity, deviation_map
from ...scoring.residuals import cleaned
from ..anatomy.anatomy import AnatomyConfig, healthy_anatomy, weighted_deviation
from ..anatomy.structure_network import structures_identity
from ..baselines.asymmetry import AsymmetryDetector
from ..baselines.tissue import TissueDetector
from ..evidence_detector import EvidenceDetector, within
from ..other_grid import at_2_mm, onto
from ..protocol import Reconstruction

# 2.4 mm: findings that matter are larger, noise is not.
_SMOOTHED_VOXELS = 1.2
DEVIATION = "deviation"


@dataclass(frozen=True)
class CombinedConfig:
    """Weights of the components' evidence.

    ``Testing/benchmarks/combination.py`` says what they are worth. On FLAIR anatomy counts more than the table asks: it
    knows confluent lesions of multiple sclerosis best; the deviation heals the scan and is shown, but adds nothing. On
    T2w it counts most. ``certainty`` is that of ``anatomy``'s deviation, ``structures`` the identity of the structure
    network that the tables were made with.
    """

    anatomy: float = 2.0
    network: float = 1.0
    asymmetry: float = 0.5
    deviation: float = 8.0
    certainty: float = 0.5
    structures: str = field(default_factory=structures_identity)


@dataclass(frozen=True)
class CombinedT1wConfig(CombinedConfig):
    """Weights of the components' evidence for T1w."""

    anatomy: float = 1.0
    asymmetry: float = 1.0
    deviation: float = 1.5
    normative: float = 0.5


class CombinedDetector(EvidenceDetector):
    """Evidence of the tissue reference (1 mm), and of the network for any contrast, the asymmetry and the deviation
    from the scan's own healthy structures (2 mm)."""

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Combined: tissue reference and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    part_names: ClassVar[tuple[str, ...]] = ("network",)
    Config: ClassVar[type] = CombinedConfig
    recipe = Recipe(grid="template_1mm")

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> Self:
        """As every detector's; also raises PackageError for tables made with another structure network."""
        detector = super().from_package(package, device)
        if detector.config.structures != structures_identity():
            raise PackageError(
                f"The model package '{package.folder.name}' was calibrated with another structure network.",
                "Use the package that comes with BrainAnomaly, and calibrate that again.",
            )
        return detector

    def component_names(self) -> tuple[str, ...]:
        """The anatomical map first."""
        return "tissue", "network", "asymmetry", DEVIATION

    def weights(self, contrast: Contrast) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        config = self.config
        deviation = 0.0 if contrast == "FLAIR" else config.deviation
        return config.anatomy, config.network, config.asymmetry, deviation

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The healed brain and every component's map; the networks' grid has voxels of 2 mm."""
        small = self.on_network_grid(prepared)
        network = self.parts["network"]
        with shared_processors(2), ThreadPoolExecutor(1) as beside:
            found = beside.submit(network.reconstruct, small)
            anatomy = beside.submit(self.anatomy, prepared)
            healthy = healthy_anatomy(small, part(progress, 0.0, 0.7), network.device)
            asymmetry = self._asymmetry(small)
            deviation = weighted_deviation(healthy, small, AnatomyConfig(certainty=self.config.certainty))
            progress("Looking for lesions", 0.8)
            maps = {
                self.component_names()[0]: anatomy.result(),
                "network": onto(network.score(small, found.result()).anomaly, small, prepared),
                "asymmetry": onto(asymmetry, small, prepared),
                DEVIATION: onto(np.abs(deviation), small, prepared),
            }
        correction = onto(small.image - healthy.healed, small, prepared)
        healed = within(prepared.image - correction, prepared.brain_mask)
        return Reconstruction(healed, parts=maps, structures=healthy.structures)

    def _asymmetry(self, small: PreparedScan) -> FloatArray:
        asymmetry = AsymmetryDetector()
        sides = asymmetry.score(small, asymmetry.reconstruct(small))
        return cleaned(sides.anomaly, sides.evaluated)

    def anatomy(self, prepared: PreparedScan) -> FloatArray:
        """The anatomical map on the recipe's grid."""
        return TissueDetector().score(prepared, None).anomaly

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """Where the tissue reference speaks."""
        return TissueDetector().evaluated(prepared)

    def on_network_grid(self, prepared: PreparedScan) -> PreparedScan:
        """The scan as the network wants it."""
        return at_2_mm(prepared)


class CombinedT1wDetector(CombinedDetector):
    """Evidence of the denoising autoencoder, the network for any contrast, the asymmetry, the deviation from the scan's
    own healthy structures, and how far intensities are from those of healthy scans at the same place (all 2 mm).

    A map counts relative to its normal level at a place (``scoring.normal_level``), and one that is raised or lowered
    all over the brain is brought to the healthy scans' bulk: scanners differ. The mean is smoothed (2.4 mm). A quarter
    of a millilitre of findings in healthy scans of known scanners leaves about four times as much on one never seen.
    """

    name: ClassVar[str] = "combined_t1w"
    title: ClassVar[str] = "Combined: denoising autoencoder and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w",)
    part_names: ClassVar[tuple[str, ...]] = ("network", "denoising")
    fits_places: ClassVar[bool] = True
    allowed_ml: ClassVar[float] = 0.25
    Config: ClassVar[type] = CombinedT1wConfig
    recipe = Recipe(grid="template_2mm")

    def component_names(self) -> tuple[str, ...]:
        """The anatomical map first, ``normative`` last."""
        return "denoising", "network", "asymmetry", DEVIATION, "normative"

    def weights(self, contrast: Contrast) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        config = self.config
        return config.anatomy, config.network, config.asymmetry, config.deviation, config.normative

    def component_maps(self, prepared: PreparedScan, made: Reconstruction) -> dict[str, FloatArray]:
        """Every component's map relative to its normal level, with the deviation from healthy intensities."""
        fitted = self.fitted_for(prepared.shown)
        normal = NormativeIntensity(fitted[NORMATIVE_MEAN], fitted[NORMATIVE_DEVIATION])
        normative = deviation_map(prepared.image, prepared.brain_mask, normal)
        return super().component_maps(prepared, replace(made, parts={**made.parts, "normative": normative}))

    def anatomy(self, prepared: PreparedScan) -> FloatArray:
        """The denoising autoencoder's map, cleaned."""
        denoising = self.parts["denoising"]
        score = denoising.score(prepared, denoising.reconstruct(prepared))
        return cleaned(score.anomaly, score.evaluated)

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """The brain, where healthy scans had theirs."""
        return EvidenceDetector.evaluated(self, prepared)

    def comparable(self, values: FloatArray, inside: MaskArray, table: FloatArray) -> FloatArray:
        """Its bulk is that of healthy scans."""
        return on_healthy_scale(values, inside, table)

    def joined(self, anomaly: FloatArray, inside: MaskArray) -> FloatArray:
        """Smoothed inside the evaluated brain."""
        return smoothed_inside(anomaly, inside, _SMOOTHED_VOXELS)

    def on_network_grid(self, prepared: PreparedScan) -> PreparedScan:
        """The scan itself."""
        return prepared
