"""The Slicer scene door: a volume node in, findings in the scene out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import slicer

from ...detection import Detection, DetectionOptions
from ...errors import OptionsError
from ...findings.changes import followed
from ...findings.contrasts_seen import with_contrasts
from ...findings.table import Findings, find
from ...io.geometry import FloatArray
from ...io.volumes import Contrast, Scan
from ...progress import Progress, silent
from .comments import COMMENTS_ATTRIBUTE, comments_on, remember_comment
from .nodes.color_table import remove_color_nodes_if_unused
from .nodes.links import (
    PRIOR_VOLUMES,
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
    input_of,
    nodes_of_class,
    prior_role,
    remove_result,
    result_node,
    result_roles,
    sweep_companions,
)
from .nodes.placement import PRIOR, Place, lay, other_names, other_scan, places_of, sweep_places, take_all_off
from .nodes.scene_volumes import check_unchanged, is_right_handed, scan_from_node, voxels, world_grid
from .nodes.subject_hierarchy import group_below, place_beside, remove_empty_group
from .review import REJECTED_ATTRIBUTE, rejected_ids, rejected_region, remember_rejected, with_finding
from .run_record import RunRecord, has_record, read_record
from .stored_detection import detection_from_scene, stored_prior
from .stored_structures import CachedRegions
from .written_result import rewrite_findings, write_detection

# How the engine is run: in this process, in a worker process, on another machine. It must not touch the scene.
RunEngine = Callable[[Scan, str | None, DetectionOptions, Progress], Detection]

_RUN_AGAIN = "Run the detection again."
_OVERLAY_OPACITY = 0.75


class ReviewState(NamedTuple):
    """All that a reader has decided and said about a result, as the scene keeps it; None for nothing."""

    rejected: str | None
    comments: str | None


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
    # Volumes of an earlier date, by their name of ``links.PRIOR_VOLUMES``.
    prior: dict[str, VolumeNode]

    def present(self) -> list[Node]:
        """Every node that is there."""
        single = [getattr(self, role) for role in RESULT_KINDS]
        return [node for node in (*single, *self.components.values(), *self.prior.values()) if node is not None]

    def maps(self) -> list[VolumeNode]:
        """The anomaly map, first, the components it is made of and the subtraction, as far as they are there."""
        nodes = [self.anomaly_map, *self.components.values(), self.prior.get("difference")]
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
        self._cached: defaultdict[str, _CachedVolume] = defaultdict(_CachedVolume)
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

    def apply(
        self,
        detection: Detection,
        inputNode: VolumeNode,
        furtherNodes: Sequence[VolumeNode] = (),
        priorNode: VolumeNode | None = None,
    ) -> DetectionNodes:
        """Leave a finished detection in the scene of ``inputNode``, the volume that was submitted.

        ``furtherNodes`` are the other contrasts of an examination in the order they were submitted, ``priorNode`` the
        scan of an earlier date: transforms lay them on ``inputNode``, as far as they are still in the scene. Raises
        ScanError, and leaves nothing behind, if that volume has left its scene or has other dimensions now.
        """
        check_unchanged(inputNode, detection.scan.grid.shape)
        scene, is_new = inputNode.GetScene(), not self.hasResults(inputNode)
        places = _places(detection, inputNode, furtherNodes, priorNode)
        try:
            with batch(scene):
                sweep_companions(scene)
                write_detection(detection, inputNode)
                sweep_places(scene)
                lay(inputNode, places)
        except Exception:
            if is_new:
                self.removeResults(inputNode)
            raise
        nodes = self.resultNodes(inputNode)
        parts = [*nodes.components.values(), *nodes.prior.values()]
        place_beside(inputNode, [node for node in nodes.present() if node not in parts])
        group_below(inputNode, parts)
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
        self._rewrite(input_node, findings, record)
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

    def comments(self, node: VolumeNode, findings: Findings | None = None) -> dict[int, str]:
        """What the reader says about findings, by their numbers at the threshold in use. Raises OptionsError."""
        input_node = _input_behind(node)
        return comments_on(findings or self.findings(input_node), _required_map(input_node))

    def keepAll(self, node: VolumeNode) -> None:
        """Take back every rejection. Raises OptionsError."""
        input_node = _input_behind(node)
        remember_rejected(_required_map(input_node), None)
        self._rewrite(input_node)

    def setKept(self, node: VolumeNode, number: int, kept: bool) -> frozenset[int]:
        """Keep or reject a finding; rejected ones leave the segment. Returns the numbers of all rejected ones.

        The decision is saved in the scene and holds at other thresholds where the finding still overlaps. A new run
        forgets it. Raises OptionsError for a number that no finding has.
        """
        input_node = _input_behind(node)
        anomaly_map, findings = _required_map(input_node), self._with_number(input_node, number)
        remember_rejected(anomaly_map, with_finding(rejected_region(anomaly_map), findings, number, kept))
        self._rewrite(input_node, findings)
        return self._rejected(input_node, findings)

    def setComment(self, node: VolumeNode, number: int, text: str) -> None:
        """Say something about a finding, "" for nothing; it is saved in the scene and holds as decisions do.

        Raises OptionsError for a number that no finding has.
        """
        input_node = _input_behind(node)
        findings = self._with_number(input_node, number)
        remember_comment(_required_map(input_node), findings, self._peaks(input_node), number, text.strip())
        self._rewrite(input_node, findings)

    def reviewState(self, node: VolumeNode) -> ReviewState:
        """All decisions and comments as they are now, for ``setReviewState``. Raises OptionsError."""
        anomaly_map = _required_map(_input_behind(node))
        return ReviewState(anomaly_map.GetAttribute(REJECTED_ATTRIBUTE), anomaly_map.GetAttribute(COMMENTS_ATTRIBUTE))

    def setReviewState(self, node: VolumeNode, state: ReviewState) -> None:
        """Bring decisions and comments back to what they were. Raises OptionsError."""
        input_node = _input_behind(node)
        for name, value in zip((REJECTED_ATTRIBUTE, COMMENTS_ATTRIBUTE), state, strict=True):
            _required_map(input_node).SetAttribute(name, value)
        self._rewrite(input_node)

    def detection(self, node: VolumeNode) -> Detection:
        """The detection that the scene holds, for a report or an export; its findings say what the reader did."""
        input_node = _input_behind(node)
        findings = self.findings(input_node)
        rejected, comments = self._rejected(input_node, findings), self.comments(input_node, findings)
        table = [
            replace(row, review="rejected" if row.id in rejected else "kept", comment=comments.get(row.id, ""))
            for row in findings.table
        ]
        return detection_from_scene(input_node, replace(findings, table=tuple(table)))

    def _rewrite(
        self, input_node: VolumeNode, findings: Findings | None = None, record: RunRecord | None = None
    ) -> None:
        """Segment, tables and display once the threshold or the review is another."""
        findings = findings or self.findings(input_node)
        record = record or read_record(_required_map(input_node))
        rejected, comments = self._rejected(input_node, findings), self.comments(input_node, findings)
        rewrite_findings(findings, rejected, comments, record, input_node)

    def _with_number(self, input_node: VolumeNode, number: int) -> Findings:
        findings = self.findings(input_node)
        if not 1 <= number <= len(findings.table):
            raise OptionsError(f"There is no finding {number}.", "Choose one of the table.")
        return findings

    def _values(self, input_node: VolumeNode, role: str) -> FloatArray | None:
        node = result_node(input_node, role)
        return None if node is None or node.GetImageData() is None else self._cached[role].of(node)

    def _peaks(self, input_node: VolumeNode) -> FloatArray:
        """The map that findings have their peaks in: the highest of both dates, where there are two."""
        anomaly, before = self._values(input_node, "anomaly_map"), self._values(input_node, prior_role("anomaly"))
        assert anomaly is not None
        return anomaly if before is None else np.maximum(anomaly, before)

    def _cut(self, input_node: VolumeNode, record: RunRecord) -> Findings:
        anomaly_map, anomaly = _required_map(input_node), self._values(input_node, "anomaly_map")
        assert anomaly is not None
        grid, prior = world_grid(anomaly_map), stored_prior(input_node, record)
        matrix = record.template_from_world(grid, is_right_handed(anomaly_map))
        how = grid, matrix, record.threshold, record.minimum_mm3, self._values(input_node, "residual")
        cut = find(anomaly, *how) if prior is None else followed(anomaly, prior, *how)
        if not cut.table:
            return cut
        signed = {name: self._values(input_node, component_role(name)) for name in record.contrasts}
        cut = with_contrasts(cut, {name: values for name, values in signed.items() if values is not None})
        return self._cached_regions.of(anomaly_map, record).named(cut)

    def _rejected(self, input_node: VolumeNode, findings: Findings) -> frozenset[int]:
        return rejected_ids(findings, self._peaks(input_node), rejected_region(_required_map(input_node)))

    def record(self, node: VolumeNode) -> RunRecord:
        """Settings and provenance of the result of an input (or of any node of that result). Raises OptionsError."""
        return read_record(_required_map(_input_behind(node)))

    def resultNodes(self, inputNode: VolumeNode) -> DetectionNodes:
        """The nodes of the input's result, with None where there is none."""
        single = {role: result_node(inputNode, role) for role in RESULT_KINDS}
        parts = {name: result_node(inputNode, component_role(name)) for name in component_names(inputNode)}
        before = {name: result_node(inputNode, prior_role(name)) for name in PRIOR_VOLUMES}
        earlier = {name: node for name, node in before.items() if node is not None}
        return DetectionNodes(**single, components=parts, prior=earlier)

    def otherScans(self, inputNode: VolumeNode) -> dict[str, VolumeNode]:
        """The other scans of the input's result: further ones by contrast, that of an earlier date as ``PRIOR``."""
        return {name: other_scan(inputNode, name) for name in other_names(inputNode)}

    def hasResults(self, inputNode: VolumeNode) -> bool:
        """Whether any result node of this input is in the scene."""
        return any(result_node(inputNode, role) is not None for role in result_roles(inputNode))

    def removeResults(self, inputNode: VolumeNode) -> None:
        """Remove all results of this input; results of other inputs stay."""
        scene = inputNode.GetScene()
        if scene is None:
            return
        with batch(scene):
            take_all_off(inputNode)
            sweep_places(scene)
            for role in result_roles(inputNode):
                remove_result(inputNode, role)
            remove_empty_group(inputNode)
            sweep_companions(scene)
            remove_color_nodes_if_unused(scene)

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


def _places(
    detection: Detection, input_node: VolumeNode, further: Sequence[VolumeNode], prior: VolumeNode | None
) -> dict[str, Place]:
    """Where the other scans of a detection are to lie on its first one. Raises ScanError."""
    contrasts = detection.detector.get("contrasts", ())[1:]
    others = {
        str(entry["contrast"]): (node, np.asarray(entry["own_from_first"]))
        for entry, node in zip(contrasts, further, strict=False)
    }
    if detection.prior is not None and prior is not None:
        others[PRIOR] = prior, detection.prior.before_from_now
    return places_of(input_node, others)
