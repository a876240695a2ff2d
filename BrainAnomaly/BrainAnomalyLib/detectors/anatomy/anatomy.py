"""The anatomy model as a detector: what differs from what the scan itself should look like, in any contrast.

A network that looks through disease says which structures belong where; their levels are the scan's own; what deviates
is a finding, brighter or darker, the more so the surer the same network is that something else lies there. Nothing
depends on the unit or offset of the intensities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple, Self

import numpy as np

from ...devices import choose_device
from ...io.geometry import Array, FloatArray
from ...io.volumes import Contrast
from ...preparation.prepared import PreparedScan
from ...preparation.recipe import Recipe
from ...progress import Progress, silent
from ..protocol import Reconstruction, Score, ThresholdAdvice, WithoutCalibration
from .expected_scan import expected_scan, pseudo_healthy, with_place
from .structure_network import GRID, StructureNetwork, load_structure_network, look
from .structures import index_of

BRIGHTER, DARKER = "brighter", "darker"
# Testing/benchmarks/anatomy.py --part healthy: the least that leaves 1 mL; of T2w and FLAIR the larger one.
_THRESHOLD, _T1W_THRESHOLD = 1.3, 0.35
_SOURCE = "spreads of the scan's own structures: at most 1 mL of findings per healthy scan on average, measured on"
_HEADS, _T1W_HEADS = "five T2w heads and one FLAIR head", "14 T1w heads of three scanners"
# No lesion map is so sure that a plain deviation counts for nothing.
_LEAST_SURE = 1e-4


@dataclass(frozen=True)
class AnatomyConfig:
    """How a deviation counts: ``smoothing_mm`` of it, ``white_matter_floor`` its weight where no white matter belongs,
    as in ``tissue``; ``certainty`` is the power of the probability that something else lies there (0: it says nothing).
    """

    smoothing_mm: float = 1.0
    white_matter_floor: float = 0.5
    certainty: float = 0.5


class HealthyAnatomy(NamedTuple):
    """Of a scan at 2 mm (i, j, k): what it should look like, signed deviation, share of white matter, probability that
    something else lies there, and the structure that belongs there (8 bits). All 0 outside the brain. ``explained`` is
    the share of the healthy voxels' variance that the scan's own structures explain."""

    healed: FloatArray
    deviation: FloatArray
    white_matter: FloatArray
    covered: FloatArray
    structures: Array
    explained: float


def healthy_anatomy(small: PreparedScan, progress: Progress = silent, device: str = "auto") -> HealthyAnatomy:
    """What the embedded network, on ``device``, and the scan's own intensities say of a scan on the 2 mm grid."""
    structures = _network(choose_device(device))
    progress("Finding the structures that belong there", 0.1)
    seen = look(structures.network, small.image, small.brain_mask)
    progress("Working out what the scan should look like", 0.7)
    shares = with_place(seen.shares, structures.place_prior)
    found = expected_scan(small.image, small.brain_mask, shares)
    covered = np.where(small.brain_mask, 1.0 / (1.0 + np.exp(-seen.lesion)), 0.0).astype(np.float32)
    healed = np.where(small.brain_mask, pseudo_healthy(small.image, found, covered), 0.0).astype(np.float32)
    white_matter, belongs = shares[index_of("white matter")], shares.argmax(axis=0).astype(np.uint8)
    return HealthyAnatomy(healed, found.deviation, white_matter, covered, belongs, found.explained)


def weighted_deviation(found: HealthyAnatomy, small: PreparedScan, config: AnatomyConfig) -> FloatArray:
    """The signed deviation as ``config`` counts it (i, j, k)."""
    from scipy import ndimage

    deviation = ndimage.gaussian_filter(found.deviation, config.smoothing_mm / small.template.grid.spacing[0])
    floor = config.white_matter_floor
    weight = (floor + ndimage.gaussian_filter(found.white_matter, 1.0)) / (floor + 1.0)
    sure = np.maximum(found.covered, _LEAST_SURE) ** config.certainty
    return np.where(small.brain_mask, deviation * weight * sure, 0.0).astype(np.float32)


class AnatomyDetector(WithoutCalibration):
    """How many spreads a scan is away from what its own healthy structures lead one to expect."""

    name: ClassVar[str] = "anatomy"
    title: ClassVar[str] = "Anatomy: deviation from the scan's own healthy structures"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("FLAIR", "T2w", "T1w", "PD")
    unit: ClassVar[str] = "spreads of the scan's own healthy structures"
    cleans_map: ClassVar[bool] = False
    package_identity: None = None

    def __init__(self, config: AnatomyConfig | None = None, device: str = "auto") -> None:
        """``device`` as of ``devices.choose_device``."""
        self.config, self.device = config or AnatomyConfig(), device
        self.recipe = Recipe(grid=GRID)
        self.threshold = ThresholdAdvice(_THRESHOLD, f"{_SOURCE} {_HEADS}", {})

    @classmethod
    def on_device(cls, device: str) -> Self:
        """The detector whose network runs there."""
        return cls(device=device)

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Lower for T1w, whose tissues differ more than their own spreads."""
        return ThresholdAdvice(_T1W_THRESHOLD, f"{_SOURCE} {_T1W_HEADS}", {}) if contrast == "T1w" else self.threshold

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The scan as it should be; its part is the signed deviation as it counts."""
        found = healthy_anatomy(prepared, progress, self.device)
        deviation = weighted_deviation(found, prepared, self.config)
        return Reconstruction(found.healed, parts={"deviation": deviation}, structures=found.structures)

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The larger of both deviations; brighter and darker are its components."""
        assert reconstruction is not None
        deviation = reconstruction.parts["deviation"]
        brighter, darker = np.maximum(deviation, 0.0), np.maximum(-deviation, 0.0)
        return Score(np.abs(deviation), prepared.brain_mask, {BRIGHTER: brighter, DARKER: darker})


@lru_cache(maxsize=1)
def _network(device: str) -> StructureNetwork:
    return load_structure_network(device)
