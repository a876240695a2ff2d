"""The input section: which volumes are to be analyzed, and why they cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...io.geometry import MaskArray
from ..scene.nodes.links import Node, VolumeNode, is_result, nodes_of_class
from .common.connections import Connections
from .common.parameters import AUTOMATIC, BrainAnomalyParameterNode
from .run.masks import mask_on
from .run.submission import Request

FURTHER = ("furtherVolume1", "furtherVolume2", "furtherVolume3")
_SELECTORS = ("inputSelector", "maskSelector", "furtherSelector1", "furtherSelector2", "furtherSelector3")
_KINDS = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")


class Inputs:
    """Selectors of scans and mask. The mask takes two classes of nodes, so it is bound by hand."""

    def __init__(self, ui: Any, connections: Connections, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: BrainAnomalyParameterNode | None = None
        connections.of(ui.maskSelector).connect("currentNodeChanged(vtkMRMLNode*)", self.onMaskChanged)

    def setParameters(self, parameters: BrainAnomalyParameterNode | None) -> None:
        """Take the choices of another parameter node, or of none while there is no scene."""
        self._parameters = None
        self._ui.maskSelector.setCurrentNode(parameters.brainMask if parameters else None)
        self._parameters = parameters

    def hideResults(self) -> None:
        """Offer no map and no segmentation that was computed here as a scan or a mask."""
        scene = slicer.mrmlScene
        results = [node.GetID() for kind in _KINDS for node in nodes_of_class(scene, kind) if is_result(node)]
        for name in _SELECTORS:
            offered = getattr(self._ui, name).sortFilterProxyModel()
            if list(offered.hiddenNodeIDs) != results:
                offered.hiddenNodeIDs = results

    def hasScans(self) -> bool:
        """Whether there is anything to choose from."""
        scene = slicer.mrmlScene
        return any(not is_result(node) for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode"))

    def onMaskChanged(self, node: Node | None) -> None:
        """Another mask was chosen."""
        if self._parameters is not None:
            self._parameters.brainMask = node
            self._changed()

    def problem(self) -> str:
        """Why detection cannot start, empty if it can."""
        if self._parameters is None or self._parameters.inputVolume is None:
            return str(_("Choose a scan first."))
        node = self._parameters.inputVolume
        if node.GetImageData() is None:
            return str(_("'{name}' holds no voxels. Load its data first.").format(name=node.GetName()))
        return ""

    def requests(self, detector: str | None, package: Any) -> list[Request]:
        """A request for each chosen volume, the scan with its mask first. Raises BrainAnomalyError.

        ``detector`` and ``package`` are for the first; every further volume gets what suits its own contrast.
        """
        chosen = self._parameters
        if chosen is None or chosen.inputVolume is None:
            return []
        contrast: Any = "unknown" if chosen.contrast == AUTOMATIC else chosen.contrast
        device, minimum, mask = chosen.device, chosen.minimumMm3, self._mask(chosen.inputVolume)
        first = Request(chosen.inputVolume, contrast, detector, package, device, minimum, mask)
        return [first, *(Request(node, device=device, minimum_mm3=minimum) for node in self._further())]

    def _mask(self, input_node: VolumeNode) -> MaskArray | None:
        node = None if self._parameters is None else self._parameters.brainMask
        return None if node is None else mask_on(node, input_node)

    def _further(self) -> list[VolumeNode]:
        """The further volumes, each once and none that is the first."""
        nodes = [getattr(self._parameters, name) for name in FURTHER]
        known = {None, self._parameters.inputVolume} if self._parameters else {None}
        return [node for index, node in enumerate(nodes) if node not in known and node not in nodes[:index]]
