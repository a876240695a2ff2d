"""Stand-in for qMRMLNodeComboBox on the real MRML scene."""

# ruff: noqa: N801, N815, RUF012  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .stand_in import row, stored


class qMRMLSortFilterProxyModel(QtCore.QObject):
    """What a selector leaves out."""

    def __init__(self, changed: Any, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._changed, self._hidden = changed, []

    def _hide(self, identifiers: list[str]) -> None:
        self._hidden = list(identifiers)
        self._changed()

    hiddenNodeIDs = QtCore.Property("QStringList", lambda self: self._hidden, _hide)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene. Disabled and empty until it has a scene."""

    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "nodeChosen",
        "currentNodeChanged(bool)": "anyNodeChosen",
        "currentNodeIDChanged(QString)": "nodeIDChosen",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeMadeByUser",
        "nodeAdded(vtkMRMLNode*)": "nodeCameIn",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeLeaves",
        "mrmlSceneChanged(vtkMRMLScene*)": "sceneChosen",
        "currentNodeRenamed(QString)": "nodeRenamed",
        "nodeActivated(vtkMRMLNode*)": "nodeActivatedByUser",
    }
    nodeChosen = QtCore.Signal(object)
    anyNodeChosen = QtCore.Signal(bool)
    nodeIDChosen = QtCore.Signal("QString")
    nodeMadeByUser = QtCore.Signal(object)
    nodeCameIn = QtCore.Signal(object)
    nodeLeaves = QtCore.Signal(object)
    sceneChosen = QtCore.Signal(object)
    nodeRenamed = QtCore.Signal("QString")
    nodeActivatedByUser = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observed: list[tuple[Any, int]] = []
        self._attributes: list[tuple[str, str, str | None]] = []
        self._shown: list[Any] = []
        self._filter = qMRMLSortFilterProxyModel(self._filter_changed, self)
        self._box = QtWidgets.QComboBox(self)
        self._box.activated.connect(self._activated)
        row(self, self._box)
        self.setEnabled(False)
        self.destroyed.connect(lambda _=None, observed=self._observed: _stop_observing(observed))

    def setMRMLScene(self, scene: Any) -> None:
        """Show the nodes of a scene; without a None entry the first node becomes the current one."""
        if scene is self._scene:
            return
        _stop_observing(self._observed)
        self._scene = scene
        self.setEnabled(scene is not None)
        if scene is not None:
            self._observe(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)
            self._observe(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._node_removed)
            for node in self._nodes():
                self._observe(node, vtk.vtkCommand.ModifiedEvent, self._node_modified)
        self._refill()
        self._choose(None if self.noneEnabled or not self._shown else self._shown[0])
        self.sceneChosen.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        """What decides which nodes are offered."""
        return self._filter

    def currentNode(self) -> Any:
        """The chosen node, or None."""
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node that is offered; anything else, None included, means no node."""
        if isinstance(node, str):
            return self.setCurrentNodeID(node)
        self._choose(node if node is not None and self._fits(node) else None)
        return None

    def setCurrentNodeID(self, identifier: str) -> None:
        """Choose a node by its ID."""
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if self._scene and identifier else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose by place among the offered nodes."""
        self._choose(self._shown[index] if 0 <= index < len(self._shown) else None)

    def nodeCount(self) -> int:
        """How many nodes are offered."""
        return len(self._shown)

    def nodeFromIndex(self, index: int) -> Any:
        """The node at a place."""
        return self._shown[index] if 0 <= index < len(self._shown) else None

    def addNode(self, class_name: str = "") -> Any:
        """Make a node as the user does with "Create new ..."."""
        node = self._scene.AddNewNodeByClass(class_name or self.nodeTypes[0], self.baseName or "")
        self.nodeMadeByUser.emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        """Remove the current node from the scene."""
        if self._node is not None:
            self._scene.RemoveNode(self._node)

    def addAttribute(self, node_type: str, attribute: str, value: str | None = None) -> None:
        """Offer nodes of a class only with this attribute."""
        self._attributes.append((node_type, attribute, value))
        self._refill()

    def _nodes(self) -> list[Any]:
        count = self._scene.GetNumberOfNodes() if self._scene is not None else 0
        return [self._scene.GetNthNode(index) for index in range(count)]

    def _fits(self, node: Any) -> bool:
        if node.GetScene() is not self._scene or (node.GetHideFromEditors() and not self.showHidden):
            return False
        exact = self.showChildNodeTypes or node.GetClassName() in self.nodeTypes
        if not exact or not any(node.IsA(kind) for kind in self.nodeTypes):
            return False
        hidden = any(node.IsA(kind) for kind in self.hideChildNodeTypes) or node.GetID() in self._filter.hiddenNodeIDs
        return not hidden and all(self._has(node, *wanted) for wanted in self._attributes)

    @staticmethod
    def _has(node: Any, node_type: str, attribute: str, value: str | None) -> bool:
        found = node.GetAttribute(attribute)
        return not node.IsA(node_type) or (found is not None and value in (None, "", found))

    def _refill(self) -> None:
        self._shown = [node for node in self._nodes() if self._fits(node)]
        self._box.blockSignals(True)
        self._box.clear()
        none = [self.noneDisplay] if self.noneEnabled else []
        self._box.addItems([*none, *(node.GetName() or "" for node in self._shown)])
        self._box.blockSignals(False)
        self._show()

    def _show(self) -> None:
        places = [index for index, node in enumerate(self._shown) if node is self._node]
        self._box.setCurrentIndex(places[0] + self.noneEnabled if places else (0 if self.noneEnabled else -1))

    def _choose(self, node: Any) -> None:
        changed, self._node = node is not self._node, node
        self._show()
        if changed:
            self.nodeChosen.emit(node)
            self.anyNodeChosen.emit(node is not None)
            self.nodeIDChosen.emit(node.GetID() if node is not None else "")

    def _activated(self, index: int) -> None:
        place = index - self.noneEnabled
        self._choose(self._shown[place] if place >= 0 else None)
        self.nodeActivatedByUser.emit(self._node)

    def _observe(self, source: Any, event: int, function: Any) -> None:
        def observer(caller: Any, _event: str, data: Any = None) -> None:
            function(data if data is not None else caller)

        if event != vtk.vtkCommand.ModifiedEvent:
            observer.CallDataType = vtk.VTK_OBJECT
        self._observed.append((source, source.AddObserver(event, observer)))

    def _node_added(self, node: Any) -> None:
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self._node_modified)
        if self._fits(node):
            self._refill()
            self.nodeCameIn.emit(node)

    def _node_modified(self, node: Any) -> None:
        names = [self._box.itemText(index + self.noneEnabled) for index in range(len(self._shown))]
        fitting = [shown for shown in self._nodes() if self._fits(shown)]
        if fitting != self._shown or names != [shown.GetName() for shown in fitting]:
            self._refill()
            if node is self._node:
                self.nodeRenamed.emit(node.GetName())

    def _node_removed(self, node: Any) -> None:
        """The entry that slides into the removed one's row becomes current, as in a QComboBox."""
        if node not in self._shown:
            return
        self.nodeLeaves.emit(node)
        rows = [None, *self._shown] if self.noneEnabled else list(self._shown)
        place = rows.index(node)
        self._shown.remove(node)
        rows.remove(node)
        self._box.blockSignals(True)
        self._box.removeItem(place)
        self._box.blockSignals(False)
        self._choose((rows[min(place, len(rows) - 1)] if rows else None) if node is self._node else self._node)

    def _filter_changed(self) -> None:
        self._refill()
        if self._node is not None and self._node not in self._shown:
            self._choose(None)
        if self._node is None and not self.noneEnabled and self._shown:
            self._choose(self._shown[0])

    nodeTypes = stored("QStringList", "nodeTypes", [], lambda self: self._filter_changed())
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], lambda self: self._filter_changed())
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, lambda self: self._filter_changed())
    showHidden = stored(bool, "showHidden", False, lambda self: self._filter_changed())
    noneEnabled = stored(bool, "noneEnabled", False, lambda self: self._refill())
    noneDisplay = stored("QString", "noneDisplay", "None", lambda self: self._refill())
    baseName = stored("QString", "baseName", "")
    addEnabled = stored(bool, "addEnabled", True)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored("QString", "interactionNodeSingletonTag", "")
    currentNodeID = QtCore.Property(
        "QString", lambda self: self._node.GetID() if self._node is not None else "", setCurrentNodeID
    )


def _stop_observing(observed: list[tuple[Any, int]]) -> None:
    for source, tag in observed:
        source.RemoveObserver(tag)
    observed.clear()
