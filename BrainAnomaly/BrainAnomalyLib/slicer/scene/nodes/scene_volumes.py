"""Between volume nodes of the scene and scans of the engine.

The scan that the engine sees lies where the user sees it: a linear parent transform is composed into its affine, so
that a volume whose orientation was corrected by a transform is analyzed in the corrected orientation and centroids are
the RAS positions that the slice views show. Results are placed voxel by voxel on the input: same IJK-to-RAS matrix,
same parent transform node. They overlay the input whatever happens to that transform afterwards.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ....errors import ScanError
from ....io.geometry import Affine, Array, FloatArray, Grid
from ....io.volumes import Contrast, Scan, checked_scan
from .links import VolumeNode, is_result


def scan_from_node(node: VolumeNode, contrast: Contrast = "unknown") -> Scan:
    """The volume as a checked scan in world RAS mm; its voxels are copied. Raises ScanError in plain words."""
    _check_kind(node)
    return checked_scan(voxels(node), world_grid(node), contrast, node.GetName() or "scan")


def voxels(node: VolumeNode) -> Array:
    """The volume's values with axis order (i, j, k); a view on the scene's memory."""
    return np.asarray(slicer.util.arrayFromVolume(node)).transpose(2, 1, 0)


def world_grid(node: VolumeNode) -> Grid:
    """Shape (i, j, k) and the affine to world RAS mm, parent transforms included. Raises ScanError if not linear."""
    size = node.GetImageData().GetDimensions()
    return Grid((size[0], size[1], size[2]), np.asarray(world_from_local(node) @ local_affine(node)))


def local_affine(node: VolumeNode) -> Affine:
    """4x4 matrix from (i, j, k) to the RAS mm of the node's own frame, parent transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return _to_array(matrix)


def is_right_handed(node: VolumeNode) -> bool:
    """Whether i, j, k form a right-handed frame in the node's own coordinates, as in every volume Slicer has read."""
    return bool(np.linalg.det(local_affine(node)[:3, :3]) > 0.0)


def world_from_local(node: VolumeNode) -> Affine:
    """4x4 matrix of the node's parent transforms. Raises ScanError for a warp, which no affine can express."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not parent.IsTransformToWorldLinear() or not parent.GetMatrixTransformToWorld(matrix):
        raise ScanError(
            f"'{node.GetName()}' is under the non-linear transform '{parent.GetName()}'.",
            "Harden that transform or take the volume out of it.",
        )
    return _to_array(matrix)


def write_volume_node(node: VolumeNode, array: FloatArray, reference: VolumeNode) -> None:
    """Fill ``node`` with an (i, j, k) array that lies voxel by voxel on ``reference``, wherever that is moved."""
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
    node.CopyOrientation(reference)
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())


def check_unchanged(node: VolumeNode, shape: tuple[int, ...]) -> None:
    """Raise ScanError unless ``node`` is still in a scene and still has ``shape`` (i, j, k)."""
    if node is None or node.GetScene() is None:
        raise ScanError(
            "The volume was removed from the scene while it was analyzed; the result was dropped.",
            "Load the scan and start again.",
        )
    if node.GetImageData() is None or node.GetImageData().GetDimensions() != shape:
        raise ScanError(
            f"'{node.GetName()}' was changed while it was analyzed; the result was dropped.", "Start again."
        )


def _check_kind(node: VolumeNode) -> None:
    if node is None or node.GetScene() is None:
        raise ScanError("No volume is selected.", "Choose a brain scan.")
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLTensorVolumeNode"):
        raise ScanError(f"'{name}' is not a gray-value volume.", "Choose a brain scan.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ScanError(f"'{name}' is a label map.", "Choose the scan it was drawn on.")
    if is_result(node):
        raise ScanError(f"'{name}' is itself a result of BrainAnomaly.", "Choose the scan it was computed from.")
    _check_voxels(node, name)


def _check_voxels(node: VolumeNode, name: str) -> None:
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise ScanError(f"'{name}' holds no voxels.", "Load its data first.")
    if image.GetNumberOfScalarComponents() != 1:
        raise ScanError(f"'{name}' is a color or vector volume.", "Convert it to one gray-value volume.")


def _to_array(matrix: vtk.vtkMatrix4x4) -> Affine:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)], dtype=np.float64)
