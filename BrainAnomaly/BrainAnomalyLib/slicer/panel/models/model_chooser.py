"""The model section: what there is to choose from, described so that a reader can choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ....detectors.registry import detector_for
from ....models.store import NO_COHORT, Model, list_models
from ..common.connections import Connections
from ..common.messages import WARNING_STYLE, show_text
from ..common.parameters import AUTOMATIC, BrainAnomalyParameterNode
from ..common.plain_words import duration, size


class ModelChooser:
    """The combo box of models and the text below it."""

    def __init__(self, ui: Any, connections: Connections, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: BrainAnomalyParameterNode | None = None
        self._models: tuple[Model, ...] = ()
        self.refresh()
        connections.of(ui.modelComboBox).connect("currentIndexChanged(int)", self.onModelChanged)

    @property
    def models(self) -> tuple[Model, ...]:
        """Everything that can be chosen besides automatic."""
        return self._models

    def setParameters(self, parameters: BrainAnomalyParameterNode | None) -> None:
        """Show the model that a parameter node names; one that is not here any more becomes automatic."""
        self._parameters = None
        self._select(parameters.modelKey if parameters else AUTOMATIC)
        self._parameters = parameters
        self._describe()

    def refresh(self) -> None:
        """List the models anew, for example after an import; the choice stays if the model does."""
        key = self._parameters.modelKey if self._parameters else AUTOMATIC
        self._models = list_models()
        box = self._ui.modelComboBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItem(_("Automatic (by contrast)"))
        for model in self._models:
            box.addItem(_title(model))
        box.blockSignals(wasBlocked)
        self._select(key)
        self._describe()

    def onModelChanged(self, index: int) -> None:
        """Another model was chosen."""
        if self._parameters is not None:
            model = self.chosen()
            self._parameters.modelKey = AUTOMATIC if model is None else model.key
        self._describe()
        self._changed()

    def chosen(self) -> Model | None:
        """The chosen model, None for automatic."""
        index = self._ui.modelComboBox.currentIndex
        return self._models[index - 1] if 0 < index <= len(self._models) else None

    def problem(self) -> str:
        """Why the chosen model cannot be used, empty if it can."""
        model = self.chosen()
        return "" if model is None else model.problem

    def sayWhichRuns(self, scans: int = 1, problem: str = "") -> None:
        """Say in one sentence which model the button will run on so many scans together, or the problem with them."""
        self._ui.modelSentenceLabel.styleSheet = WARNING_STYLE if problem else ""
        show_text(self._ui.modelSentenceLabel, problem or self._sentence(scans))

    def engine_choice(self) -> tuple[str | None, Path | None]:
        """Detector and package for a run; None where the engine chooses by contrast."""
        model = self.chosen()
        if model is None:
            return None, None
        return (model.detector, None) if model.folder is None else (None, model.folder)

    def _select(self, key: str) -> None:
        keys = [AUTOMATIC, *(model.key for model in self._models)]
        wasBlocked = self._ui.modelComboBox.blockSignals(True)
        self._ui.modelComboBox.currentIndex = keys.index(key) if key in keys else 0
        self._ui.modelComboBox.blockSignals(wasBlocked)

    def _describe(self) -> None:
        model = self.chosen()
        show_text(self._ui.modelDescriptionLabel, self._automatic() if model is None else describe(model))
        self.sayWhichRuns()

    def _sentence(self, scans: int) -> str:
        if scans > 1:
            return str(_("{count} scans together, each by the model for its contrast.").format(count=scans))
        model, contrast = self.chosen(), self._parameters.contrast if self._parameters else AUTOMATIC
        if model is not None:
            return str(_("Model: {title}.").format(title=model.title))
        if contrast == AUTOMATIC:
            return str(_("Model: by the contrast that the scan shows."))
        suited: Any = contrast
        key = detector_for(suited)
        title = next((one.title for one in self._models if one.key == key), key)
        return str(_("Model: {title}, as it suits {contrast}.").format(title=title, contrast=contrast))

    def _automatic(self) -> str:
        text = _("Takes the model that suits the contrast. There are models for: {contrasts}.")
        contrasts = sorted({name for model in self._models if not model.problem for name in model.contrasts})
        return str(text.format(contrasts=", ".join(contrasts)))


def describe(model: Model) -> str:
    """What a reader should know before choosing a model."""
    if model.problem:
        return str(_("Cannot be used: {problem}").format(problem=model.problem))
    untrained = model.cohort == NO_COHORT
    cohort = _("none, a method without training") if untrained else model.cohort
    seconds = model.seconds_per_scan
    lines = (
        model.description,
        _("For: {contrasts}").format(contrasts=", ".join(model.contrasts)),
        _("Training cohort: {cohort}").format(cohort=cohort),
        _("Size: {size}").format(size=size(model.size_bytes)) if model.size_bytes else "",
        _("License: {license}").format(license=model.license),
        "" if seconds is None else _("Time for a scan: about {time}").format(time=duration(seconds)),
    )
    return "\n".join(line for line in lines if line)


def _title(model: Model) -> str:
    contrasts = ", ".join(model.contrasts)
    title = f"{model.title} ({contrasts})" if contrasts else model.title
    return str(_("{title} - cannot be used").format(title=title)) if model.problem else title
