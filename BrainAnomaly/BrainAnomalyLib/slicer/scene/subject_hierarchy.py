"""Where results stand in the subject hierarchy: in the study of the scan they were computed from."""

from __future__ import annotations

from collections.abc import Sequence

from .links import Node, VolumeNode, nodes_of_class


def place_beside(input_node: VolumeNode, nodes: Sequence[Node]) -> None:
    """Put nodes under the parent of the input's item (DICOM export asks for the same study).

    Does nothing in a scene without a subject hierarchy, or one that the input is not part of.
    """
    hierarchies = nodes_of_class(input_node.GetScene(), "vtkMRMLSubjectHierarchyNode")
    if not hierarchies:
        return
    hierarchy = hierarchies[0]
    input_item = hierarchy.GetItemByDataNode(input_node)
    if input_item == hierarchy.GetInvalidItemID():
        return
    parent = hierarchy.GetItemParent(input_item)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item == hierarchy.GetInvalidItemID():
            hierarchy.CreateItem(parent, node)
        elif hierarchy.GetItemParent(item) != parent:
            hierarchy.SetItemParent(item, parent)
