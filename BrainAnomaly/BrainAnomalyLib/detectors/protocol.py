"""The protocol every detector follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

from ..io.geometry import Array, FloatArray, MaskArray
from ..io.volumes import Contrast
from ..preparation.prepared import PreparedScan
from ..preparation.recipe import Recipe
from ..progress import Progress, silent
from ..scoring.guard import GuardBank

# How a detector with a package is fitted to healthy scans that it has not learned from, which a class declares as
# ``calibrated_by``: "residual" (its map is divided by what healthy scans leave at a place) or "evidence" (its
# components are read off tables of healthy values). The training library has one way for each.
CalibrationKind = Literal["residual", "evidence"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A pseudo-healthy reconstruction on the template grid, in the prepared scan's intensity units.

    ``uncertainty`` is the standard deviation over repeated passes, None where the method has one pass. ``raw`` is the
    method's own score before calibration, None where that is the absolute residual. ``scan_scores`` and ``latent`` (d,)
    describe the scan as a whole; higher scores are less like the healthy cohort. ``parts`` are the maps, by name, that
    a combined detector weighs. ``structures`` are the healthy ones that belong at every voxel (i, j, k on the 2 mm
    template grid, 8 bits, ``detectors.anatomy.structures``), None where the method knows none.
    """

    pseudo_healthy: FloatArray
    uncertainty: FloatArray | None = None
    raw: FloatArray | None = None
    scan_scores: dict[str, float] = field(default_factory=dict)
    latent: FloatArray | None = None
    parts: dict[str, FloatArray] = field(default_factory=dict)
    structures: Array | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """An anomaly map on the template grid, before it is cleaned: higher is less like a healthy brain.

    ``evaluated`` marks the voxels the detector speaks about; the map is 0 elsewhere. ``components`` are the maps that
    a combined one is made of, by name, on the same grid.
    """

    anomaly: FloatArray
    evaluated: MaskArray
    components: dict[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class ThresholdAdvice:
    """The default threshold of a detector's anomaly map and where it comes from, in words."""

    value: float
    source: str
    # Thresholds by the fraction of healthy brain voxels expected above them, for example {0.01: 2.7}.
    by_false_positive_rate: dict[float, float]


class WithoutCalibration:
    """Base of detectors that have no healthy scans to compare a scan with."""

    @classmethod
    def on_device(cls, device: str) -> Self:
        """The detector; one that runs a network runs it on ``device`` (of ``devices.choose_device``)."""
        return cls()

    def slice_means_for(self, contrast: Contrast) -> FloatArray | None:
        """None."""
        return None

    def guard_for(self, contrast: Contrast) -> GuardBank | None:
        """None."""
        return None


class Detector(Protocol):
    """A family of methods. ``reconstruct`` may return None for methods that score directly.

    ``cleans_map`` asks for the seeds' post-processing of the map (5 x 5 x 5 median inside the eroded brain mask);
    ``contrasts`` are those the method is meant for.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    contrasts: ClassVar[tuple[Contrast, ...]]
    unit: ClassVar[str]
    cleans_map: ClassVar[bool]

    @property
    def config(self) -> Any:
        """The dataclass of all settings, saved as JSON with every result."""

    @property
    def package_identity(self) -> str | None:
        """SHA-256 of the model package in use, None for methods without one."""

    @property
    def recipe(self) -> Recipe:
        """How scans must be prepared for this detector."""

    @property
    def threshold(self) -> ThresholdAdvice:
        """The default threshold and the calibrated alternatives."""

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """``threshold``, or another where the map's meaning depends on the contrast."""

    def slice_means_for(self, contrast: Contrast) -> FloatArray | None:
        """``slice_means`` (scans, slices) of the contrast's calibration's healthy scans, None without a calibration."""

    def guard_for(self, contrast: Contrast) -> GuardBank | None:
        """What these healthy scans look like as a whole, None without a calibration."""

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction | None:
        """The pseudo-healthy reconstruction of a prepared scan."""

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The anomaly map of a prepared scan and its reconstruction."""
