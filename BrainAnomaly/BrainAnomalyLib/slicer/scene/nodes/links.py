"""How result nodes belong to the volume they were computed from.

The link is a pair of MRML node references: the input refers to each result under ``BrainAnomaly.<role>``, the result
refers back under ``BrainAnomaly.input``. Both must hold. Renaming keeps them, saving a scene keeps them, deleting
either end cuts them, and a clone of either node has only one of the two, so it is never overwritten by a later run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import slicer

# VTK ships no usable types; the names say which MRML class is meant.
Scene: TypeAlias = Any
Node: TypeAlias = Any
VolumeNode: TypeAlias = Any
SegmentationNode: TypeAlias = Any
TableNode: TypeAlias = Any
PlotSeriesNode: TypeAlias = Any
PlotChartNode: TypeAlias = Any
ColorNode: TypeAlias = Any

PREFIX = "BrainAnomaly."
INPUT_ROLE = PREFIX + "input"
COMPANION_ATTRIBUTE = PREFIX + "companion"
_VOLUME = "vtkMRMLScalarVolumeNode"

# Role of a result, the MRML class that holds it, and the words that follow the input's name in its own.
RESULT_KINDS: dict[str, tuple[str, str]] = {
    "anomaly_map": (_VOLUME, "anomaly map"),
    "pseudo_healthy": (_VOLUME, "expected healthy"),
    "uncertainty": (_VOLUME, "uncertainty"),
    "residual": (_VOLUME, "difference from expected"),
    "segmentation": ("vtkMRMLSegmentationNode", "anomalous regions"),
    "findings_table": ("vtkMRMLTableNode", "findings"),
    "profile_table": ("vtkMRMLTableNode", "slice profile"),
    "normality_series": ("vtkMRMLPlotSeriesNode", "slice normality"),
    "mean_anomaly_series": ("vtkMRMLPlotSeriesNode", "slice mean anomaly"),
    "profile_chart": ("vtkMRMLPlotChartNode", "slice profile chart"),
}

# A map that a combined one is made of has this and its name as its role, whatever a detector calls it.
_COMPONENT = "component."
# A volume of an earlier date has this and its field of ``findings.changes.PriorDate`` as its role.
_PRIOR = "prior."
PRIOR_VOLUMES = {
    "scan": "earlier date",
    "anomaly": "earlier anomaly map",
    "growth": "change",
    "difference": "subtraction",
}


def result_node(input_node: VolumeNode, role: str) -> Node | None:
    """The result of ``input_node`` in that role, None if there is none (or the user deleted it)."""
    node = input_node.GetNodeReference(PREFIX + role)
    return node if node is not None and node.GetNodeReference(INPUT_ROLE) is input_node else None


def component_role(name: str) -> str:
    """The role of a map that a combined one is made of."""
    return f"{_COMPONENT}{name}"


def component_names(input_node: VolumeNode) -> list[str]:
    """Names of the maps that the input's combined map is made of, as far as they are in the scene, in order."""
    roles: list[str] = []
    input_node.GetNodeReferenceRoles(roles)
    start = PREFIX + _COMPONENT
    names = sorted(role[len(start) :] for role in roles if role.startswith(start))
    return [name for name in names if result_node(input_node, component_role(name)) is not None]


def prior_role(name: str) -> str:
    """The role of a volume of an earlier date; ``name`` is one of ``PRIOR_VOLUMES``."""
    return f"{_PRIOR}{name}"


def result_roles(input_node: VolumeNode) -> list[str]:
    """Every role that a result of this input may have."""
    return [*RESULT_KINDS, *map(component_role, component_names(input_node)), *map(prior_role, PRIOR_VOLUMES)]


def ensure_node(input_node: VolumeNode, role: str) -> Node:
    """The result node in that role, created and linked if it is not there. A name given by the user stays."""
    node = result_node(input_node, role)
    if node is None:
        class_name, words = RESULT_KINDS.get(role, (_VOLUME, _words(role)))
        scene = input_node.GetScene()
        name = scene.GenerateUniqueName(f"{input_node.GetName()} {words}")
        node = scene.AddNewNodeByClass(class_name, name)
        input_node.SetNodeReferenceID(PREFIX + role, node.GetID())
        node.SetNodeReferenceID(INPUT_ROLE, input_node.GetID())
    return node


def _words(role: str) -> str:
    """What follows the input's name in that of a volume that is none of ``RESULT_KINDS``."""
    if role.startswith(_PRIOR):
        return PRIOR_VOLUMES[role.removeprefix(_PRIOR)]
    return f"{role.removeprefix(_COMPONENT)} map".replace("_", " ")


def is_result(node: Node) -> bool:
    """Whether this node was computed from another one by this extension (and that one is still in the scene)."""
    return node.GetNodeReferenceID(INPUT_ROLE) is not None


def input_of(node: Node) -> VolumeNode | None:
    """The input that a result was computed from, if it is still in the scene."""
    return node.GetNodeReference(INPUT_ROLE)


def remove_result(input_node: VolumeNode, role: str) -> None:
    """Remove the result in that role, if any, with its display and storage nodes."""
    node = result_node(input_node, role)
    if node is not None:
        remove_with_companions(node)
    input_node.RemoveNodeReferenceIDs(PREFIX + role)


def remove_with_companions(node: Node) -> None:
    """Remove a node and the display and storage nodes that exist only for it."""
    scene = node.GetScene()
    companions = []
    if node.IsA("vtkMRMLDisplayableNode"):
        companions += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        companions += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    # The item of a node that a batch removes would outlive it.
    for hierarchy in nodes_of_class(scene, "vtkMRMLSubjectHierarchyNode"):
        item = hierarchy.GetItemByDataNode(node)
        if item != hierarchy.GetInvalidItemID():
            hierarchy.RemoveItem(item, False, False)
    scene.RemoveNode(node)
    for companion in companions:
        if companion is not None and companion.GetScene() is scene:
            scene.RemoveNode(companion)


def mark_companion(node: Node) -> None:
    """Mark a display node as made here, so that it can be swept once its volume is gone."""
    node.SetAttribute(COMPANION_ATTRIBUTE, "1")


def sweep_companions(scene: Scene) -> None:
    """Remove display nodes made here whose volume or segmentation the user has deleted."""
    for node in nodes_of_class(scene, "vtkMRMLDisplayNode"):
        if node.GetAttribute(COMPANION_ATTRIBUTE) and node.GetDisplayableNode() is None:
            scene.RemoveNode(node)


def nodes_of_class(scene: Scene, class_name: str) -> list[Node]:
    """All nodes of a class and its subclasses; safe to remove while looping."""
    return [scene.GetNthNodeByClass(index, class_name) for index in range(scene.GetNumberOfNodesByClass(class_name))]


@contextmanager
def batch(scene: Scene) -> Iterator[None]:
    """Everything inside is one change of the scene: views and selectors update once, at the end."""
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        yield
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
