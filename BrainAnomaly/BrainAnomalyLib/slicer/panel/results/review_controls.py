"""The review of findings: keep or reject, a comment on the chosen one, and steps back and forth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from ..common.connections import Connections
from ..common.messages import Messages
from .findings_view import ChosenFinding
from .review_history import ReviewHistory


class ReviewControls:
    """Comment line and buttons below the table; ``reviewed`` is called after every step."""

    def __init__(
        self,
        ui: Any,
        logic: BrainAnomalySceneLogic,
        messages: Messages,
        connections: Connections,
        reviewed: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._messages, self._reviewed = ui, logic, messages, reviewed
        self._node: VolumeNode | None = None
        self._chosen: ChosenFinding | None = None
        # By time stamps of maps, which VTK never issues twice: a new run begins a new history.
        self._histories: dict[int, ReviewHistory] = {}
        connections.of(ui.commentEdit).connect("editingFinished()", self.onCommented)
        connections.of(ui.keepAllButton).connect("clicked()", self.onKeepAll)
        connections.of(ui.undoButton).connect("clicked()", self.onUndo)
        connections.of(ui.redoButton).connect("clicked()", self.onRedo)

    def show(self, node: VolumeNode | None, chosen: ChosenFinding | None) -> None:
        """Review the result of ``node`` from now on, and comment on the finding that is chosen."""
        self._node = node
        state = None if node is None else self._logic.reviewState(node)
        self._ui.keepAllButton.enabled = state is not None and state.rejected is not None
        for name, back in (("undoButton", True), ("redoButton", False)):
            getattr(self._ui, name).enabled = state is not None and self._history().can_go(state, back)
        self.choose(chosen)

    def choose(self, chosen: ChosenFinding | None) -> None:
        """Comment on another finding."""
        self._chosen, edit = chosen, self._ui.commentEdit
        wasBlocked = edit.blockSignals(True)
        edit.text = "" if chosen is None else chosen.comment
        edit.enabled = chosen is not None
        edit.blockSignals(wasBlocked)

    def keep(self, number: int, kept: bool) -> None:
        """Keep or reject a finding."""
        self._step(lambda node: self._logic.setKept(node, number, kept))

    def onCommented(self) -> None:
        """The comment line was left."""
        chosen, text = self._chosen, str(self._ui.commentEdit.text).strip()
        if chosen is not None and text != chosen.comment:
            self._step(lambda node: self._logic.setComment(node, chosen.number, text))

    def onKeepAll(self) -> None:
        """Take back every rejection."""
        self._step(self._logic.keepAll)

    def onUndo(self) -> None:
        """One step back."""
        self._go(back=True)

    def onRedo(self) -> None:
        """One step forth."""
        self._go(back=False)

    def _step(self, action: Callable[[VolumeNode], object]) -> None:
        if self._node is None:
            return
        with self._messages.action():
            before = self._logic.reviewState(self._node)
            action(self._node)
            self._history().add(before, self._logic.reviewState(self._node))
            self._reviewed()

    def _go(self, back: bool) -> None:
        if self._node is None:
            return
        with self._messages.action():
            now = self._logic.reviewState(self._node)
            if self._history().can_go(now, back):
                self._logic.setReviewState(self._node, self._history().go(now, back))
                self._reviewed()

    def _history(self) -> ReviewHistory:
        anomaly_map = None if self._node is None else self._logic.resultNodes(self._node).anomaly_map
        key = 0 if anomaly_map is None else int(anomaly_map.GetImageData().GetMTime())
        return self._histories.setdefault(key, ReviewHistory())
