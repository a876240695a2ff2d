"""The host's parameterNodeWrapper: typed fields kept in a vtkMRMLScriptedModuleNode of the scene."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .parameter_types import ParameterType
from .parameter_widgets import Connector, connector_of

_RESERVED = ("allParameters", "default", "isCached", "dataType", "getValue", "setValue", "connectGui", "disconnectGui")


class _Wrapper:
    """What every wrapper class gets."""

    allParameters: dict[str, ParameterType]  # noqa: N815
    _defaults: dict[str, Any]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, dict[str, Connector]] = {}
        self._observers: dict[int, int] = {}
        self._updating = False
        for name in self.allParameters:
            if not self._is_in(name):
                self.setValue(name, self._defaults[name])

    def getValue(self, name: str) -> Any:
        """The value of a parameter."""
        described, key = self._described(name), self._prefix + name
        if described.is_node:
            return self.parameterNode.GetNodeReference(key)
        return described.from_text(self.parameterNode.GetParameter(key))

    def setValue(self, name: str, value: Any) -> None:
        """Check a value and keep it in the node."""
        described, key = self._described(name), self._prefix + name
        described.check(value)
        if described.is_node:
            self.parameterNode.SetNodeReferenceID(key, value.GetID() if value is not None else None)
        else:
            self.parameterNode.SetParameter(key, described.to_text(value))

    def default(self, name: str) -> Any:
        """The default of a parameter."""
        self._described(name)
        return self._defaults[name]

    def isCached(self, name: str) -> bool:
        """The host reads the node every time."""
        self._described(name)
        return False

    def dataType(self, name: str) -> Any:
        """The type of a parameter."""
        return self._described(name).kind

    def connectGui(self, gui: Any) -> None:
        """Bind every named widget that has a SlicerParameterName to that parameter. Slicer's loses the tag here."""
        widgets = gui.findChildren() if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {widget.property("SlicerParameterName"): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets by parameter name; ValueError for a name that is no parameter."""
        for name in mapping:
            self._described(name)
        connectors = {name: connector_of(widget, self.allParameters[name]) for name, widget in mapping.items()}
        tag = len(self._guis)
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_changed(lambda name=name, connector=connector: self._from_widget(name, connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, _weakly(self._update_gui))
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        """Unbind what connectGui bound."""
        for connector in self._guis.get(tag, {}).values():  # type: ignore[arg-type]
            connector.on_changed(None)
        if tag in self._guis:
            self._guis[tag] = {}  # type: ignore[index]
            self.RemoveObserver(self._observers.pop(tag, 0))  # type: ignore[arg-type]

    def StartModify(self) -> int:
        """Hold back events of the node."""
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        """Let events of the node out."""
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """Stop observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Tell observers of the node."""
        self.parameterNode.Modified()

    def _described(self, name: str) -> ParameterType:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}. Found {list(self.allParameters)}")
        return self.allParameters[name]

    def _is_in(self, name: str) -> bool:
        key = self._prefix + name
        if self.allParameters[name].is_node:
            return key in _reference_roles(self.parameterNode)
        return key in self.parameterNode.GetParameterNames()

    def _from_widget(self, name: str, connector: Connector) -> None:
        if not self._updating:
            with slicer.util.NodeModify(self):
                self.setValue(name, connector.read())

    def _update_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False


def _weakly(method: Callable[[], None]) -> Callable[..., None]:
    """An observer that does not keep the method's object: in a ring with its node, Python may collect both while the
    scene still calls the observer."""
    reference = weakref.WeakMethod(method)

    def observer(*_: Any) -> None:
        alive = reference()
        if alive is not None:
            alive()

    return observer


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: the class's annotated fields become parameters of a node."""
    return _made(classtype) if classtype is not None else _made


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    """Whether something is a wrapper class or one of its objects."""
    return hasattr(classOrObject, "allParameters")


def _made(classtype: type) -> type:
    hints = typing.get_type_hints(classtype, include_extras=True)
    reserved = [name for name in hints if name in _RESERVED]
    if reserved:
        raise ValueError(f"Cannot use reserved name '{reserved[0]}' in a parameterNodeWrapper")
    described = {name: ParameterType.of(hint) for name, hint in hints.items()}
    own = {name: value for name, value in vars(classtype).items() if name not in ("__dict__", "__weakref__")}
    members = {**own, **{name: _field(name) for name in described}}
    members["allParameters"] = described
    members["_defaults"] = {name: getattr(classtype, name, kind.default()) for name, kind in described.items()}
    return type(classtype.__name__, (_Wrapper,), members)


def _field(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def _reference_roles(node: Any) -> list[str]:
    return [node.GetNthNodeReferenceRole(index) for index in range(node.GetNumberOfNodeReferenceRoles())]
