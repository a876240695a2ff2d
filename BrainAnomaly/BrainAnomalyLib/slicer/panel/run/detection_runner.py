"""Runs a detection in the worker and leaves its result with the volume that was submitted.

A QTimer polls the worker: no thread, no waiting.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import Literal, Protocol

import qt
from slicer.i18n import tr as _

from ....service.jobs import InternalError, in_plain_words
from ...scene.logic import BrainAnomalySceneLogic
from ...scene.nodes.links import VolumeNode
from .submission import Request, Submission
from .worker_process import Failed, Finished, Report, Stage, WorkerProcess

POLL_MILLISECONDS = 100
# Below these an estimate of the time left is worth nothing.
_EARLIEST_FRACTION, _EARLIEST_SECONDS = 0.05, 2.0

Ending = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class RunProgress:
    """Where the run is: its stage, the finished fraction of it, seconds left if known."""

    stage: str
    fraction: float
    seconds_left: float | None


class RunListener(Protocol):
    """Whoever wants to hear of a run."""

    def onProgress(self, progress: RunProgress) -> None:
        """The run went on."""

    def onRunEnded(self, node: VolumeNode, ending: Ending, sentence: str, details: str) -> None:
        """The run of a volume is over; ``sentence`` is empty when it is done."""


class DetectionRunner:
    """At most one run at a time.

    >>> runner = DetectionRunner(BrainAnomalySceneLogic(), WorkerProcess(worker_python), listener)
    >>> runner.start(Request(inputNode))
    >>> runner.cancel()
    >>> runner.close()
    """

    def __init__(self, logic: BrainAnomalySceneLogic, worker: WorkerProcess, listener: RunListener) -> None:
        self._logic, self.worker, self._listener = logic, worker, listener
        self._submission: Submission | None = None
        self._stopped_because = ""
        self._began = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)

    @property
    def running(self) -> bool:
        """Whether a run has not ended."""
        return self._submission is not None

    def start(self, request: Request) -> None:
        """Begin; does nothing while a run goes on."""
        if self.running:
            return
        self._stopped_because, self._began = "", time.monotonic()
        self._timer.start()
        try:
            self._submission = Submission(request)
            self._progress(Stage(_("Starting the worker"), 0.0))
            self.worker.detect(**self._submission.options())
        except Exception as error:
            self._close_submission()
            self._fail(request, error)

    def cancel(self) -> None:
        """Stop the run soon, at the latest by ending the worker."""
        self.worker.cancel()

    def sceneClosed(self) -> None:
        """Stop at once and remove everything: the volumes of this run are going."""
        request = self._close_submission()
        self.worker.close(at_once=True)
        if request is not None:
            self._end(request, "cancelled", _("The scene was closed; the detection was stopped."))

    def close(self) -> None:
        """Stop without a word, end the worker and remove all its files; for the end of the module."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self.poll)
        self._close_submission()
        self.worker.close(at_once=True)

    def poll(self) -> None:
        """Called by the timer: see what the worker says."""
        self._check_volume()
        for report in self.worker.poll():
            if self._submission is not None:
                self._take(report)

    def _check_volume(self) -> None:
        """Stop the worker when the volume it works on has left the scene."""
        request = None if self._submission is None else self._submission.request
        if request is not None and not request.is_in_scene and not self._stopped_because:
            self._stopped_because = _gone(request)
            self.worker.cancel()

    def _take(self, report: Report) -> None:
        if isinstance(report, Stage):
            self._progress(report)
            return
        submission, self._submission = self._submission, None
        if submission is None:
            return
        try:
            self._finish(submission, report)
        finally:
            submission.close()

    def _finish(self, submission: Submission, report: Report) -> None:
        """Deliver a result to the submitted volume, or say why there is none."""
        request = submission.request
        if isinstance(report, Finished) and not self._stopped_because:
            try:
                self._logic.apply(submission.detection(), request.node, request.further_nodes, request.prior)
            except Exception as error:
                self._fail(request, error)
                return
            self._end(request, "done", "")
        elif isinstance(report, Failed):
            self._end(request, "failed", report.sentence, report.details)
        else:
            self._end(request, "cancelled", self._stopped_because or _cancelled(request))

    def _fail(self, request: Request, error: Exception) -> None:
        plain = in_plain_words(error)
        details = "".join(traceback.format_exception(error)) if isinstance(plain, InternalError) else ""
        self._end(request, "failed", plain.sentence(), details)

    def _progress(self, stage: Stage) -> None:
        elapsed, fraction = time.monotonic() - self._began, stage.fraction
        left = elapsed * (1.0 - fraction) / fraction if _is_telling(fraction, elapsed) else None
        self._listener.onProgress(RunProgress(stage.name, fraction, left))

    def _close_submission(self) -> Request | None:
        submission, self._submission = self._submission, None
        if submission is None:
            return None
        submission.close()
        return submission.request

    def _end(self, request: Request, ending: Ending, sentence: str, details: str = "") -> None:
        """The run is over. The worker stays warm; whether it still lives is looked up when the next run begins."""
        self._timer.stop()
        self._listener.onRunEnded(request.node, ending, sentence, details)


def _is_telling(fraction: float, elapsed: float) -> bool:
    return fraction >= _EARLIEST_FRACTION and elapsed >= _EARLIEST_SECONDS


def _gone(request: Request) -> str:
    words = _("The volume '{name}' was removed from the scene; its detection was stopped.")
    return str(words.format(name=request.name))


def _cancelled(request: Request) -> str:
    words = _("The detection of '{name}' was cancelled; an earlier result is unchanged.")
    return str(words.format(name=request.name))
