"""The export section: a folder, buttons for volumes and table, and one for every format of ``output.formats``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ....errors import OutputError
from ....output.formats import FORMATS
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from ..common.connections import Connections
from ..common.messages import Messages, show_text
from ..common.parameters import BrainAnomalyParameterNode
from .export_files import export_csv, export_format, export_json, export_volumes, is_from_dicom

_BUTTONS = ("exportNiftiButton", "exportNrrdButton", "exportCsvButton", "exportJsonButton")
_COLUMNS = 2


class ExportControls:
    """Writes the result that is shown. A path is text: path parameters are rewritten while a reader types."""

    def __init__(self, ui: Any, logic: BrainAnomalySceneLogic, messages: Messages, connections: Connections) -> None:
        self._ui, self._logic, self._messages, self._connections = ui, logic, messages, connections
        self._node: VolumeNode | None = None
        self._parameters: BrainAnomalyParameterNode | None = None
        connections.of(ui.exportFolderEdit).connect("currentPathChanged(QString)", self.onFolderChanged)
        connections.of(ui.exportNiftiButton).connect("clicked()", self.onNifti)
        connections.of(ui.exportNrrdButton).connect("clicked()", self.onNrrd)
        connections.of(ui.exportCsvButton).connect("clicked()", self.onCsv)
        connections.of(ui.exportJsonButton).connect("clicked()", self.onJson)
        self.formats = {name: self._button(name, place) for place, name in enumerate(FORMATS, len(_BUTTONS))}

    def setParameters(self, parameters: BrainAnomalyParameterNode | None) -> None:
        """Take the folder from another parameter node."""
        self._parameters = None
        self._ui.exportFolderEdit.currentPath = parameters.exportFolder if parameters else ""
        self._parameters = parameters

    def show(self, node: VolumeNode | None) -> None:
        """Export the result of ``node`` from now on."""
        self._node = node
        show_text(self._ui.exportLabel, "")
        for name in _BUTTONS:
            getattr(self._ui, name).enabled = node is not None
        for name, button in self.formats.items():
            lacks_dicom = FORMATS[name].needs_dicom and not (node is not None and is_from_dicom(node))
            button.enabled = node is not None and not lacks_dicom
            needs = _("{format} needs a scan that was loaded from DICOM.").format(format=_(FORMATS[name].title))
            button.toolTip = needs if lacks_dicom else _(FORMATS[name].about)

    def onFolderChanged(self, path: str) -> None:
        """Another folder."""
        if self._parameters is not None and self._parameters.exportFolder != path:
            self._parameters.exportFolder = path

    def onNifti(self) -> None:
        """Volumes as NIfTI."""
        self._export(lambda node, folder: export_volumes(self._logic.detection(node), folder, ".nii.gz"))

    def onNrrd(self) -> None:
        """Volumes as NRRD."""
        self._export(lambda node, folder: export_volumes(self._logic.detection(node), folder, ".nrrd"))

    def onCsv(self) -> None:
        """The findings as a table."""
        self._export(lambda node, folder: [export_csv(self._logic.detection(node), folder)])

    def onJson(self) -> None:
        """Findings and settings for programs."""
        self._export(lambda node, folder: [export_json(self._logic.detection(node), folder)])

    def onFormat(self, name: str) -> None:
        """A format of ``output.formats``."""

        def write(node: VolumeNode, folder: Path) -> list[Path]:
            return [export_format(name, self._logic.detection(node), node, self._logic.record(node), folder)]

        self._export(write)

    def _button(self, name: str, place: int) -> Any:
        button = qt.QPushButton(_(FORMATS[name].title))
        button.objectName = f"export_{name}"
        self._ui.exportButtons.layout().addWidget(button, place // _COLUMNS, place % _COLUMNS)
        self._connections.of(button).connect("clicked()", partial(self.onFormat, name))
        return button

    def _export(self, write: Callable[[VolumeNode, Path], Sequence[Path]]) -> None:
        """Write into the chosen folder and say what was written."""
        show_text(self._ui.exportLabel, "")
        with self._messages.action():
            folder = self._folder()
            if self._node is None or folder is None:
                return
            with slicer.util.WaitCursor():
                paths = write(self._node, folder)
            text = _("Written to {folder}: {names}")
            text = text.format(folder=folder, names=", ".join(path.name for path in paths))
            show_text(self._ui.exportLabel, text)
            self._messages.log(text)

    def _folder(self) -> Path | None:
        """The chosen folder, asked for if none is chosen; None if the reader does not want one. Raises OutputError."""
        edit = self._ui.exportFolderEdit
        if not edit.currentPath:
            edit.currentPath = qt.QFileDialog.getExistingDirectory(None, _("Export to folder"), "")
        if not edit.currentPath:
            return None
        folder = Path(edit.currentPath)
        if not folder.is_dir():
            raise OutputError(f"There is no folder '{folder}'.", "Choose a folder for the export.")
        return folder
