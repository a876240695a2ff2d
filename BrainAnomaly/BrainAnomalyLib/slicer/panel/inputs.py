"""The input section: which volumes are to be analyzed, and why they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...followup.prior_source import is_result as is_result_folder
from ...io.geometry import MaskArray
from ...io.volumes import Contrast
from ..scene.logic import BrainAnomalySceneLogic
from ..scene.nodes.links import Node, VolumeNode, is_result, nodes_of_class
from .common.connections import Connections
from .common.parameters import AUTOMATIC, BrainAnomalyParameterNode
from .run.masks import mask_on
from .run.submission import FurtherContrast, Request

_FURTHER = (1, 2, 3)
_SELECTORS = (
    *("inputSelector", "maskSelector", "priorSelector"),
    *(f"furtherSelector{number}" for number in _FURTHER),
)
_KINDS = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")


class Inputs:
    """Selectors of scans, mask and earlier date. The mask takes two classes of nodes, a path is text that a reader
    types: both are bound by hand."""

    def __init__(
        self, ui: Any, logic: BrainAnomalySceneLogic, connections: Connections, changed: Callable[[], None]
    ) -> None:
        self._ui, self._logic, self._changed = ui, logic, changed
        self._parameters: BrainAnomalyParameterNode | None = None
        connections.of(ui.maskSelector).connect("currentNodeChanged(vtkMRMLNode*)", self.onMaskChanged)
        connections.of(ui.priorFolderEdit).connect("currentPathChanged(QString)", self.onPriorFolderChanged)

    def setParameters(self, parameters: BrainAnomalyParameterNode | None) -> None:
        """Take the choices of another parameter node, or of none while there is no scene; show what is chosen there."""
        self._parameters = None
        self._ui.maskSelector.setCurrentNode(parameters.brainMask if parameters else None)
        self._ui.priorFolderEdit.currentPath = parameters.priorFolder if parameters else ""
        self._parameters = parameters
        for box, used in ((self._ui.furtherGroupBox, self._further()), (self._ui.priorGroupBox, self.hasPrior())):
            box.collapsed = not used

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

    def hasPrior(self) -> bool:
        """Whether an earlier date was chosen."""
        chosen = self._parameters
        return chosen is not None and (chosen.priorVolume is not None or bool(chosen.priorFolder))

    def count(self) -> int:
        """How many scans of one session are chosen."""
        return 0 if self._parameters is None or self._parameters.inputVolume is None else 1 + len(self._further())

    def onMaskChanged(self, node: Node | None) -> None:
        """Another mask was chosen."""
        if self._parameters is not None:
            self._parameters.brainMask = node
            self._changed()

    def onPriorFolderChanged(self, path: str) -> None:
        """Another folder of an earlier result."""
        if self._parameters is not None and self._parameters.priorFolder != path:
            self._parameters.priorFolder = path

    def problem(self) -> str:
        """Why detection cannot start, empty if it can."""
        chosen = self._parameters
        if chosen is None or chosen.inputVolume is None:
            return str(_("Choose a scan first."))
        scans = [chosen.inputVolume, *(one.node for one in self._further())]
        if chosen.priorVolume is not None:
            scans.append(chosen.priorVolume)
        return next(filter(None, (self._problem_of(scans, node) for node in scans)), "") or self._prior_problem()

    def request(self, detector: str | None, package: Path | None) -> Request | None:
        """What is chosen, None without a scan. Raises BrainAnomalyError.

        ``detector`` and ``package`` are for one scan; of several each gets what suits its own contrast.
        """
        chosen, further = self._parameters, self._further()
        if chosen is None or chosen.inputVolume is None:
            return None
        folder = Path(chosen.priorFolder) if chosen.priorFolder else None
        together = self._logic.detection(chosen.priorVolume) if further and chosen.priorVolume is not None else None
        return Request(
            node=chosen.inputVolume,
            contrast=_contrast(chosen.contrast),
            detector=None if further else detector,
            package=None if further else package,
            device=chosen.device,
            minimum_mm3=chosen.minimumMm3,
            brain_mask=self._mask(chosen.inputVolume),
            further=further,
            prior=chosen.priorVolume,
            prior_result=together or folder,
        )

    def _mask(self, input_node: VolumeNode) -> MaskArray | None:
        node = None if self._parameters is None else self._parameters.brainMask
        return None if node is None else mask_on(node, input_node)

    def _further(self) -> tuple[FurtherContrast, ...]:
        """The further scans that are chosen."""
        chosen = self._parameters
        if chosen is None:
            return ()
        rows = ((getattr(chosen, f"furtherVolume{one}"), getattr(chosen, f"furtherContrast{one}")) for one in _FURTHER)
        return tuple(FurtherContrast(node, _contrast(words)) for node, words in rows if node is not None)

    @staticmethod
    def _problem_of(scans: list[VolumeNode], node: VolumeNode) -> str:
        """Why one of the chosen scans cannot be taken."""
        text = ""
        if node.GetImageData() is None:
            text = _("'{name}' holds no voxels. Load its data first.")
        elif is_result(node):
            text = _("'{name}' is a result. Choose the scan it was computed from.")
        elif [other.GetID() for other in scans].count(node.GetID()) > 1:
            text = _("'{name}' is chosen twice. Choose each scan once.")
        return str(text.format(name=node.GetName()))

    def _prior_problem(self) -> str:
        """Why an earlier date cannot be compared with."""
        chosen = self._parameters
        if chosen is None or not self.hasPrior():
            return ""
        if chosen.priorVolume is None:
            known = is_result_folder(Path(chosen.priorFolder))
            text = "" if known else _("The folder '{name}' of the earlier date holds no result.")
            return str(text.format(name=chosen.priorFolder))
        if chosen.priorFolder:
            return str(_("Choose the scan of the earlier date or the folder of its result, not both."))
        if self._further() and not self._is_examined(chosen.priorVolume):
            text = _(
                "Several contrasts are compared with the same contrasts of the earlier date: detect in those first, "
                "with '{name}' as the scan."
            )
            return str(text.format(name=chosen.priorVolume.GetName()))
        return ""

    def _is_examined(self, node: VolumeNode) -> bool:
        """Whether the scan has a result of several contrasts."""
        return self._logic.resultNodes(node).anomaly_map is not None and bool(self._logic.record(node).contrasts)


def _contrast(words: str) -> Contrast:
    given: Any = "unknown" if words == AUTOMATIC else words
    contrast: Contrast = given
    return contrast
