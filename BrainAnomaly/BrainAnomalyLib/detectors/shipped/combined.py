"""One map for every contrast: what differs from the scan's own healthy structures, with further evidence.

Components are the deviation from what the scan itself should look like, how sure the structure network is that
something else lies there, the map of the network for any contrast, the left-right asymmetry, and for FLAIR the tissue
reference. What the scan should look like also heals it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

import numpy as np

from ...devices import side_branch
from ...errors import PackageError
from ...io.geometry import FloatArray, MaskArray
from ...io.volumes import Contrast
from ...packages.read import Package
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, part, silent
from ...scoring.guard import UNEXPLAINED
from ...scoring.residuals import cleaned
from ..anatomy.anatomy import AnatomyConfig, healthy_anatomy, weighted_deviation
from ..anatomy.structure_network import structures_identity
from ..baselines.asymmetry import AsymmetryDetector
from ..baselines.tissue import TissueDetector
from ..evidence_detector import EvidenceDetector, within
from ..other_grid import at_2_mm, onto
from ..protocol import Reconstruction

DEVIATION, LESION, NETWORK, ASYMMETRY, TISSUE = "deviation", "lesion", "network", "asymmetry", "tissue"
# How sure the network is counts as evidence of its own, not as a factor of the deviation.
_PLAIN = AnatomyConfig(certainty=0.0)


@dataclass(frozen=True)
class CombinedConfig:
    """Weights of the components' evidence, the same for every contrast; ``tissue`` counts on FLAIR alone.

    ``Testing/benchmarks/combination.py`` says what they are worth. ``structures`` is the identity of the structure
    network that the tables were made with.
    """

    deviation: float = 2.0
    lesion: float = 1.0
    network: float = 1.0
    asymmetry: float = 1.0
    tissue: float = 1.0
    structures: str = field(default_factory=structures_identity)


class CombinedDetector(EvidenceDetector):
    """Evidence of the deviation from the scan's own healthy structures, the certainty that something else lies there,
    the network for any contrast and the asymmetry (2 mm), and for FLAIR the tissue reference (1 mm)."""

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Combined: healthy structures, network and other side"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w", "T1w", "PD")
    # Fluid and cortex are bright on PD as they are on T2w.
    nearest: ClassVar[Mapping[Contrast, Contrast]] = {"PD": "T2w"}
    part_names: ClassVar[tuple[str, ...]] = (NETWORK,)
    Config: ClassVar[type] = CombinedConfig
    recipe = Recipe(grid="template_1mm")

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> Self:
        """As every detector's; also raises PackageError for other components or another structure network."""
        remedy = "Use the package that comes with BrainAnomaly, and calibrate that again on your own healthy scans."
        config, known = package.metadata["config"], {entry.name for entry in fields(CombinedConfig)}
        if package.metadata["detector"] == cls.name and set(config) != known:
            raise PackageError(f"The model package '{package.folder.name}' weighs other maps than now.", remedy)
        detector = super().from_package(package, device)
        if detector.config.structures != structures_identity():
            message = f"The model package '{package.folder.name}' was calibrated with another structure network."
            raise PackageError(message, remedy)
        return detector

    def weights(self, contrast: Contrast) -> dict[str, float]:
        """Of the components that a contrast has, by name."""
        without = self.nearest.get(contrast, contrast) in ("T2w", "T1w")
        names = (DEVIATION, LESION, NETWORK, ASYMMETRY, *(() if without else (TISSUE,)))
        return {name: getattr(self.config, name) for name in names}

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The healed brain and every component's map; the networks' grid has voxels of 2 mm."""
        small = at_2_mm(prepared)
        network, tissue = self.parts[NETWORK], TISSUE in self.weights(prepared.shown)
        with side_branch() as beside:
            found = beside.submit(network.reconstruct, small)
            reference = beside.submit(_tissue, prepared) if tissue else None
            healthy = healthy_anatomy(small, part(progress, 0.0, 0.7), network.device)
            asymmetry = _asymmetry(small)
            progress("Looking for lesions", 0.8)
            coarse = {
                DEVIATION: np.abs(weighted_deviation(healthy, small, _PLAIN)),
                LESION: healthy.covered,
                NETWORK: network.score(small, found.result()).anomaly,
                ASYMMETRY: asymmetry,
            }
            maps = {name: onto(values, small, prepared) for name, values in coarse.items()}
            maps |= {} if reference is None else {TISSUE: reference.result()}
        correction = onto(small.image - healthy.healed, small, prepared)
        healed = within(prepared.image - correction, prepared.brain_mask)
        scores = {UNEXPLAINED: 1.0 - healthy.explained}
        return Reconstruction(healed, scan_scores=scores, parts=maps, structures=healthy.structures)

    def evaluated(self, prepared: PreparedScan) -> MaskArray:
        """The brain without its surface, where fluid and skull bleed in."""
        return TissueDetector().evaluated(prepared)


def _tissue(prepared: PreparedScan) -> FloatArray:
    return TissueDetector().score(prepared, None).anomaly


def _asymmetry(small: PreparedScan) -> FloatArray:
    asymmetry = AsymmetryDetector()
    sides = asymmetry.score(small, asymmetry.reconstruct(small))
    return cleaned(sides.anomaly, sides.evaluated)
