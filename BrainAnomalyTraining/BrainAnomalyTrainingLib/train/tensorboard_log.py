"""The events of a training as TensorBoard files, where the package tensorboard is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..run.run_folder import Event

FOLDER = "tensorboard"


def tensorboard_listener(run: Path) -> Callable[[Event], None] | None:
    """A listener for a run folder's events that writes curves and pictures; None without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter(str(run / FOLDER))

    def listen(event: Event) -> None:
        if event["event"] == "loss":
            _write_curves(writer, event)
        elif event["event"] == "example":
            _write_picture(writer, run, event)

    return listen


def _write_curves(writer: Any, event: Event) -> None:
    step = event["step"]
    for name, value in event["parts"].items():
        writer.add_scalar(f"loss/{name}", value, step)
    if event["validation"] is not None:
        writer.add_scalar("validation error", event["validation"], step)
    writer.flush()


def _write_picture(writer: Any, run: Path, event: Event) -> None:
    from matplotlib.image import imread

    writer.add_image("example", imread(run / event["picture"])[..., :3], event["step"], dataformats="HWC")
    writer.flush()
