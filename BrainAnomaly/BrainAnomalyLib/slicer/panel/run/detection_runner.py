"""Runs volumes one after the other in the worker and leaves each result with the volume that was submitted.

A QTimer polls the worker: no thread, no waiting. Failures of one volume do not stop the others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
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
    """Where the run is: volume ``number`` of ``count``, its stage, fraction of the whole run, seconds left if known."""

    name: str
    number: int
    count: int
    stage: str
    fraction: float
    seconds_left: float | None


class RunListener(Protocol):
    """Whoever wants to hear of a run."""

    def onProgress(self, progress: RunProgress) -> None:
        """The run went on."""

    def onVolumeEnded(self, node: VolumeNode, ending: Ending, sentence: str, details: str) -> None:
        """One volume is through; ``sentence`` is empty when it is done."""

    def onRunEnded(self) -> None:
        """All volumes are through."""


class DetectionRunner:
    """The queue of volumes, at most one of them in the worker.

    >>> runner = DetectionRunner(BrainAnomalySceneLogic(), WorkerProcess(worker_python), listener)
    >>> runner.start([Request(inputNode)])
    >>> runner.cancel()
    >>> runner.close()
    """

    def __init__(self, logic: BrainAnomalySceneLogic, worker: WorkerProcess, listener: RunListener) -> None:
        self._logic, self.worker, self._listener = logic, worker, listener
        self._waiting: list[Request] = []
        self._submission: Submission | None = None
        self._stopped_because = ""
        self._count, self._began = 0, 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)

    @property
    def running(self) -> bool:
        """Whether a run has not ended."""
        return self._submission is not None or bool(self._waiting)

    def start(self, requests: Sequence[Request]) -> None:
        """Begin with the first of ``requests``; does nothing while a run goes on."""
        if self.running or not requests:
            return
        self._waiting, self._count, self._stopped_because = list(requests), len(requests), ""
        self._began = time.monotonic()
        self._timer.start()
        self._next()

    def cancel(self) -> None:
        """Stop the run: volumes that wait are dropped, the running one stops soon, at the latest by being ended."""
        waiting, self._waiting = self._waiting, []
        self.worker.cancel()
        for request in waiting:
            self._tell(request, "cancelled", _cancelled(request))
        if self._submission is None:
            self._end()

    def sceneClosed(self) -> None:
        """Stop at once and remove everything: the volumes of this run are going."""
        if self.running:
            request, self._waiting = self._close_submission(), []
            self.worker.close(at_once=True)
            if request is not None:
                self._tell(request, "cancelled", _("The scene was closed; the detection was stopped."))
            self._end()
        self.worker.close(at_once=True)

    def close(self) -> None:
        """Stop without a word, end the worker and remove all its files; for the end of the module."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self.poll)
        self._waiting = []
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

    def _next(self) -> None:
        """Submit the next volume, or end the run."""
        self._stopped_because = ""
        while self._waiting and self._submission is None:
            self._submit(self._waiting.pop(0))
        if self._submission is None:
            self._end()

    def _submit(self, request: Request) -> None:
        if not request.is_in_scene:
            self._tell(request, "cancelled", _gone(request))
            return
        try:
            self._submission = Submission(request)
            self._progress(Stage(_("Starting the worker"), 0.0))
            self.worker.detect(**self._submission.options())
        except Exception as error:
            self._close_submission()
            self._fail(request, error)

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
        self._next()

    def _finish(self, submission: Submission, report: Report) -> None:
        """Deliver a result to the submitted volume, or say why there is none."""
        request = submission.request
        if isinstance(report, Finished) and not self._stopped_because:
            try:
                self._logic.apply(submission.detection(), request.node)
            except Exception as error:
                self._fail(request, error)
                return
            self._tell(request, "done", "")
        elif isinstance(report, Failed):
            self._tell(request, "failed", report.sentence, report.details)
        else:
            self._tell(request, "cancelled", self._stopped_because or _cancelled(request))

    def _fail(self, request: Request, error: Exception) -> None:
        plain = in_plain_words(error)
        details = "".join(traceback.format_exception(error)) if isinstance(plain, InternalError) else ""
        self._tell(request, "failed", plain.sentence(), details)

    def _tell(self, request: Request, ending: Ending, sentence: str, details: str = "") -> None:
        self._listener.onVolumeEnded(request.node, ending, sentence, details)

    def _progress(self, stage: Stage) -> None:
        if self._submission is None:
            return
        done = self._count - len(self._waiting) - 1
        fraction = (done + stage.fraction) / self._count
        elapsed = time.monotonic() - self._began
        left = elapsed * (1.0 - fraction) / fraction if _is_telling(fraction, elapsed) else None
        name = self._submission.request.name
        self._listener.onProgress(RunProgress(name, done + 1, self._count, stage.name, fraction, left))

    def _close_submission(self) -> Request | None:
        submission, self._submission = self._submission, None
        if submission is None:
            return None
        submission.close()
        return submission.request

    def _end(self) -> None:
        """The run is over. The worker stays warm; whether it still lives is looked up when the next run begins."""
        self._timer.stop()
        self._listener.onRunEnded()


def _is_telling(fraction: float, elapsed: float) -> bool:
    return fraction >= _EARLIEST_FRACTION and elapsed >= _EARLIEST_SECONDS


def _gone(request: Request) -> str:
    words = _("The volume '{name}' was removed from the scene; its detection was stopped.")
    return str(words.format(name=request.name))


def _cancelled(request: Request) -> str:
    words = _("The detection of '{name}' was cancelled; an earlier result is unchanged.")
    return str(words.format(name=request.name))
