"""Anatomy and network together: what is known of a contrast's tissues and what was learned, as one map.

Components are the anatomical map (the denoising autoencoder for T1w, the tissue reference for FLAIR and T2w), that of
the network for any contrast, the left-right asymmetry and, for T1w, how far intensities are from healthy ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...io.geometry import FloatArray, MaskArray, resample
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...preparation.space.template import load_template
from ...progress import Progress, part, silent
from ...scoring.evidence import on_healthy_scale
from ...scoring.normal_level import smoothed_inside
from ...scoring.normative_intensity import NORMATIVE_DEVIATION, NORMATIVE_MEAN, NormativeIntensity, deviation_map
from ...scoring.residuals import cleaned
from ..baselines.asymmetry import AsymmetryDetector
from ..baselines.tissue import TissueDetector
from ..evidence_detector import EvidenceDetector, within
from ..protocol import Reconstruction

# 2.4 mm: findings that matter are larger, noise is not.
_SMOOTHED_VOXELS = 1.2
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class CombinedConfig:
    """Weights of the components' evidence.

    ``Testing/benchmarks/combination.py`` says what they are worth. For FLAIR and T2w anatomy counts more than the table
    asks: it knows confluent lesions of multiple sclerosis best.
    """

    anatomy: float = 2.0
    network: float = 1.0
    asymmetry: float = 0.5


@dataclass(frozen=True)
class CombinedT1wConfig(CombinedConfig):
    """Weights of the components' evidence for T1w."""

    anatomy: float = 1.0
    asymmetry: float = 1.0
    normative: float = 0.5


class CombinedDetector(EvidenceDetector):
    """Evidence of the tissue reference (1 mm), the network for any contrast and the asymmetry (2 mm)."""

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Combined: tissue reference and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    part_names: ClassVar[tuple[str, ...]] = ("network",)
    Config: ClassVar[type] = CombinedConfig
    recipe = Recipe(grid="template_1mm")

    def component_names(self) -> tuple[str, ...]:
        """The anatomical map first."""
        return "tissue", "network", "asymmetry"

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        return self.config.anatomy, self.config.network, self.config.asymmetry

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The network's pseudo-healthy brain and every component's map; the network's grid has voxels of 2 mm."""
        small = self.on_network_grid(prepared)
        network, asymmetry = self.parts["network"], AsymmetryDetector()
        found = network.reconstruct(small, part(progress, 0.0, 0.4))
        sides = asymmetry.score(small, asymmetry.reconstruct(small, part(progress, 0.4, 0.7)))
        maps = {
            self.component_names()[0]: self.anatomy(prepared, part(progress, 0.7, 1.0)),
            "network": _onto(network.score(small, found).anomaly, small, prepared),
            "asymmetry": _onto(cleaned(sides.anomaly, sides.evaluated), small, prepared),
        }
        correction = _onto(small.image - found.pseudo_healthy, small, prepared)
        uncertainty = None if found.uncertainty is None else _onto(found.uncertainty, small, prepared)
        return Reconstruction(within(prepared.image - correction, prepared.brain_mask), uncertainty, parts=maps)

    def anatomy(self, prepared: PreparedScan, progress: Progress = silent) -> FloatArray:
        """The anatomical map on the recipe's grid."""
        return TissueDetector().score(prepared, None).anomaly

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """Where the tissue reference speaks."""
        return TissueDetector().evaluated(prepared)

    def on_network_grid(self, prepared: PreparedScan) -> PreparedScan:
        """The scan as the network wants it."""
        return at_2_mm(prepared)


class CombinedT1wDetector(CombinedDetector):
    """Evidence of the denoising autoencoder, the network for any contrast, the asymmetry, and how far intensities are
    from those of healthy scans at the same place (all 2 mm).

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
        return "denoising", "network", "asymmetry", "normative"

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the components, in the order of their names."""
        return *super().weights, self.config.normative

    def component_maps(self, prepared: PreparedScan, made: Reconstruction) -> dict[str, FloatArray]:
        """Every component's map relative to its normal level, with the deviation from healthy intensities."""
        fitted = self.fitted_for(prepared.shown)
        normal = NormativeIntensity(fitted[NORMATIVE_MEAN], fitted[NORMATIVE_DEVIATION])
        normative = deviation_map(prepared.image, prepared.brain_mask, normal)
        return super().component_maps(prepared, replace(made, parts={**made.parts, "normative": normative}))

    def anatomy(self, prepared: PreparedScan, progress: Progress = silent) -> FloatArray:
        """The denoising autoencoder's map, cleaned."""
        denoising = self.parts["denoising"]
        score = denoising.score(prepared, denoising.reconstruct(prepared, progress))
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


def at_2_mm(prepared: PreparedScan) -> PreparedScan:
    """A scan prepared at 1 mm on the network's grid.

    Voxels are means of the brain alone (normalized convolution, Knutsson & Westin 1993): what lies outside is no dark
    tissue, and the brain's rim keeps its brightness.
    """
    template = load_template("template_2mm")
    grids = prepared.template.grid, template.grid
    share = resample(prepared.brain_mask.astype(np.float32), *grids)
    values = np.asarray(resample(prepared.image, *grids) / np.maximum(share, _LEAST_SHARE), dtype=np.float32)
    return replace(
        prepared,
        image=within(values, share > 0.5),
        brain_mask=share > 0.5,
        template=template,
        recipe=replace(prepared.recipe, grid="template_2mm"),
    )


def _onto(volume: FloatArray, small: PreparedScan, prepared: PreparedScan) -> FloatArray:
    """A volume of the network's grid on the scan's own, 0 outside the brain."""
    if small is prepared:
        return within(volume, prepared.brain_mask)
    return within(resample(volume.astype(np.float32), small.template.grid, prepared.template.grid), prepared.brain_mask)
