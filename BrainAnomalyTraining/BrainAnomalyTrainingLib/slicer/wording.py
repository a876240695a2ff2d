"""What the panel says about a run, in plain words."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from BrainAnomalyLib.errors import (
    DependencyError,
    OptionsError,
    OutputError,
    PackageError,
    PreparationError,
    ScanError,
)

from ..run.run_folder import Event
from .runs.run_monitor import Phase, RunMonitor
from .runs.run_state import RunState

_KILLED = 9
_NOT_LAST_WORDS = re.compile(r"Traceback|\s|\[\w+ \d+ %\]|step \d+ of \d+:")


def situation(monitor: RunMonitor) -> str:
    """One or two sentences: what the run does now, or how it ended and what to do next."""
    state = monitor.state
    sentences = {
        Phase.NEW: "",
        Phase.STARTING: _("Starting; loading the libraries takes some seconds."),
        Phase.RUNNING: state.message,
        Phase.PAUSING: _("Pausing: the current step is finished and a checkpoint is written."),
        Phase.CANCELLING: _("Cancelling: the current step is ended."),
        Phase.PAUSED: _("Paused after {step} steps. Resume goes on, also after a restart.").format(step=state.step),
        Phase.CANCELLED: _("Cancelled."),
    }
    if monitor.phase in sentences:
        return sentences[monitor.phase]
    return finished(state) if monitor.phase is Phase.FINISHED else failure(monitor)


def stage(name: str) -> str:
    """A stage of a command."""
    stages = {
        "find": _("Finding scans"),
        "prepare": _("Preparing scans"),
        "train": _("Training"),
        "calibrate": _("Calibrating on healthy scans"),
        "export": _("Writing the package"),
    }
    return stages.get(name, name)


def calibration(values: Mapping[str, Any]) -> str:
    """What a calibration promises: threshold, scans, false positives."""
    if values.get("default_threshold") is None:
        return _("Not calibrated.")
    promise = _("Default threshold {threshold}: {source}.").format(
        threshold=f"{values['default_threshold']:.4g}", source=values.get("default_source", "")
    )
    realised = values.get("realised", {}).get("default_threshold")
    if not realised:
        return promise
    over = realised["scans_over_limit"]
    check = _(
        "Healthy scans left out of the calibration in turn got {mean} mL of findings on average; "
        "{share} of them got more than {limit} mL (95 % interval {low} to {high})."
    ).format(
        mean=f"{realised['mean_ml']:.2g}",
        limit=f"{realised['limit_ml']:g}",
        share=f"{over['rate']:.0%}",
        low=f"{over['low']:.0%}",
        high=f"{over['high']:.0%}",
    )
    return _("{promise} {check}").format(promise=promise, check=check)


def finished(state: RunState) -> str:
    """What a finished command has done."""
    if state.command == "prepare":
        return _("The check has finished.")
    return _("Finished. The package is in '{folder}'.").format(folder=state.package)


def cohort_summary(scans: list[Event]) -> str:
    """How many scans of a cohort can be used; "" while none is known."""
    if not scans:
        return ""
    skipped = sum(scan.get("status") == "skipped" for scan in scans)
    doubtful = sum(scan.get("registration") == "doubtful" for scan in scans)
    parts = [_("{count} of {all} scans can be used.").format(count=len(scans) - skipped, all=len(scans))]
    if skipped:
        parts.append(_("Skipped: {count}, see the notes in the table.").format(count=skipped))
    if doubtful:
        parts.append(_("Doubtful registration: {count}, look at the pictures.").format(count=doubtful))
    return " ".join(parts)


def failure(monitor: RunMonitor) -> str:
    """Why a run failed: the command's own sentence, else what its exit code and last words tell."""
    error = monitor.state.error
    if error is not None and error.get("message"):
        return error_sentence(error)
    reason, words = exit_sentence(monitor.exit_code), last_words(monitor.console())
    return _("{reason} Last words: {words}").format(reason=reason, words=words) if words else reason


def error_sentence(error: Event) -> str:
    """What a command says is wrong, and what to do about it."""
    missing = error.get("exit_code") == DependencyError.exit_code
    remedy = _("Install it in the Setup section of Brain Anomaly.") if missing else error.get("remedy")
    return f"{error.get('message') or ''} {remedy or ''}".strip()


def exit_sentence(code: int | None) -> str:
    """What an exit code means; None when it is not known, as after a restart of 3D Slicer or the computer."""
    if code is None:
        return _(
            "The run ended without a word: the process was killed, or the computer was restarted. "
            "Resume goes on from the last checkpoint."
        )
    if code in (-_KILLED, 128 + _KILLED):
        return _(
            "The process was killed by the system or by somebody, often because memory ran out. "
            "Resume goes on from the last checkpoint."
        )
    reasons = {
        OptionsError.exit_code: _("The command did not understand a setting."),
        ScanError.exit_code: _("A scan could not be read."),
        PackageError.exit_code: _("A model package is missing or damaged."),
        PreparationError.exit_code: _("A scan could not be prepared."),
        OutputError.exit_code: _("A result could not be written."),
        DependencyError.exit_code: _("A Python package is missing: install it in the Setup section of Brain Anomaly."),
    }
    return reasons.get(code, _("The process ended unexpectedly (exit code {code}).").format(code=code))


def last_words(console: str) -> str:
    """The last line that the command printed, progress and the lines of a traceback left out."""
    lines = [line for line in console.splitlines() if line.strip() and not _NOT_LAST_WORDS.match(line)]
    return lines[-1].strip() if lines else ""


def loss_sentence(state: RunState) -> str:
    """Step and losses of now."""
    if not state.losses:
        return _("No loss yet.")
    text = _("Step {step} of {steps}, loss {loss}").format(
        step=state.step, steps=state.steps, loss=f"{state.losses[max(state.losses)]:.4g}"
    )
    if not state.validation_losses:
        return text
    step = max(state.validation_losses)
    loss = f"{state.validation_losses[step]:.4g}"
    return _("{text}, validation error {loss} at step {step}").format(text=text, loss=loss, step=step)


def log_line(event: Event) -> str:
    """An event as a line of the log; "" for those that are shown elsewhere."""
    texts: dict[str, Callable[[], str]] = {
        "started": lambda: _("{command} started").format(command=event.get("command", "")),
        "stage": lambda: str(event.get("message", "")),
        "warning": lambda: _("Warning: {text}").format(text=event.get("message", "")),
        "paused": lambda: _("paused"),
        "cancelled": lambda: _("cancelled"),
        "error": lambda: _("Error: {text}").format(text=error_sentence(event)),
        "finished": lambda: _("finished"),
    }
    text = texts.get(event["event"], str)()
    return f"{time.strftime('%H:%M:%S', time.localtime(event.get('time')))} {text}" if text else ""


def command_line(arguments: list[str]) -> str:
    """The command of a run, as it could be typed into a terminal."""
    return " ".join(["python -m BrainAnomalyTrainingLib", *map(shlex.quote, arguments)])
