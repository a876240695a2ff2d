"""One volume on its way to the worker: what is asked for, the files it is sent as, and the result that comes back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....detection import Detection
from ....errors import DependencyError, OutputError
from ....io.geometry import Array, Grid, MaskArray, to_image
from ....io.volumes import Contrast
from ....output.folder import read_results
from ...scene.nodes.links import VolumeNode
from ...scene.nodes.scene_volumes import scan_from_node

_PREFIX = "brain-anomaly-run-"


@dataclass(frozen=True, eq=False)
class Request:
    """A volume node to be analyzed and what was chosen for it.

    Without ``detector`` and ``package`` the engine takes what suits the contrast: the given one, or the one that the
    scan shows. ``brain_mask`` is (i, j, k) on the volume's voxels. ``minimum_mm3`` is the size a finding must exceed.
    """

    node: VolumeNode
    contrast: Contrast = "unknown"
    detector: str | None = None
    package: Path | None = None
    device: str = "auto"
    minimum_mm3: float = 20.0
    brain_mask: MaskArray | None = None

    @property
    def name(self) -> str:
        """What the reader calls this volume."""
        return str(self.node.GetName() or "scan")

    @property
    def is_in_scene(self) -> bool:
        """Whether the submitted node itself is still there; another one with its id does not count."""
        return self.node.GetScene() is not None


class Submission:
    """The files of one request in a temporary folder of its own, which ``close`` removes.

    Raises ScanError for a node that is no brain scan, OutputError if the folder cannot be written.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._scan = scan_from_node(request.node, request.contrast)
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        try:
            self._write()
        except BaseException:
            self.close()
            raise

    def options(self) -> dict[str, Any]:
        """The worker's options (fields of ``jobs.DetectionJob``)."""
        request = self.request
        return {
            "scan": str(self._path("scan.nrrd")),
            "out": str(self._path("result")),
            "mask": None if request.brain_mask is None else str(self._path("mask.nrrd")),
            "detector": request.detector,
            "package": None if request.package is None else str(request.package),
            "contrast": request.contrast,
            "device": request.device,
            "minimum_mm3": request.minimum_mm3,
            "pictures": False,
            "name": request.name,
        }

    def detection(self) -> Detection:
        """The result that the worker left. Raises OutputError if it is not whole."""
        return read_results(self._path("result"), self._scan)

    def close(self) -> None:
        """Remove the folder with everything in it."""
        self._folder.cleanup()

    def _path(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def _write(self) -> None:
        _write(self._path("scan.nrrd"), self._scan.array, self._scan.grid)
        if self.request.brain_mask is not None:
            _write(self._path("mask.nrrd"), self.request.brain_mask, self._scan.grid)


def _write(path: Path, array: Array, grid: Grid) -> None:
    """Uncompressed: the file lives for one run, and the window waits for it."""
    try:
        import SimpleITK

        SimpleITK.WriteImage(to_image(array, grid), str(path), useCompression=False)
    except ImportError as error:
        raise DependencyError("The Python package 'SimpleITK' is not installed.", "Open 'Setup' below.") from error
    except RuntimeError as error:
        raise OutputError(f"'{path}' could not be written.", "Check the free space of the temporary folder.") from error
