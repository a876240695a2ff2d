"""The Slicer scene door: a volume node in, findings in the scene out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import slicer

from ...detection import Detection, DetectionOptions
from ...errors import OptionsError
from ...findings.table import Findings, find
from ...io.geometry import FloatArray
from ...io.volumes import Contrast, Scan
from ...progress import Progress, silent
from .color_table import remove_color_node_if_unused, show_above, show_as_gray, show_as_heat
from .findings_table import write_findings
from .links import (
    RESULT_KINDS,
    Node,
    PlotChartNode,
    PlotSeriesNode,
    SegmentationNode,
    TableNode,
    VolumeNode,
    batch,
    component_names,
    component_role,
    ensure_node,
    input_of,
    nodes_of_class,
    remove_result,
    result_node,
    result_roles,
    sweep_companions,
)
from .profile_plot import write_chart, write_profile_table, write_series
from .review import kept_mask, rejected_ids, rejected_region, remember_rejected, with_finding
from .run_record import RunRecord, has_record, read_record, record_of, write_record
from .scene_volumes import check_unchanged, is_right_handed, scan_from_node, voxels, world_grid, write_volume_node
from .segmentation import write_mask, write_segmentation
from .stored_detection import detection_from_scene
from .stored_structures import CachedRegions, remember_structures
from .subject_hierarchy import group_below, place_beside, remove_empty_group

# How the engine is run: in this process, in a worker process, on another machine. It must not touch the scene.
RunEngine = Callable[[Scan, str | None, DetectionOptions, Progress], Detection]

_RUN_AGAIN = "Run the detection again."
_OVERLAY_OPACITY = 0.75


@dataclass(frozen=True)
class DetectionNodes:
    """The nodes that hold the result of one input; None for what the detector does not make or the user deleted."""

    anomaly_map: VolumeNode | None
    pseudo_healthy: VolumeNode | None
    uncertainty: VolumeNode | None
    residual: VolumeNode | None
    segmentation: SegmentationNode | None
    findings_table: TableNode | None
    profile_table: TableNode | None
    normality_series: PlotSeriesNode | None
    mean_anomaly_series: PlotSeriesNode | None
    profile_chart: PlotChartNode | None
    # The maps that a combined one is made of, by name.
    components: dict[str, VolumeNode]

    def present(self) -> list[Node]:
        """Every node that is there."""
        single = [getattr(self, role) for role in RESULT_KINDS]
        return [node for node in (*single, *self.components.values()) if node is not None]

    def maps(self) -> list[VolumeNode]:
        """The anomaly map, first, and the components it is made of, as far as they are there."""
        nodes = [self.anomaly_map, *self.components.values()]
        return [node for node in nodes if node is not None]


def run_in_process(scan: Scan, detector_name: str | None, options: DetectionOptions, progress: Progress) -> Detection:
    """Run the engine here and now; right for scripts and tests, too slow for a panel."""
    from ...detection import detect

    return detect(scan, detector_name, options, progress)


class BrainAnomalySceneLogic:
    """Finds what does not belong in a brain scan and leaves the findings in the scene of that scan.

    Every input has at most one result. A second run replaces the content of its nodes, a moved threshold replaces
    findings only. Nothing is kept in this object that the scene does not hold: any instance can go on with the
    results of any other, also after the scene was saved and loaded.

    >>> logic = BrainAnomalySceneLogic()
    >>> nodes = logic.detect(inputNode, "tissue")
    >>> findings = logic.setThreshold(inputNode, 3.5, minimumMm3=50.0)

    A door that runs the engine elsewhere calls the three steps itself: ``scan_from_node``, its own run, ``apply``.
    """

    def __init__(self, runEngine: RunEngine = run_in_process) -> None:
        self._run_engine = runEngine
        self._cached_map, self._cached_residual = _CachedVolume(), _CachedVolume()
        self._cached_regions = CachedRegions()

    def detect(
        self,
        inputNode: VolumeNode,
        detectorName: str | None = None,
        options: DetectionOptions | None = None,
        progress: Progress = silent,
        contrast: Contrast = "unknown",
    ) -> DetectionNodes:
        """Run the detector on a volume and leave the result beside it. Raises BrainAnomalyError in plain words.

        Without a name the detector that suits the contrast is taken, as everywhere.

        If anything fails, or the volume leaves the scene meanwhile, an earlier result stays as it was.
        """
        scan = scan_from_node(inputNode, contrast)
        detection = self._run_engine(scan, detectorName, options or DetectionOptions(), progress)
        return self.apply(detection, inputNode)

    def apply(self, detection: Detection, inputNode: VolumeNode) -> DetectionNodes:
        """Leave a finished detection in the scene of ``inputNode``, the volume that was submitted.

        Raises ScanError, and leaves nothing behind, if that volume has left its scene or has other dimensions now.
        """
        check_unchanged(inputNode, detection.scan.grid.shape)
        scene, is_new = inputNode.GetScene(), not self.hasResults(inputNode)
        try:
            with batch(scene):
                sweep_companions(scene)
                _write_all(detection, inputNode)
        except Exception:
            if is_new:
                self.removeResults(inputNode)
            raise
        nodes = self.resultNodes(inputNode)
        components = list(nodes.components.values())
        place_beside(inputNode, [node for node in nodes.present() if node not in components])
        group_below(inputNode, components)
        return nodes

    def setThreshold(self, node: VolumeNode, threshold: float, minimumMm3: float = 20.0) -> Findings:
        """Cut the anomaly map that is in the scene at another threshold: segment, table and display follow.

        ``node`` is the input or any of its results. Nothing is run again. Raises OptionsError if the values make no
        sense or there is no anomaly map.
        """
        DetectionOptions(threshold=threshold, minimum_mm3=minimumMm3).checked()
        input_node = _input_behind(node)
        record = read_record(_required_map(input_node)).with_threshold(float(threshold), float(minimumMm3))
        findings = self._cut(input_node, record)
        _rewrite_findings(findings, self._rejected(input_node, findings), record, input_node)
        return findings

    def findings(self, node: VolumeNode) -> Findings:
        """The findings of an input at the threshold in use, rejected ones included. Raises OptionsError."""
        input_node = _input_behind(node)
        return self._cut(input_node, read_record(_required_map(input_node)))

    def rejected(self, node: VolumeNode, findings: Findings | None = None) -> frozenset[int]:
        """Numbers of the findings that the reader has rejected, at the threshold in use. Raises OptionsError.

        ``findings``, if they are at hand, spare cutting the map again.
        """
        input_node = _input_behind(node)
        return self._rejected(input_node, findings or self.findings(input_node))

    def keepAll(self, node: VolumeNode) -> None:
        """Take back every rejection. Raises OptionsError."""
        input_node = _input_behind(node)
        anomaly_map = _required_map(input_node)
        remember_rejected(anomaly_map, None)
        _rewrite_findings(self.findings(input_node), frozenset(), read_record(anomaly_map), input_node)

    def setKept(self, node: VolumeNode, number: int, kept: bool) -> frozenset[int]:
        """Keep or reject a finding; rejected ones leave the segment. Returns the numbers of all rejected ones.

        The decision is saved in the scene and holds at other thresholds where the finding still overlaps. A new run
        forgets it. Raises OptionsError for a number that no finding has.
        """
        input_node = _input_behind(node)
        findings = self.findings(input_node)
        if not 1 <= number <= len(findings.table):
            raise OptionsError(f"There is no finding {number}.", "Choose one of the table.")
        anomaly_map = _required_map(input_node)
        remember_rejected(anomaly_map, with_finding(rejected_region(anomaly_map), findings, number, kept))
        rejected = self._rejected(input_node, findings)
        _rewrite_findings(findings, rejected, read_record(anomaly_map), input_node)
        return rejected

    def detection(self, node: VolumeNode) -> Detection:
        """The detection that the scene holds, for a report or an export; its findings are the kept ones."""
        input_node = _input_behind(node)
        findings = self.findings(input_node)
        return detection_from_scene(input_node, findings, self._rejected(input_node, findings))

    def _cut(self, input_node: VolumeNode, record: RunRecord) -> Findings:
        anomaly_map = _required_map(input_node)
        grid = world_grid(anomaly_map)
        matrix = record.template_from_world(grid, is_right_handed(anomaly_map))
        residual = result_node(input_node, "residual")
        expected = None if residual is None or residual.GetImageData() is None else self._cached_residual.of(residual)
        cut = find(self._cached_map.of(anomaly_map), grid, matrix, record.threshold, record.minimum_mm3, expected)
        return self._cached_regions.of(anomaly_map, record).named(cut) if cut.table else cut

    def _rejected(self, input_node: VolumeNode, findings: Findings) -> frozenset[int]:
        anomaly_map = _required_map(input_node)
        return rejected_ids(findings, self._cached_map.of(anomaly_map), rejected_region(anomaly_map))

    def record(self, node: VolumeNode) -> RunRecord:
        """Settings and provenance of the result of an input (or of any node of that result). Raises OptionsError."""
        return read_record(_required_map(_input_behind(node)))

    def resultNodes(self, inputNode: VolumeNode) -> DetectionNodes:
        """The nodes of the input's result, with None where there is none."""
        single = {role: result_node(inputNode, role) for role in RESULT_KINDS}
        parts = {name: result_node(inputNode, component_role(name)) for name in component_names(inputNode)}
        return DetectionNodes(**single, components=parts)

    def hasResults(self, inputNode: VolumeNode) -> bool:
        """Whether any result node of this input is in the scene."""
        return any(result_node(inputNode, role) is not None for role in result_roles(inputNode))

    def removeResults(self, inputNode: VolumeNode) -> None:
        """Remove all results of this input; results of other inputs stay."""
        scene = inputNode.GetScene()
        if scene is None:
            return
        with batch(scene):
            for role in result_roles(inputNode):
                remove_result(inputNode, role)
            remove_empty_group(inputNode)
            sweep_companions(scene)
            remove_color_node_if_unused(scene)

    def showInSliceViews(self, inputNode: VolumeNode, opacity: float = _OVERLAY_OPACITY) -> None:
        """Show the input with its anomaly map over it in all slice views; for the user who asked for the run."""
        anomaly_map = _required_map(inputNode)
        for composite in nodes_of_class(inputNode.GetScene(), "vtkMRMLSliceCompositeNode"):
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(inputNode.GetID())
                composite.SetForegroundVolumeID(anomaly_map.GetID())
                composite.SetForegroundOpacity(opacity)


class _CachedVolume:
    """The map last cut, as an (i, j, k) array of the scene's own memory order: masks of it need no turning."""

    def __init__(self) -> None:
        self._key: tuple[str, int] | None = None
        self._array: FloatArray = np.zeros((0, 0, 0), dtype=np.float32)

    def of(self, node: VolumeNode) -> FloatArray:
        """The array of ``node``, taken again only if its voxels have changed since."""
        image = node.GetImageData()
        # The address tells scenes apart, the time stamps tell contents apart; VTK never issues one twice.
        key = (image.__this__, max(image.GetMTime(), image.GetPointData().GetScalars().GetMTime()))
        if key != self._key:
            self._key, self._array = key, np.asarray(voxels(node), dtype=np.float32)
        return self._array


def _input_behind(node: VolumeNode) -> VolumeNode:
    """``node`` itself if it is an input, the input it was computed from if it is a result."""
    input_node = input_of(node)
    if input_node is None and has_record(node):
        raise OptionsError(f"The scan that '{node.GetName()}' was computed from is no longer in the scene.", _RUN_AGAIN)
    return input_node or node


def _required_map(input_node: VolumeNode) -> VolumeNode:
    node = result_node(input_node, "anomaly_map")
    if node is None or node.GetImageData() is None:
        raise OptionsError(f"There is no anomaly map of '{input_node.GetName()}' in the scene.", _RUN_AGAIN)
    return node


def _write_all(detection: Detection, input_node: VolumeNode) -> None:
    record = record_of(detection, is_right_handed(input_node))
    _write_volumes(detection, record, input_node)
    _write_profile(detection, record, input_node)
    segmentation = ensure_node(input_node, "segmentation")
    write_segmentation(segmentation, detection.findings.labels > 0, input_node, record.algorithm_name)
    write_record(segmentation, record)
    table = ensure_node(input_node, "findings_table")
    write_findings(table, detection.findings)
    write_record(table, record)


def _write_volumes(detection: Detection, record: RunRecord, input_node: VolumeNode) -> None:
    """All volumes of the detection; one that this detector does not make goes, it would be of an earlier run."""
    volumes = {
        "anomaly_map": detection.anomaly,
        "pseudo_healthy": detection.pseudo_healthy,
        "uncertainty": detection.uncertainty,
        "residual": detection.residual,
        **{component_role(name): None for name in component_names(input_node)},
        **{component_role(name): part for name, part in detection.components.items()},
    }
    for role, array in volumes.items():
        if array is None:
            remove_result(input_node, role)
            continue
        node = ensure_node(input_node, role)
        with slicer.util.NodeModify(node):
            write_volume_node(node, array, input_node)
            write_record(node, record)
            remember_rejected(node, None)
            if role == "anomaly_map":
                remember_structures(node, detection.structures, detection.structures_source)
        _show_volume(node, role, record, input_node)


def _show_volume(node: VolumeNode, role: str, record: RunRecord, input_node: VolumeNode) -> None:
    """Window of a result volume. Only the maps are meant for an overlay, the others wait until they are chosen.

    Components are evidence as the combined map is: the same colors and threshold, so that they compare.
    """
    low, high = _window(input_node)
    if role == "anomaly_map" or role not in RESULT_KINDS:
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


def _rewrite_findings(findings: Findings, rejected: frozenset[int], record: RunRecord, input_node: VolumeNode) -> None:
    """Segment, table and display for another threshold; what the user deleted comes back."""
    anomaly_map = _required_map(input_node)
    for role in ("anomaly_map", *map(component_role, component_names(input_node))):
        if (node := result_node(input_node, role)) is not None:
            show_above(node, record.threshold, record.display_maximum)
    had_segmentation = result_node(input_node, "segmentation") is not None
    segmentation = ensure_node(input_node, "segmentation")
    mask = kept_mask(findings, rejected)
    if had_segmentation:
        write_mask(segmentation, mask, anomaly_map)
    else:
        write_segmentation(segmentation, mask, input_node, record.algorithm_name)
    table = ensure_node(input_node, "findings_table")
    write_findings(table, findings, rejected)
    for node in (anomaly_map, segmentation, table):
        write_record(node, record)
