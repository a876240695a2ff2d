"""Volumes on their way to the worker: what is asked for, the files they are sent as, and the result that comes back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ....detection import Detection
from ....errors import DependencyError, OutputError
from ....io.geometry import Array, Grid, MaskArray, to_image
from ....io.volumes import Contrast
from ....output.folder import read_results, write_results
from ...scene.nodes.links import VolumeNode
from ...scene.nodes.scene_volumes import scan_from_node

_PREFIX = "brain-anomaly-run-"
_PRIOR_SCAN = "prior.nrrd"


class FurtherContrast(NamedTuple):
    """Another scan of the same session and what it shows."""

    node: VolumeNode
    contrast: Contrast = "unknown"


@dataclass(frozen=True, eq=False)
class Request:
    """A volume node to be analyzed and what was chosen for it.

    Without ``detector`` and ``package`` the engine takes what suits the contrast: the given one, or the one that the
    scan shows. ``brain_mask`` is (i, j, k) on the volume's voxels. ``minimum_mm3`` is the size a finding must exceed.
    ``further`` contrasts are analyzed together with it. An earlier date is the scan ``prior`` alone, or its
    ``prior_result`` - a detection, or the folder of one.
    """

    node: VolumeNode
    contrast: Contrast = "unknown"
    detector: str | None = None
    package: Path | None = None
    device: str = "auto"
    minimum_mm3: float = 20.0
    brain_mask: MaskArray | None = None
    further: tuple[FurtherContrast, ...] = ()
    prior: VolumeNode | None = None
    prior_result: Detection | Path | None = None

    @property
    def further_nodes(self) -> list[VolumeNode]:
        """The scans of further contrasts."""
        return [one.node for one in self.further]

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
        self._others = {f"further_{place}.nrrd": scan_from_node(*one) for place, one in enumerate(request.further)}
        if request.prior is not None and request.prior_result is None:
            self._others[_PRIOR_SCAN] = scan_from_node(request.prior, request.contrast)
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        try:
            self._write()
        except BaseException:
            self.close()
            raise

    def options(self) -> dict[str, Any]:
        """The worker's options (fields of ``jobs.DetectionJob``)."""
        request, names = self.request, [name for name in self._others if name != _PRIOR_SCAN]
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
            "further": [str(self._path(name)) for name in names],
            "further_contrasts": [one.contrast for one in request.further],
            "further_names": [self._others[name].name for name in names],
            "prior": [str(path) for path in self._prior()],
            "prior_names": [self._others[_PRIOR_SCAN].name] if _PRIOR_SCAN in self._others else [],
        }

    def detection(self) -> Detection:
        """The result that the worker left. Raises OutputError if it is not whole."""
        return read_results(self._path("result"), self._scan)

    def close(self) -> None:
        """Remove the folder with everything in it."""
        self._folder.cleanup()

    def _prior(self) -> list[Path]:
        """Where the earlier date lies, nothing without one."""
        result = self.request.prior_result
        if result is None:
            return [self._path(_PRIOR_SCAN)] if _PRIOR_SCAN in self._others else []
        return [result if isinstance(result, Path) else self._path("prior")]

    def _path(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def _write(self) -> None:
        _write(self._path("scan.nrrd"), self._scan.array, self._scan.grid)
        for name, scan in self._others.items():
            _write(self._path(name), scan.array, scan.grid)
        if self.request.brain_mask is not None:
            _write(self._path("mask.nrrd"), self.request.brain_mask, self._scan.grid)
        if isinstance(self.request.prior_result, Detection):
            # A comparison needs map and expected scan; the rest would only take time.
            needed = replace(self.request.prior_result, components={}, uncertainty=None, structures=None, prior=None)
            write_results(needed, self._path("prior"), pictures=False)


def _write(path: Path, array: Array, grid: Grid) -> None:
    """Uncompressed: the file lives for one run, and the window waits for it."""
    try:
        import SimpleITK

        SimpleITK.WriteImage(to_image(array, grid), str(path), useCompression=False)
    except ImportError as error:
        raise DependencyError("The Python package 'SimpleITK' is not installed.", "Open 'Setup' below.") from error
    except RuntimeError as error:
        raise OutputError(f"'{path}' could not be written.", "Check the free space of the temporary folder.") from error
