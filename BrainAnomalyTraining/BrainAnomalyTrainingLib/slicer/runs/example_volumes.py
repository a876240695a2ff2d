"""The example of a training - scan, pseudo-healthy reconstruction, residual - as volumes in the scene."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import slicer
from slicer.i18n import tr as _

from BrainAnomalyLib.errors import ScanError
from BrainAnomalyLib.io.geometry import Affine, FloatArray
from BrainAnomalyLib.slicer.scene.nodes.color_table import show_as_gray
from BrainAnomalyLib.slicer.scene.nodes.links import Scene, VolumeNode, batch, nodes_of_class

from .loss_plot import ROLE_ATTRIBUTE

_NAMES = {
    "image": "Training example scan",
    "pseudo_healthy": "Training example expected healthy",
    "residual": "Training example difference",
}
# The gray of a volume runs to this percentile of what is not background.
_BRIGHTEST_PERCENT = 99.5


def load_example(scene: Scene, file: Path) -> dict[str, VolumeNode]:
    """Bring the arrays of an example file into the scene; a later example replaces the voxels of the one before.

    ``file`` is a NumPy archive with ``image``, ``pseudo_healthy`` and ``residual``, each (i, j, k), and ``affine``, 4x4
    from indices to RAS mm of the template. Raises ScanError when it is not.
    """
    arrays, affine = _read(file)
    with batch(scene):
        return {role: _write(scene, role, array, affine) for role, array in arrays.items()}


def show_example(nodes: dict[str, VolumeNode]) -> None:
    """Show scan and reconstruction in the slice views, the reconstruction half over the scan."""
    slicer.util.setSliceViewerLayers(
        background=nodes["image"], foreground=nodes["pseudo_healthy"], foregroundOpacity=0.5, fit=True
    )


def _read(file: Path) -> tuple[dict[str, FloatArray], Affine]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {role: stored[role].astype(np.float32) for role in _NAMES}
            affine = stored["affine"].astype(np.float64)
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ScanError(_("The example '{name}' cannot be read.").format(name=file.name)) from error
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or affine.shape != (4, 4):
        raise ScanError(_("The example '{name}' does not hold volumes of one shape.").format(name=file.name))
    return arrays, affine


def _write(scene: Scene, role: str, array: FloatArray, affine: Affine) -> VolumeNode:
    node = _node(scene, role)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    bright = array[array != 0.0]
    highest = float(np.percentile(bright, _BRIGHTEST_PERCENT)) if bright.size else 1.0
    show_as_gray(node, 0.0, highest or 1.0)
    return node


def _node(scene: Scene, role: str) -> VolumeNode:
    for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(ROLE_ATTRIBUTE) == role:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(_NAMES[role]))
    node.SetAttribute(ROLE_ATTRIBUTE, role)
    return node
