"""Readers and writers behind slicer.util.loadVolume, saveNode and so on: the nodes' own storage nodes."""

# ruff: noqa: N801  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

_SUFFIXES = {
    "VolumeFile": (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "TableFile": (".csv", ".tsv"),
    "SceneFile": (".mrml",),
}


class qSlicerCoreIOManager(QtCore.QObject):
    """Loads and saves by file type; volumes, segmentations, tables and .mrml scenes only."""

    def __init__(self, scene: Any, application_logic: Any) -> None:
        super().__init__()
        self._scene, self._application_logic = scene, application_logic

    def fileType(self, file_name: str) -> str:
        """The type of a file by its name."""
        fitting = [
            (max(map(len, [end for end in ends if file_name.lower().endswith(end)])), kind)
            for kind, ends in _SUFFIXES.items()
            if file_name.lower().endswith(ends)
        ]
        return max(fitting)[1] if fitting else "NoFile"

    def fileWriterFileType(self, node: Any) -> str:
        """The type under which a node is saved."""
        return next((kind for kind, name in _CLASSES.items() if node.IsA(name)), "NoFile")

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """Load a file; what was loaded is added to the collection."""
        path = str(properties["fileName"])
        if not Path(path).is_file():
            return False
        if file_type == "SceneFile":
            self._scene.SetURL(path)
            return bool(self._scene.Connect())
        node = self._load(file_type, path, dict(properties))
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Save a node, or the scene, under a file name."""
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return path.endswith(".mrml") and bool(self._scene.Commit(path))
        node = self._scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def _load(self, file_type: str, path: str, properties: dict[str, Any]) -> Any:
        name = properties.get("name") or Path(path).name.split(".")[0]
        if file_type == "VolumeFile":
            logic = slicer.modules.volumes.logic()
            return logic.AddArchetypeVolume(path, name, 1 if properties.get("labelmap") else 0)
        if file_type not in _CLASSES:
            return None
        node = self._scene.AddNewNodeByClass(_CLASSES[file_type], name)
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        if node.GetStorageNode().ReadData(node):
            return node
        self._scene.RemoveNode(node)
        return None


_CLASSES = {
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TableFile": "vtkMRMLTableNode",
    "VolumeFile": "vtkMRMLVolumeNode",
}
