"""Anatomy and network together, for FLAIR and T2w: the tissue reference and the any-contrast network as one map.

Both maps become calibrated evidence (``scoring.evidence``) and count alike: what is brighter than the scan's own gray
matter where white matter should be, and what the network takes for a lesion. Each stays visible as a component.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import PackageError
from ..geometry import FloatArray, MaskArray, resample
from ..packages import Package
from ..preparation.prepared import PreparedScan
from ..preparation.recipe import Recipe
from ..preparation.template import load_template
from ..progress import Progress, silent
from ..scoring.evidence import evidence, mean_evidence
from ..volumes import Contrast
from .any_contrast import AnyContrastDetector
from .base import Reconstruction, Score, ThresholdAdvice
from .tissue import TissueDetector

COMPONENTS = ("network", "tissue")
_SOURCE = "at most 1 mL of findings in the healthy scans named in the model card; not calibrated on a cohort"


@dataclass(frozen=True)
class CombinedConfig:
    """Nothing to choose: tables and thresholds come with the network's package."""


class CombinedDetector:
    """Mean evidence of the tissue reference (1 mm) and the any-contrast network (2 mm)."""

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Tissue reference and network"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w")
    unit: ClassVar[str] = "evidence (-log10 of the part of healthy voxels as high)"
    cleans_map: ClassVar[bool] = False
    healthy_slice_means: None = None
    guard_bank: None = None

    def __init__(
        self, network: AnyContrastDetector, tables: dict[str, FloatArray], identity: str | None = None
    ) -> None:
        self.config = CombinedConfig()
        self.recipe = Recipe(grid="template_1mm")
        self.network, self.tissue = network, TissueDetector()
        self.tables, self.package_identity = tables, identity
        self.threshold = self.threshold_for("FLAIR")

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> CombinedDetector:
        """The detector of an any-contrast package. Raises PackageError for one without tables of evidence."""
        network = AnyContrastDetector.from_package(package, device)
        assert isinstance(network, AnyContrastDetector)
        tables = {name: value for name, value in network.calibration.items() if name.startswith("evidence_")}
        if any(table_name(part, "FLAIR") not in tables for part in COMPONENTS):
            raise PackageError(
                f"The model package '{Path(package.folder).name}' has no evidence tables for FLAIR.",
                "Use the package that comes with BrainAnomaly.",
            )
        return cls(network, tables, package.identity)

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Of the contrast, or of FLAIR where its own is unknown."""
        key = f"evidence_threshold_{contrast}"
        values = self.tables.get(key, self.tables.get("evidence_threshold_FLAIR", np.asarray([2.0])))
        return ThresholdAdvice(float(np.ravel(values)[0]), _SOURCE, {})

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The network's pseudo-healthy brain: its correction is brought from 2 mm to the scan's 1 mm grid."""
        small = at_2_mm(prepared)
        found = self.network.reconstruct(small, progress)
        raw = self.network.score(small, found).anomaly
        correction = _onto(small.image - found.pseudo_healthy, small, prepared)
        uncertainty = None if found.uncertainty is None else _onto(found.uncertainty, small, prepared)
        healthy = np.where(prepared.brain_mask, prepared.image - correction, 0.0).astype(np.float32)
        return Reconstruction(healthy, uncertainty, _onto(raw, small, prepared))

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """Mean evidence where the tissue reference speaks; both components beside it."""
        found = reconstruction if reconstruction is not None else self.reconstruct(prepared)
        assert found.raw is not None
        tissue = self.tissue.score(prepared, None)
        contrast = prepared.contrast.contrast
        known: Contrast = contrast if table_name("tissue", contrast) in self.tables else "FLAIR"
        maps = {"network": found.raw, "tissue": tissue.anomaly}
        parts = {
            name: within(evidence(values, self.tables[table_name(name, known)]), tissue.evaluated)
            for name, values in maps.items()
        }
        return Score(mean_evidence(list(parts.values())), tissue.evaluated, parts)


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
    """A volume at 2 mm on the 1 mm grid, 0 outside the brain."""
    return within(resample(volume.astype(np.float32), small.template.grid, prepared.template.grid), prepared.brain_mask)
