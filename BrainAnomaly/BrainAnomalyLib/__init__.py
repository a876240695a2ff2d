"""BrainAnomaly engine: from a brain scan to findings, with no knowledge of 3D Slicer.

>>> from BrainAnomalyLib import detect, read_scan, write
>>> write(detect(read_scan("scan.nii.gz")), "results")

Importing this package imports neither torch nor SimpleITK; the modules inside import what they need.
For research, not for diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detection import detect
    from .examination.examination import detect_examination
    from .followup.follow_up import follow_up
    from .io.volumes import read_scan
    from .output.folder import write_results as write

__all__ = ["detect", "detect_examination", "follow_up", "read_scan", "write"]
__version__ = "0.1.0"

_DOORS = {
    "detect": ("detection", "detect"),
    "detect_examination": ("examination.examination", "detect_examination"),
    "follow_up": ("followup.follow_up", "follow_up"),
    "read_scan": ("io.volumes", "read_scan"),
    "write": ("output.folder", "write_results"),
}


def __getattr__(name: str) -> Any:
    """The function of that name, imported when it is first asked for."""
    if name not in _DOORS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module, function = _DOORS[name]
    return getattr(import_module(f".{module}", __name__), function)
