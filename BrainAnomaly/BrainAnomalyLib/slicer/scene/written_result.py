"""A detection written into the nodes of a scan's result, and its findings written anew when they change."""

from __future__ import annotations

from collections.abc import Mapping

import slicer

from ...detection import Detection
from ...findings.changes import REACH
from ...findings.table import Findings
from ...io.geometry import FloatArray
from .comments import forget_comments
from .findings_table import write_findings
from .nodes.color_table import show_above, show_as_difference, show_as_gray, show_as_heat
from .nodes.links import (
    PRIOR_VOLUMES,
    RESULT_KINDS,
    VolumeNode,
    component_names,
    component_role,
    ensure_node,
    prior_role,
    remove_result,
    result_node,
)
from .nodes.scene_volumes import is_right_handed, write_volume_node
from .nodes.segmentation import write_mask, write_segmentation
from .profile_plot import write_chart, write_profile_table, write_series
from .review import kept_mask, remember_rejected
from .run_record import RunRecord, record_of, write_record
from .stored_structures import remember_structures

# A lesion of full strength differs by half the brain's median, as Testing/painted_examinations.py paints them.
_MOST_DIFFERENCE = 0.5
# Colors of differences begin at a third of their scale; a change reaches as far as ``REACH``.
_THRICE = 3.0
# Twice the brain's median, in which the earlier scan is given, is white.
_PRIOR_WHITE = 2.0


def write_detection(detection: Detection, input_node: VolumeNode) -> None:
    """Every part of a detection of ``input_node``; what this detection does not have goes."""
    record = record_of(detection, is_right_handed(input_node))
    _write_volumes(detection, record, input_node)
    _write_profile(detection, record, input_node)
    segmentation = ensure_node(input_node, "segmentation")
    write_segmentation(segmentation, detection.findings.labels > 0, input_node, record.algorithm_name)
    write_record(segmentation, record)
    table = ensure_node(input_node, "findings_table")
    write_findings(table, detection.findings)
    write_record(table, record)


def rewrite_findings(
    findings: Findings,
    rejected: frozenset[int],
    comments: Mapping[int, str],
    record: RunRecord,
    input_node: VolumeNode,
) -> None:
    """Segment, table and display of other findings or another review; what the user deleted comes back."""
    anomaly_map = result_node(input_node, "anomaly_map")
    for role in ("anomaly_map", *map(component_role, component_names(input_node))):
        if (node := result_node(input_node, role)) is not None and not _is_signed(role, record):
            show_above(node, record.threshold, record.display_maximum)
    had_segmentation = result_node(input_node, "segmentation") is not None
    segmentation = ensure_node(input_node, "segmentation")
    mask = kept_mask(findings, rejected)
    if had_segmentation:
        write_mask(segmentation, mask, anomaly_map)
    else:
        write_segmentation(segmentation, mask, input_node, record.algorithm_name)
    table = ensure_node(input_node, "findings_table")
    write_findings(table, findings, rejected, comments)
    for node in (anomaly_map, segmentation, table):
        write_record(node, record)


def _volumes(detection: Detection, input_node: VolumeNode) -> dict[str, FloatArray | None]:
    """Role to array for all volumes that a result may have or has had."""
    prior = detection.prior
    return {
        "anomaly_map": detection.anomaly,
        "pseudo_healthy": detection.pseudo_healthy,
        "uncertainty": detection.uncertainty,
        "residual": detection.residual,
        **{component_role(name): None for name in component_names(input_node)},
        **{component_role(name): part for name, part in detection.components.items()},
        **{prior_role(name): None if prior is None else getattr(prior, name) for name in PRIOR_VOLUMES},
    }


def _write_volumes(detection: Detection, record: RunRecord, input_node: VolumeNode) -> None:
    """All volumes of the detection; one that it does not have goes, it would be of an earlier run."""
    for role, array in _volumes(detection, input_node).items():
        if array is None:
            remove_result(input_node, role)
            continue
        node = ensure_node(input_node, role)
        with slicer.util.NodeModify(node):
            write_volume_node(node, array, input_node)
            write_record(node, record)
            if role == "anomaly_map":
                remember_rejected(node, None)
                forget_comments(node)
                remember_structures(node, detection.structures, detection.structures_source)
        _show_volume(node, role, record, input_node)


def _is_signed(role: str, record: RunRecord) -> bool:
    """Whether a map is below 0 where its contrast is darker than expected."""
    return role in map(component_role, record.contrasts)


def _show_volume(node: VolumeNode, role: str, record: RunRecord, input_node: VolumeNode) -> None:
    """Window of a result volume. Only the maps are meant for an overlay, the others wait until they are chosen.

    Components are evidence as the combined map is: the same colors and threshold, so that they compare.
    """
    low, high = _window(input_node)
    if role == prior_role("growth"):
        show_as_difference(node, _THRICE * REACH, "Change (spreads)")
    elif role == prior_role("difference"):
        show_as_difference(node, _MOST_DIFFERENCE, "Later minus earlier (of the median)")
    elif role == prior_role("scan"):
        show_as_gray(node, 0.0, _PRIOR_WHITE)
    elif _is_signed(role, record):
        show_as_difference(node, record.display_maximum, "Darker, brighter (rarity)")
    elif role in ("anomaly_map", prior_role("anomaly")) or role not in RESULT_KINDS:
        show_as_heat(node, record.threshold, record.display_maximum, record.legend_title)
    elif role == "pseudo_healthy":
        show_as_gray(node, low, high)
    elif role == "residual":
        show_as_gray(node, (low - high) / 2.0, (high - low) / 2.0)
    else:
        show_as_gray(node, 0.0, (high - low) / 4.0)


def _window(input_node: VolumeNode) -> tuple[float, float]:
    """The gray values that the input shows as black and white."""
    display = input_node.GetScalarVolumeDisplayNode()
    if display is None or display.GetWindow() <= 0.0:
        low, high = input_node.GetImageData().GetScalarRange()
        return float(low), float(high)
    return float(display.GetWindowLevelMin()), float(display.GetWindowLevelMax())


def _write_profile(detection: Detection, record: RunRecord, input_node: VolumeNode) -> None:
    table = ensure_node(input_node, "profile_table")
    highest = write_profile_table(table, detection.profile, record.default_threshold)
    write_record(table, record)
    series = ensure_node(input_node, "normality_series"), ensure_node(input_node, "mean_anomaly_series")
    write_series(*series, table)
    write_chart(ensure_node(input_node, "profile_chart"), series, highest)
