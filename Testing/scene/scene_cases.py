"""Volumes and detections for the scene tests: small, made by the engine's own functions, nothing is faked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import slicer
import vtk

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.detectors.anatomy.structures import index_of
from BrainAnomalyLib.examination.examination import NAME, TITLE
from BrainAnomalyLib.examination.pooling import UNIT
from BrainAnomalyLib.findings.changes import PriorDate
from BrainAnomalyLib.findings.contrasts_seen import with_contrasts
from BrainAnomalyLib.findings.slice_profile import slice_profile
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.preparation.intensity.contrast import ContrastGuess
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality
from BrainAnomalyLib.regions.naming import with_regions
from BrainAnomalyLib.slicer.scene.nodes.scene_volumes import scan_from_node

SHAPE = (30, 34, 26)
# Where scans of other contrasts and dates lie by themselves, from the first one's RAS mm.
T2W_FROM_FLAIR, T1W_FROM_FLAIR, PRIOR_FROM_NOW = (np.eye(4) for _ in range(3))
T2W_FROM_FLAIR[:3, 3], PRIOR_FROM_NOW[:3, 3] = (5.0, -2.0, 1.0), (-9.0, 4.0, 3.0)
T1W_FROM_FLAIR[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
GONE = (slice(8, 12), slice(24, 30), slice(4, 8))
# A small template frame that is moved against the scan, so that a forgotten matrix shows.
TEMPLATE_FROM_WORLD = np.array([[1.0, 0, 0, 2.0], [0, 0.9, 0, -3.0], [0, 0, 1.1, 4.0], [0, 0, 0, 1.0]])
DETECTOR = {
    "name": "tissue",
    "title": "Tissue model",
    "unit": "standard deviations",
    "default_threshold": 3.0,
    "package": "ab" * 32,
}
# All components that a combined detector may have, each with a map of its own.
COMPONENTS = {
    "deviation": np.float32(0.5),
    "lesion": np.float32(0.3),
    "network": np.float32(0.8),
    "asymmetry": np.float32(0.1),
    "tissue": np.float32(1.5),
    "a part of tomorrow": np.float32(0.2),
}


def oblique_affine(codes: str = "LAS", degrees: float = 17.0) -> np.ndarray:
    """Anisotropic voxels along turned axes; ``LAS`` is the left-handed storage that many scanners write."""
    angle = np.radians(degrees)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]]
    ) @ np.array([[1.0, 0.0, 0.0], [0.0, np.cos(angle), -np.sin(angle)], [0.0, np.sin(angle), np.cos(angle)]])
    signs = [1.0 if letter in "RAS" else -1.0 for letter in codes]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(signs) @ np.diag([0.9, 1.1, 2.5])
    affine[:3, 3] = (12.0, -31.0, 7.5)
    return affine


def to_vtk(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix).ravel())
    return result


def add_volume(scene, name="scan", shape=SHAPE, affine=None, array=None):
    """A scalar volume node with an (i, j, k) array; noise if none is given."""
    values = np.random.default_rng(3).normal(100.0, 10.0, shape) if array is None else array
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values.transpose(2, 1, 0), dtype=np.float32))
    node.SetIJKToRASMatrix(to_vtk(np.eye(4) if affine is None else affine))
    node.CreateDefaultDisplayNodes()
    return node


def add_transform(scene, matrix):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "placement")
    node.SetMatrixTransformToParent(to_vtk(matrix))
    return node


def anomaly_map(shape=SHAPE):
    """A map with a large strong region, a small weaker one, and a single voxel."""
    anomaly = np.full(shape, 0.5, dtype=np.float32)
    anomaly[4:12, 6:14, 5:10] = 4.0
    anomaly[6:10, 8:12, 6:9] = 6.0
    anomaly[20:24, 22:26, 15:18] = 3.5
    anomaly[27, 3, 22] = 9.0
    return anomaly


def detection_of(node, reconstructs=True, threshold=3.0, minimum_mm3=20.0, anomaly=None, detector=None) -> Detection:
    """What the engine yields for ``node``: findings and profile come from the engine's functions."""
    scan = scan_from_node(node)
    anomaly = anomaly_map(scan.array.shape) if anomaly is None else anomaly
    brain = np.ones(anomaly.shape, dtype=bool)
    healthy = (scan.array * np.float32(0.9)) if reconstructs else None
    residual = scan.array - healthy if reconstructs else None
    structures = two_structures(anomaly.shape)
    cut = find(anomaly, scan.grid, TEMPLATE_FROM_WORLD, threshold, minimum_mm3, residual)
    return Detection(
        scan=scan,
        anomaly=anomaly,
        pseudo_healthy=healthy,
        uncertainty=np.full(anomaly.shape, 2.0, dtype=np.float32) if reconstructs else None,
        residual=residual,
        brain_mask=brain,
        findings=with_regions(cut, scan.grid, TEMPLATE_FROM_WORLD, structures),
        profile=slice_profile(anomaly, brain, np.arange(anomaly.shape[2]) * 2.0 - 20.0),
        template_from_native=TEMPLATE_FROM_WORLD,
        contrast=ContrastGuess("T1w", 0.9, 0.75, 0.4),
        quality=RegistrationQuality(0.95, 0.8, 0.9, "good", ""),
        brain_mask_method="registration",
        detector=detector or DETECTOR,
        threshold_source="1 % of healthy brain voxels",
        warnings=("Only an example; with a semicolon: and a colon.",),
        components={name: anomaly * weight for name, weight in COMPONENTS.items()} if reconstructs else {},
        structures=structures,
        structures_source="a test",
    )


def examination_of(node):
    """``examined`` of ``detection_of``."""
    return examined(detection_of(node))


def examined(made):
    """Three contrasts: the FLAIR is bright at all findings, the T1w dark at the first, the T2w shows nothing."""
    nothing, dark = np.zeros_like(made.anomaly), np.zeros_like(made.anomaly)
    dark[made.findings.labels == 1] = -3.0
    parts = {"FLAIR": made.anomaly, "T2w": nothing, "T1w": dark, "joint": made.anomaly}
    contrasts = [
        {"contrast": name, "scan": name, "own_from_first": from_first.tolist(), "detector": {}}
        for name, from_first in {"FLAIR": np.eye(4), "T2w": T2W_FROM_FLAIR, "T1w": T1W_FROM_FLAIR}.items()
    ]
    detector = {**made.detector, "name": NAME, "title": TITLE, "unit": UNIT, "package": None, "contrasts": contrasts}
    findings = with_contrasts(made.findings, parts)
    return replace(made, components=parts, detector=detector, findings=findings)


def followed_up(detection, threshold=3.0, minimum_mm3=20.0):
    """The same since an earlier date: its first finding is new, the second was larger, and one is gone."""
    before, growth = detection.anomaly.copy(), np.zeros_like(detection.anomaly)
    first = detection.findings.labels == 1
    before[first], growth[first] = 0.5, 9.0
    before[20:24, 22:26, 18:21], growth[20:24, 22:26, 18:21] = 3.5, -9.0
    before[GONE], growth[GONE] = 5.0, -9.0
    scan = detection.scan.array / np.float32(100.0)
    prior = PriorDate("May", scan, before, growth, growth / np.float32(9.0), 0.02, PRIOR_FROM_NOW)
    return replace(detection, prior=prior).with_threshold(threshold, minimum_mm3)


def two_structures(shape):
    """Thalamus in the lower slices (i, j, k), pallidum above: no template has these, and a flip of slices shows."""
    structures = np.full(shape, index_of("thalamus"), dtype=np.uint8)
    structures[:, :, shape[2] // 2 :] = index_of("pallidum")
    return structures


def node_ids(scene):
    """IDs of all nodes in the scene."""
    nodes = scene.GetNodes()
    return {nodes.GetItemAsObject(index).GetID() for index in range(nodes.GetNumberOfItems())}


def table_rows(node):
    """All cells of a table node as text."""
    return [
        [node.GetCellText(row, column) for column in range(node.GetNumberOfColumns())]
        for row in range(node.GetNumberOfRows())
    ]


def column(node, name):
    """Values of one column."""
    array = node.GetTable().GetColumnByName(name)
    return [array.GetValue(index) for index in range(array.GetNumberOfValues())]
