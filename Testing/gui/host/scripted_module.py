"""The host's slicer.ScriptedLoadableModule, slicer.i18n, slicer.packaging, PyTorchUtils and SampleData."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer

from . import parameter_nodes, parameter_types


class ScriptedLoadableModule:
    """Registration of a module: its parent holds title, categories, help."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        for name, value in (("title", ""), ("categories", []), ("dependencies", []), ("contributors", []),
                            ("helpText", ""), ("acknowledgementText", ""), ("hidden", False)):  # fmt: skip
            setattr(parent, name, value)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A paragraph with a link to the documentation."""
        return f'<p>For more information see the <a href="{docPage or ""}">{self.parent.title} documentation</a>.</p>'

    def resourcePath(self, filename: str) -> str:
        """A file below the module's Resources folder."""
        return _resource(type(self), filename)

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the module's own self-test."""
        getattr(inspect.getmodule(type(self)), f"{self.moduleName}Test")().runTest()


class ScriptedLoadableModuleWidget:
    """A panel: ``layout`` of a qMRMLWidget that has the scene."""

    def __init__(self, parent: Any = None) -> None:
        import qt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, slicer.util.toBool)
        setattr(slicer.modules, f"{self.moduleName}Widget", self)
        if parent is None:
            self.setup()

    def resourcePath(self, filename: str) -> str:
        """A file below the module's Resources folder."""
        return _resource(type(self), filename)

    def setup(self) -> None:
        """Called once; the application adds its reload section here in developer mode."""

    def cleanup(self) -> None:
        """Called before the panel goes."""

    def enter(self) -> None:
        """Called when the user opens the module."""

    def exit(self) -> None:
        """Called when the user leaves the module."""


class ScriptedLoadableModuleLogic:
    """Computation; one parameter node for each module."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's node of the scene, made if there is none."""
        return slicer.mrmlScene.GetSingletonNode(self.moduleName, _NODE) or self.createParameterNode()

    def getAllParameterNodes(self) -> list[Any]:
        """Every parameter node of the module."""
        nodes = slicer.util.getNodesByClass(_NODE)
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """A new parameter node."""
        node = slicer.mrmlScene.CreateNodeByClass(_NODE)
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest:
    """A self-test: every method whose name starts with test, each after setUp."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.messageDelay = 0

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear(0)

    def tearDown(self) -> None:
        """Called after each test."""

    def runTest(self) -> None:
        """Run every test."""
        for name in [name for name in dir(self) if name.startswith("test")]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Show a message for a moment."""
        slicer.util.delayDisplay(message, self.messageDelay)


class PackagingRecord:
    """What a module asked ``slicer.packaging`` and ``PyTorchUtils`` to do, and how that ends in a test."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing asked; every install succeeds, everything is installed."""
        self.calls: list[tuple[str, Any]] = []
        self.fails_with: Exception | None = None
        self.installed = True

    def call(self, name: str, arguments: Any) -> None:
        """Remember a call and fail if the test wants that."""
        self.calls.append((name, arguments))
        logging.info("%s %s", name, arguments)
        if self.fails_with is not None:
            raise self.fails_with
        self.installed = True


PACKAGING = PackagingRecord()
_NODE = "vtkMRMLScriptedModuleNode"


class PyTorchUtilsLogic:
    """The logic of the PyTorch extension; installs nothing."""

    def torchInstalled(self) -> bool:
        """Whether torch can be imported."""
        return PACKAGING.installed

    def installTorch(self, **options: Any) -> Any:
        """Remember the request; None when it was refused."""
        PACKAGING.call("installTorch", options)
        return self.torch

    def getDevice(self) -> str:
        """The device PyTorchUtils proposes."""
        return "cpu"

    @property
    def torch(self) -> Any:
        """The torch module."""
        import torch

        return torch


def extra_modules() -> dict[str, ModuleType]:
    """The modules that slicer-core lacks, by the name under which they are imported."""
    parameters = {**_public(parameter_types), **_public(parameter_nodes)}
    bases = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic,
             ScriptedLoadableModuleTest)  # fmt: skip
    from . import sample_data

    return {
        name: _module(name, content)
        for name, content in {
            "slicer.ScriptedLoadableModule": {kind.__name__: kind for kind in bases},
            "slicer.i18n": {"tr": tr, "translate": lambda context, text: text, "getContext": str},
            "slicer.parameterNodeWrapper": parameters,
            "slicer.packaging": _packaging(),
            "PyTorchUtils": {"PyTorchUtilsLogic": PyTorchUtilsLogic},
            "SampleData": {"SampleDataLogic": sample_data.SampleDataLogic},
        }.items()
    }


def tr(text: str, context: str | None = None) -> str:
    """Translate; the host has no translations."""
    if not isinstance(text, str):
        raise TypeError("tr() takes a literal string")
    return text


def _packaging() -> dict[str, Any]:
    def remember(name: str) -> Any:
        return lambda *arguments, **options: PACKAGING.call(name, (arguments, options))

    names = ("pip_install", "pip_uninstall", "pip_ensure")
    return {
        **{name: remember(name) for name in names},
        "pip_check": lambda *arguments, **options: PACKAGING.installed,
        "load_requirements": lambda path: _requirements(Path(path)),
        "isPipInstallInProgress": lambda: False,
    }


def _requirements(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _resource(kind: type, filename: str) -> str:
    return str(Path(inspect.getfile(kind)).parent / "Resources" / filename)


def _module(name: str, members: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def _public(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}
