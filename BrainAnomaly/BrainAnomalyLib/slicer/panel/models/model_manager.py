"""Manage models: take a package in, verify it, show where it lies, delete it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ....models.store import Model, delete_model, import_package, list_models, models_folder
from ....packages.read import read_package
from ..common.connections import Connections
from ..common.messages import Messages, show_text
from ..common.plain_words import size

# The whole hash is in the log; it has no place where a line could break.
_HASH_LETTERS = 16


class ModelManager:
    """The table of models and its buttons; ``changed`` is called when models came or went."""

    def __init__(self, ui: Any, messages: Messages, connections: Connections, changed: Callable[[], None]) -> None:
        self._ui, self._messages, self._changed = ui, messages, changed
        self._models: tuple[Model, ...] = ()
        headers = (_("Model"), _("For"), _("State"))
        ui.modelsTable.setColumnCount(len(headers))
        ui.modelsTable.setHorizontalHeaderLabels(headers)
        header = ui.modelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.modelsTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        connections.of(ui.modelsTable).connect("itemSelectionChanged()", self.onSelectionChanged)
        connections.of(ui.importModelButton).connect("clicked()", self.onImport)
        connections.of(ui.verifyModelButton).connect("clicked()", self.onVerify)
        connections.of(ui.showModelsFolderButton).connect("clicked()", self.onShowFolder)
        connections.of(ui.deleteModelButton).connect("clicked()", self.onDelete)
        self.refresh()

    def refresh(self) -> None:
        """List the models anew."""
        self._models = list_models()
        table = self._ui.modelsTable
        table.setRowCount(len(self._models))
        for row, model in enumerate(self._models):
            for column, text in enumerate(_cells(model)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(model.problem or model.description)
                table.setItem(row, column, item)
        self.onSelectionChanged()

    def onSelectionChanged(self) -> None:
        """Another model was chosen: some can be verified, only one's own can be deleted."""
        model = self._chosen()
        show_text(self._ui.modelDetailsLabel, "" if model is None else _details(model))
        self._ui.verifyModelButton.enabled = model is not None and model.folder is not None
        own = model is not None and not model.embedded
        self._ui.deleteModelButton.enabled = own
        self._ui.deleteModelButton.toolTip = (
            _("Remove the chosen model from your models folder.") if own else _("Only your own models can be deleted.")
        )

    def onImport(self) -> None:
        """Take in a package file."""
        name = qt.QFileDialog.getOpenFileName(None, _("Import a model package"), "", _("Model packages (*.zip)"))
        if name:
            self.importFrom(Path(name))

    def importFrom(self, source: Path) -> None:
        """Take in a package (zip or folder), verified before it appears."""
        with self._messages.action():
            with slicer.util.WaitCursor():
                package = import_package(source)
            self._say(_("Imported {name}.").format(name=package.metadata["name"]))
        self._reload()

    def onVerify(self) -> None:
        """Compare the files of the chosen model with their checksums."""
        model = self._chosen()
        if model is None or model.folder is None:
            return
        show_text(self._ui.manageLabel, "")
        with self._messages.action():
            with slicer.util.WaitCursor():
                package = read_package(model.folder)
            text = _("{name} is intact. SHA-256: {hash}")
            self._messages.log(text.format(name=model.title, hash=package.identity))
            short = f"{package.identity[:_HASH_LETTERS]}…"
            show_text(self._ui.manageLabel, text.format(name=model.title, hash=short))

    def onShowFolder(self) -> None:
        """Open the models folder."""
        with self._messages.action():
            folder = models_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._say(_("Your models lie in {folder}").format(folder=folder))
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def onDelete(self) -> None:
        """Delete the chosen model, after asking."""
        model = self._chosen()
        if model is None:
            return
        question = _("Delete the model '{name}' from your models folder?").format(name=model.title)
        if slicer.util.confirmOkCancelDisplay(question):
            with self._messages.action():
                delete_model(model)
                self._say(_("Deleted {name}.").format(name=model.title))
            self._reload()

    def _chosen(self) -> Model | None:
        row = self._ui.modelsTable.currentRow()
        return self._models[row] if 0 <= row < len(self._models) else None

    def _say(self, text: str) -> None:
        show_text(self._ui.manageLabel, text)
        self._messages.log(text)

    def _reload(self) -> None:
        self.refresh()
        self._changed()


def _cells(model: Model) -> tuple[str, ...]:
    state = _("unusable") if model.problem else _("ready")
    return model.title, "\n".join(model.contrasts), state


def _details(model: Model) -> str:
    """What the table leaves out."""
    if model.problem:
        return model.problem
    place = _("It comes with BrainAnomaly.") if model.embedded else _("It lies in your models folder.")
    return f"{size(model.size_bytes)}. {place}" if model.size_bytes else str(place)
