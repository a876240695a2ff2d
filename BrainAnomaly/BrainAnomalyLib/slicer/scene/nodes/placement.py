"""Other scans of a result - further contrasts, an earlier date - laid on its first scan by transforms of their own.

Nothing of a scan itself is changed: its transform is, and what moved it before is remembered and given back with the
end of the result. What was computed from a scan goes with it.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ....io.geometry import Affine, inverse
from .links import INPUT_ROLE, PREFIX, Node, VolumeNode, remove_with_companions, result_node, result_roles
from .scene_volumes import world_from_local

PRIOR = "earlier date"
_SCAN, _PLACE = PREFIX + "scan.", PREFIX + "place."
_BEFORE = PREFIX + "placed_before"


def other_names(input_node: VolumeNode) -> list[str]:
    """Names of the scans that belong to the result of ``input_node``: contrasts, and ``PRIOR``; in no order."""
    roles: list[str] = []
    input_node.GetNodeReferenceRoles(roles)
    names = [role[len(_SCAN) :] for role in roles if role.startswith(_SCAN)]
    return [name for name in names if other_scan(input_node, name) is not None]


def other_scan(input_node: VolumeNode, name: str) -> VolumeNode | None:
    """The scan of that name, None if the result has none or it left the scene."""
    return input_node.GetNodeReference(_SCAN + name)


def lay_on(input_node: VolumeNode, name: str, other: VolumeNode, other_from_first: Affine) -> None:
    """Lay ``other`` on ``input_node`` by a transform, and remember it under ``name``.

    ``other_from_first`` (4x4) maps the world RAS mm of the first scan to those of the other one as they are now.
    """
    first, now = world_from_local(input_node), world_from_local(other)
    transform = _transform(input_node, name)
    if transform is None:
        transform = _new_transform(input_node, name, other)
    if other.GetTransformNodeID() != transform.GetID():
        transform.SetNodeReferenceID(_BEFORE, other.GetTransformNodeID())
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(inverse(other_from_first @ first) @ now).ravel())
    transform.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    transform.SetMatrixTransformToParent(matrix)
    input_node.SetNodeReferenceID(_SCAN + name, other.GetID())
    _put_under(other, transform.GetID())


def take_off(input_node: VolumeNode, name: str) -> None:
    """Forget the scan of that name and put it back where it was; does nothing if there is none."""
    transform, other = _transform(input_node, name), other_scan(input_node, name)
    if transform is not None:
        if other is not None and other.GetTransformNodeID() == transform.GetID():
            before = transform.GetNodeReference(_BEFORE)
            _put_under(other, None if before is None else before.GetID())
        remove_with_companions(transform)
    input_node.RemoveNodeReferenceIDs(_PLACE + name)
    input_node.RemoveNodeReferenceIDs(_SCAN + name)


def _transform(input_node: VolumeNode, name: str) -> Node | None:
    node = input_node.GetNodeReference(_PLACE + name)
    return node if node is not None and node.GetNodeReference(INPUT_ROLE) is input_node else None


def _new_transform(input_node: VolumeNode, name: str, other: VolumeNode) -> Node:
    scene = input_node.GetScene()
    words = f"{other.GetName()} on {input_node.GetName()}"
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", scene.GenerateUniqueName(words))
    input_node.SetNodeReferenceID(_PLACE + name, node.GetID())
    node.SetNodeReferenceID(INPUT_ROLE, input_node.GetID())
    return node


def _put_under(scan: VolumeNode, transform_id: str | None) -> None:
    """The scan with all that was computed from it."""
    results = (result_node(scan, role) for role in result_roles(scan))
    for node in (scan, *(node for node in results if node is not None)):
        if node.IsA("vtkMRMLTransformableNode"):
            with slicer.util.NodeModify(node):
                node.SetAndObserveTransformNodeID(transform_id)
