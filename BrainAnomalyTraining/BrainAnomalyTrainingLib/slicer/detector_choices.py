"""The detectors that can be trained, as entries of a combo box; nothing heavy is imported to list them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slicer.i18n import tr as _

from BrainAnomalyLib.detectors.registry import detector_class_named, trainable_names

from .choices import Choice


def detector_choices() -> list[Choice]:
    """Every trainable family: its title, what its own documentation says first, and where it was published."""
    return list(_choices())


def preset_choices() -> list[Choice]:
    """The presets of the panel; their values are ``detectors.registry.PRESETS``."""
    return [
        Choice("small", _("Small"), _("A small network that trains in minutes to hours without a GPU.")),
        Choice("paper", _("As published"), _("Network and training as in the publication; hours to days.")),
    ]


def _choices() -> Iterator[Choice]:
    for name in trainable_names():
        try:
            kind: Any = detector_class_named(name)
        except ImportError:
            # Its file needs a package that is not installed yet; what cannot be imported cannot be trained.
            continue
        yield Choice(name, kind.title, _description(kind))


def _description(kind: Any) -> str:
    about = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    source = getattr(kind, "source", "")
    return _("{about} ({source})").format(about=about, source=source) if source else about
