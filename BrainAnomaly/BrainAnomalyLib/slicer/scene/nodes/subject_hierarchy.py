"""Where results stand in the subject hierarchy: in the scan's study; what they are made of, in a folder of the scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .links import Node, VolumeNode, nodes_of_class

GROUP_NAME = "Component maps"


def place_beside(input_node: VolumeNode, nodes: Sequence[Node]) -> None:
    """Put nodes under the parent of the input's item (DICOM export asks for the same study).

    Does nothing in a scene without a subject hierarchy, or one that the input is not part of.
    """
    hierarchy, input_item = _item_of(input_node)
    if hierarchy is not None:
        _put(hierarchy, hierarchy.GetItemParent(input_item), nodes)


def group_below(input_node: VolumeNode, nodes: Sequence[Node]) -> None:
    """Put nodes into a folder below the input's item; without nodes that folder goes.

    Does nothing where ``place_beside`` does nothing.
    """
    if not nodes:
        remove_empty_group(input_node)
        return
    hierarchy, input_item = _item_of(input_node)
    if hierarchy is not None:
        group = hierarchy.GetItemChildWithName(input_item, GROUP_NAME)
        if group == hierarchy.GetInvalidItemID():
            group = hierarchy.CreateFolderItem(input_item, GROUP_NAME)
            hierarchy.SetItemExpanded(group, False)
        _put(hierarchy, group, nodes)


def remove_empty_group(input_node: VolumeNode) -> None:
    """Remove the folder of ``group_below`` once nothing is in it."""
    hierarchy, input_item = _item_of(input_node)
    if hierarchy is None:
        return
    group = hierarchy.GetItemChildWithName(input_item, GROUP_NAME)
    if group != hierarchy.GetInvalidItemID() and hierarchy.GetNumberOfItemChildren(group) == 0:
        hierarchy.RemoveItem(group)


def _item_of(input_node: VolumeNode) -> tuple[Any, int]:
    """The scene's hierarchy and the input's item in it; None if there is no hierarchy or no item."""
    hierarchies = nodes_of_class(input_node.GetScene(), "vtkMRMLSubjectHierarchyNode")
    item = hierarchies[0].GetItemByDataNode(input_node) if hierarchies else 0
    known = bool(hierarchies) and item != hierarchies[0].GetInvalidItemID()
    return (hierarchies[0], item) if known else (None, 0)


def _put(hierarchy: Any, parent: int, nodes: Sequence[Node]) -> None:
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item == hierarchy.GetInvalidItemID():
            hierarchy.CreateItem(parent, node)
        elif hierarchy.GetItemParent(item) != parent:
            hierarchy.SetItemParent(item, parent)
