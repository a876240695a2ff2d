"""What a run was, kept as a node attribute so that a saved scene can still move the threshold and cite its source."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ... import __version__
from ...detection import Detection
from ...errors import OptionsError
from ...findings.changes import PriorDate
from ...io.geometry import Affine, Grid
from .nodes.color_table import display_maximum
from .nodes.links import PREFIX, Node
from .presets import thresholds_by_rate
from .unit_words import short_unit

RECORD_ATTRIBUTE = PREFIX + "run"


@dataclass(frozen=True)
class RunRecord:
    """Settings and provenance of the run behind a node.

    ``template_from_index`` (4x4, row by row) maps voxel indices (i, j, k) to template RAS mm: unlike a matrix from
    RAS, it stays true when the input is moved by a transform or a transform is hardened. ``right_handed`` tells the
    order of slices it was written for. ``package`` is the SHA-256 of the model package, None for methods without one.
    ``details`` are the JSON values that a report cites: detector, contrast, registration, brain mask, time.
    ``thresholds_by_rate`` are pairs of the share of healthy brain voxels expected above a threshold, and the threshold;
    empty for detectors without a calibration. ``default_source`` says in words where the default threshold comes from.
    """

    program: str
    detector: str
    title: str
    unit: str
    package: str | None
    threshold: float
    threshold_source: str
    default_threshold: float
    minimum_mm3: float
    display_maximum: float
    template_from_index: tuple[tuple[float, ...], ...]
    right_handed: bool
    contrast: str
    brain_mask_method: str
    registration: str
    warnings: tuple[str, ...] = ()
    default_source: str = ""
    thresholds_by_rate: tuple[tuple[float, float], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def algorithm_name(self) -> str:
        """Name of the algorithm for DICOM: program, detector, version."""
        return f"BrainAnomaly {self.detector} {self.program.removeprefix('BrainAnomaly ')}"

    @property
    def legend_title(self) -> str:
        """Title of the color legend: what the colors mean."""
        return f"Anomaly ({short_unit(self.unit)})"

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The contrasts of an examination, the first scan's first; none of a single scan."""
        return tuple(str(one["contrast"]) for one in self.details.get("detector", {}).get("contrasts", ()))

    @property
    def prior(self) -> dict[str, Any] | None:
        """Name of an earlier date, smallest change in mL and the way to its scan; None without one."""
        found: dict[str, Any] | None = self.details.get("prior")
        return found

    def template_from_world(self, grid: Grid, right_handed: bool) -> Affine:
        """4x4 map from world RAS mm to template RAS mm for where the voxels lie now.

        Slicer's volume reader reverses the slices of a left-handed volume, so that a loaded scene may hold the same
        map with k counted from the other end.
        """
        template_from_index = np.array(self.template_from_index)
        if right_handed != self.right_handed:
            template_from_index = template_from_index @ _reversed_slices(grid.shape[2])
        return np.asarray(template_from_index @ np.linalg.inv(grid.affine))

    def with_threshold(self, threshold: float, minimum_mm3: float) -> RunRecord:
        """The same run cut at another threshold."""
        source = self.threshold_source if threshold == self.threshold else "chosen by the user"
        if threshold == self.default_threshold and self.default_source:
            source = self.default_source
        return replace(self, threshold=threshold, minimum_mm3=minimum_mm3, threshold_source=source)


def record_of(detection: Detection, right_handed: bool) -> RunRecord:
    """The record of a finished run on a volume node whose own axes are right-handed or not."""
    detector, findings = detection.detector, detection.findings
    default_threshold = float(detector.get("default_threshold", findings.threshold))
    matrix = detection.template_from_native @ detection.scan.grid.affine
    return RunRecord(
        program=f"BrainAnomaly {__version__}",
        detector=detector["name"],
        title=detector["title"],
        unit=detector["unit"],
        package=detector["package"],
        threshold=findings.threshold,
        threshold_source=detection.threshold_source,
        default_threshold=default_threshold,
        minimum_mm3=findings.minimum_mm3,
        display_maximum=display_maximum(detector["unit"], default_threshold),
        template_from_index=tuple(tuple(map(float, row)) for row in matrix),
        right_handed=right_handed,
        contrast=detection.contrast.contrast,
        brain_mask_method=detection.brain_mask_method,
        registration=detection.quality.verdict,
        warnings=detection.warnings,
        default_source=detection.threshold_source if findings.threshold == default_threshold else "",
        thresholds_by_rate=thresholds_by_rate(detector),
        details=_details(detection),
    )


def _details(detection: Detection) -> dict[str, Any]:
    return {
        "detector": detection.detector,
        "contrast": asdict(detection.contrast),
        "registration": asdict(detection.quality),
        "brain_ml": detection.scan.grid.volume_ml(detection.brain_mask),
        "created": time.strftime("%Y-%m-%d %H:%M"),
        "prior": None if detection.prior is None else _prior(detection.prior),
    }


def _prior(prior: PriorDate) -> dict[str, Any]:
    return {
        "name": prior.name,
        "smallest_ml": prior.smallest_ml,
        "before_from_now": prior.before_from_now.tolist(),
    }


def write_record(node: Node, record: RunRecord) -> None:
    """Keep the record on a node."""
    node.SetAttribute(RECORD_ATTRIBUTE, json.dumps(asdict(record)))


def has_record(node: Node) -> bool:
    """Whether a run left its record on this node."""
    return node.GetAttribute(RECORD_ATTRIBUTE) is not None


def read_record(node: Node) -> RunRecord:
    """The record kept on a node. Raises OptionsError if there is none, or one of another version of the program."""
    try:
        values = json.loads(node.GetAttribute(RECORD_ATTRIBUTE) or "")
        values["template_from_index"] = tuple(tuple(row) for row in values["template_from_index"])
        values["thresholds_by_rate"] = tuple(tuple(pair) for pair in values.get("thresholds_by_rate", ()))
        return RunRecord(**{**values, "warnings": tuple(values["warnings"])})
    except (ValueError, TypeError, KeyError) as error:
        raise OptionsError(
            f"'{node.GetName()}' does not say how it was computed.", "Run the detection again."
        ) from error


def _reversed_slices(count: int) -> Affine:
    matrix = np.diag([1.0, 1.0, -1.0, 1.0])
    matrix[2, 3] = count - 1.0
    return matrix
