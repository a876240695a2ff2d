"""Other scans of a result - further contrasts, an earlier date - laid on its first scan by transforms of their own.

Nothing of a scan itself is changed: its transform is, and what moved it before is remembered and given back with the
end of the result. What was computed from a scan, and what was laid on it, goes with it. A scan that two results use
lies where the later one put it, and goes back once both are gone, in whatever order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import slicer
import vtk

from ....io.geometry import Affine, inverse
from .links import (
    INPUT_ROLE,
    PREFIX,
    Node,
    Scene,
    VolumeNode,
    nodes_of_class,
    remove_with_companions,
    result_node,
    result_roles,
)
from .scene_volumes import world_from_local

PRIOR = "earlier date"
_SCAN, _PLACE = PREFIX + "scan.", PREFIX + "place."
_BEFORE = PREFIX + "placed_before"
# The name under which the first scan knows what a transform places.
_NAME_ATTRIBUTE = PREFIX + "places"


class Place(NamedTuple):
    """A scan, and the matrix (4x4, RAS mm) that lays its own space on the first scan's."""

    scan: VolumeNode
    matrix: Affine


def other_names(input_node: VolumeNode) -> list[str]:
    """Names of the scans that belong to the result of ``input_node``: contrasts, and ``PRIOR``; in no order."""
    return [name for name in _names(input_node) if other_scan(input_node, name) is not None]


def other_scan(input_node: VolumeNode, name: str) -> VolumeNode | None:
    """The scan of that name, None if the result has none or it left the scene."""
    return input_node.GetNodeReference(_SCAN + name)


def places_of(input_node: VolumeNode, others: Mapping[str, tuple[VolumeNode, Affine]]) -> dict[str, Place]:
    """Where other scans are to lie, by name, while nothing has been moved yet; what is no other scan is left out.

    The matrix with each (4x4) maps the world RAS mm of the first scan to those of the other one as they are now.
    Raises ScanError for a scan under a warp.
    """
    first, found = world_from_local(input_node), dict[str, Place]()
    for name, (scan, other_from_first) in others.items():
        known = [input_node, *(place.scan for place in found.values())]
        if scan.GetScene() is input_node.GetScene() and not any(scan is node for node in known):
            matrix = inverse(np.asarray(other_from_first) @ first) @ world_from_local(scan)
            found[name] = Place(scan, np.asarray(matrix))
    return found


def lay(input_node: VolumeNode, places: Mapping[str, Place]) -> None:
    """Lay other scans on ``input_node`` and put those back that an earlier run has laid there and this one has not."""
    for name in _names(input_node):
        if name not in places or places[name].scan is not other_scan(input_node, name):
            take_off(input_node, name)
    for name, (scan, matrix) in places.items():
        for own in [own for own in other_names(scan) if other_scan(scan, own) is input_node]:
            take_off(scan, own)
        _lay_one(input_node, name, scan, matrix)


def take_off(input_node: VolumeNode, name: str) -> None:
    """Forget the scan of that name and put it back where it was; does nothing if there is none."""
    transform = _transform(input_node, name)
    input_node.RemoveNodeReferenceIDs(_PLACE + name)
    input_node.RemoveNodeReferenceIDs(_SCAN + name)
    if transform is not None:
        _remove(transform)


def take_all_off(input_node: VolumeNode) -> None:
    """Put every other scan of a result back where it was."""
    for name in _names(input_node):
        take_off(input_node, name)


def sweep_places(scene: Scene) -> None:
    """Put scans back whose first scan the user has deleted."""
    for transform in _all_placements(scene):
        input_node, name = transform.GetNodeReference(INPUT_ROLE), transform.GetAttribute(_NAME_ATTRIBUTE)
        if input_node is None or _transform(input_node, name) is not transform:
            _remove(transform)


def _names(input_node: VolumeNode) -> list[str]:
    """Every name under which a scan was laid, whether or not the scan is still there."""
    roles: list[str] = []
    input_node.GetNodeReferenceRoles(roles)
    return [role[len(_PLACE) :] for role in roles if role.startswith(_PLACE)]


def _lay_one(input_node: VolumeNode, name: str, scan: VolumeNode, matrix: Affine) -> None:
    transform = _transform(input_node, name) or _new_transform(input_node, name, scan)
    if scan.GetTransformNodeID() != transform.GetID():
        transform.SetNodeReferenceID(_BEFORE, scan.GetTransformNodeID())
    to_parent = vtk.vtkMatrix4x4()
    to_parent.DeepCopy(matrix.ravel())
    transform.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    transform.SetMatrixTransformToParent(to_parent)
    input_node.SetNodeReferenceID(_SCAN + name, scan.GetID())
    _put_under(scan, transform.GetID())


def _transform(input_node: VolumeNode, name: str) -> Node | None:
    node = input_node.GetNodeReference(_PLACE + name)
    return node if node is not None and node.GetNodeReference(INPUT_ROLE) is input_node else None


def _new_transform(input_node: VolumeNode, name: str, scan: VolumeNode) -> Node:
    scene = input_node.GetScene()
    words = f"{scan.GetName()} on {input_node.GetName()}"
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", scene.GenerateUniqueName(words))
    input_node.SetNodeReferenceID(_PLACE + name, node.GetID())
    node.SetNodeReferenceID(INPUT_ROLE, input_node.GetID())
    node.SetAttribute(_NAME_ATTRIBUTE, name)
    return node


def _remove(transform: Node) -> None:
    """Remove a transform; all under it, and whoever remembers it, go back to what was there before it."""
    scene, before = transform.GetScene(), transform.GetNodeReference(_BEFORE)
    before_id = None if before is None else before.GetID()
    for node in nodes_of_class(scene, "vtkMRMLTransformableNode"):
        if node.GetTransformNodeID() == transform.GetID():
            _move(node, before_id)
    for other in _all_placements(scene):
        if other.GetNodeReference(_BEFORE) is transform:
            other.SetNodeReferenceID(_BEFORE, before_id)
    remove_with_companions(transform)


def _all_placements(scene: Scene) -> list[Node]:
    nodes = nodes_of_class(scene, "vtkMRMLTransformNode")
    return [node for node in nodes if node.GetAttribute(_NAME_ATTRIBUTE) is not None]


def _put_under(scan: VolumeNode, transform_id: str | None) -> None:
    """The scan with all that was computed from it and laid on it."""
    results = [result_node(scan, role) for role in result_roles(scan)]
    laid = [_transform(scan, name) for name in _names(scan)]
    for node in (scan, *(node for node in (*results, *laid) if node is not None)):
        if node.IsA("vtkMRMLTransformableNode"):
            _move(node, transform_id)


def _move(node: Node, transform_id: str | None) -> None:
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(transform_id)
