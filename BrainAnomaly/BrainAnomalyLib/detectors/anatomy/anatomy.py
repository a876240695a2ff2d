"""The anatomy model as a detector: what differs from what the scan itself should look like, in any contrast.

A network that looks through disease says which structures belong where; their levels are the scan's own; what deviates
is a finding, brighter or darker. Nothing depends on the unit or offset of the intensities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ...devices import choose_device
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration
from .expected_scan import expected_scan, pseudo_healthy, with_place
from .structure_network import GRID, StructureNetwork, load_structure_network, probabilities
from .structures import index_of

BRIGHTER, DARKER = "brighter", "darker"
# Testing/benchmarks/anatomy.py --part healthy.
_THRESHOLD = 2.3
_SOURCE = "spreads of the scan's own structures; at most 1 mL in the mean of a few healthy scans of each contrast"


@dataclass(frozen=True)
class AnatomyConfig:
    """Smoothing of the deviation in mm, and its weight where no white matter belongs, as in ``tissue``."""

    smoothing_mm: float = 1.0
    white_matter_floor: float = 0.5


class AnatomyDetector(WithoutCalibration):
    """How many spreads a scan is away from what its own healthy structures lead one to expect."""

    name: ClassVar[str] = "anatomy"
    title: ClassVar[str] = "Anatomy: deviation from the scan's own healthy structures"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w", "T1w", "PD")
    unit: ClassVar[str] = "spreads of the scan's own healthy structures"
    cleans_map: ClassVar[bool] = False
    package_identity: None = None

    def __init__(self, config: AnatomyConfig | None = None) -> None:
        self.config = config or AnatomyConfig()
        self.recipe = Recipe(grid=GRID)
        self.threshold = ThresholdAdvice(_THRESHOLD, f"{_THRESHOLD:g} {_SOURCE}", {})

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """The same for every contrast: the unit is the scan's own."""
        return self.threshold

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The scan as it should be; its parts are the signed deviation and the share of white matter."""
        structures = _network(choose_device())
        progress("Finding the structures that belong there", 0.1)
        shares = probabilities(structures.network, prepared.image, prepared.brain_mask)
        progress("Working out what the scan should look like", 0.7)
        shares = with_place(shares, structures.place_prior)
        found = expected_scan(prepared.image, prepared.brain_mask, shares)
        healed = np.where(prepared.brain_mask, pseudo_healthy(prepared.image, found), 0.0).astype(np.float32)
        white = shares[index_of("white matter")]
        return Reconstruction(healed, parts={"deviation": found.deviation, "white matter": white})

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The larger of both deviations, weighted toward white matter; brighter and darker are its components."""
        from scipy import ndimage

        assert reconstruction is not None
        sigma = self.config.smoothing_mm / prepared.template.grid.spacing[0]
        deviation = ndimage.gaussian_filter(reconstruction.parts["deviation"], sigma)
        floor = self.config.white_matter_floor
        weight = (floor + ndimage.gaussian_filter(reconstruction.parts["white matter"], 1.0)) / (floor + 1.0)
        weighted = np.where(prepared.brain_mask, deviation * weight, 0.0).astype(np.float32)
        brighter, darker = np.maximum(weighted, 0.0), np.maximum(-weighted, 0.0)
        return Score(np.maximum(brighter, darker), prepared.brain_mask, {BRIGHTER: brighter, DARKER: darker})


@lru_cache(maxsize=1)
def _network(device: str) -> StructureNetwork:
    return load_structure_network(device)
