"""The detection that a scene holds, as the engine's value again: for reports and exports, also after saving."""

from __future__ import annotations

from typing import Any

import numpy as np
from vtk.util import numpy_support

from ...detection import Detection
from ...errors import OptionsError
from ...findings.changes import PriorDate
from ...findings.slice_profile import SliceProfile
from ...findings.table import Findings
from ...io.geometry import FloatArray
from ...preparation.intensity.contrast import ContrastGuess
from ...preparation.space.quality import RegistrationQuality
from .nodes.links import (
    PRIOR_VOLUMES,
    TableNode,
    VolumeNode,
    component_names,
    component_role,
    prior_role,
    result_node,
)
from .nodes.scene_volumes import is_right_handed, scan_from_node, voxels, world_grid
from .profile_plot import MEAN, NORMALITY, POSITION
from .run_record import RunRecord, read_record
from .stored_structures import stored_structures

_PROFILE = {
    "position_mm": POSITION,
    "normality": NORMALITY,
    "mean_anomaly": MEAN,
    "absolute_normality": "absolute_normality",
    "brain_fraction": "brain_fraction",
}


def detection_from_scene(input_node: VolumeNode, findings: Findings) -> Detection:
    """The result of ``input_node`` as a Detection with these findings.

    The scene holds no brain mask: the one given here is where a healthy brain is expected, or, for a detector that
    expects none, where the scan has any signal. Raises OptionsError, ScanError.
    """
    anomaly_map = result_node(input_node, "anomaly_map")
    record = read_record(anomaly_map)
    scan = scan_from_node(input_node)
    kept, healthy = stored_structures(anomaly_map), _result(input_node, "pseudo_healthy")
    return Detection(
        scan=scan,
        anomaly=_values(anomaly_map),
        pseudo_healthy=healthy,
        uncertainty=_result(input_node, "uncertainty"),
        residual=_result(input_node, "residual"),
        brain_mask=(scan.array if healthy is None else healthy) != 0.0,
        findings=findings,
        profile=_profile(input_node),
        template_from_native=record.template_from_world(world_grid(anomaly_map), is_right_handed(anomaly_map)),
        contrast=_detail(record, "contrast", ContrastGuess),
        quality=_detail(record, "registration", RegistrationQuality),
        brain_mask_method=record.brain_mask_method,
        detector=dict(record.details["detector"]),
        threshold_source=record.threshold_source,
        warnings=record.warnings,
        components=_components(input_node),
        structures=kept.structures,
        structures_source=kept.source,
        prior=stored_prior(input_node, record),
    )


def stored_prior(input_node: VolumeNode, record: RunRecord) -> PriorDate | None:
    """The earlier date of a result, None where there is none or the user has deleted a part of it."""
    facts, nodes = record.prior, {name: result_node(input_node, prior_role(name)) for name in PRIOR_VOLUMES}
    if facts is None or any(node is None or node.GetImageData() is None for node in nodes.values()):
        return None
    return PriorDate(
        name=str(facts["name"]),
        smallest_ml=float(facts["smallest_ml"]),
        before_from_now=np.asarray(facts["before_from_now"]),
        **{name: np.asarray(voxels(node), dtype=np.float32) for name, node in nodes.items()},
    )


def _detail(record: RunRecord, name: str, kind: Any) -> Any:
    try:
        return kind(**record.details[name])
    except (KeyError, TypeError) as error:
        raise OptionsError(
            "The result in the scene is of an earlier version and says too little for this.", "Run the detection again."
        ) from error


def _values(node: VolumeNode) -> FloatArray:
    return np.ascontiguousarray(voxels(node), dtype=np.float32)


def _result(input_node: VolumeNode, role: str) -> FloatArray | None:
    node = result_node(input_node, role)
    return None if node is None or node.GetImageData() is None else _values(node)


def _components(input_node: VolumeNode) -> dict[str, FloatArray]:
    """The maps that a combined map is made of, by name."""
    found = {name: _result(input_node, component_role(name)) for name in component_names(input_node)}
    return {name: part for name, part in found.items() if part is not None}


def _profile(input_node: VolumeNode) -> SliceProfile:
    node = result_node(input_node, "profile_table")
    return SliceProfile(**{field: _column(node, name) for field, name in _PROFILE.items()})


def _column(node: TableNode | None, name: str) -> Any:
    """One column of the profile; empty if the user has deleted the table."""
    array = None if node is None else node.GetTable().GetColumnByName(name)
    return np.zeros(0) if array is None else np.array(numpy_support.vtk_to_numpy(array), dtype=np.float64)
