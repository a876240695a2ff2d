"""Example reconstructions of a scan that the training does not see, written while it runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.io.geometry import FloatArray
from BrainAnomalyLib.preparation.space.grids import grid_named

from ..cache.cached_scans import CachedScan
from ..run.run_folder import EXAMPLES, RunFolder

# Examples may take this part of the time; the first and the last are always made.
_SHARE_OF_TIME = 0.1
_WHITE, _WIDEST_RESIDUAL = 1.4, 0.5


class ExampleWriter:
    """Called with (step, detector) at every validation; writes a picture and a volume for the run's panel."""

    def __init__(self, scan: CachedScan, run: RunFolder, steps: int) -> None:
        self._scan, self._run, self._steps = scan, run, steps
        self._begun, self._spent = time.monotonic(), 0.0

    def __call__(self, step: int, detector: LearnedDetector) -> None:
        """Reconstruct the scan and tell the run where it is, unless examples have taken too much time already."""
        now = time.monotonic()
        if step < self._steps and self._spent > _SHARE_OF_TIME * (now - self._begun):
            return
        image, mask = self._scan.image(), self._scan.mask()
        healthy = detector.restore_volume(image, mask).pseudo_healthy
        name = f"{EXAMPLES}/step_{step:07d}"
        self._write(name, image, healthy, detector)
        self._run.event("example", step=step, picture=f"{name}.png", volume=f"{name}.npz")
        self._spent += time.monotonic() - now

    def _write(self, name: str, image: FloatArray, healthy: FloatArray, detector: LearnedDetector) -> None:
        from matplotlib.image import imsave

        residual = image - healthy
        affine = grid_named(detector.recipe.grid).affine
        volumes = {"image": image, "pseudo_healthy": healthy, "residual": residual}
        with (self._run.path / f"{name}.npz").open("wb") as stream:
            halves: dict[str, Any] = {key: value.astype(np.float16) for key, value in volumes.items()}
            np.savez_compressed(stream, affine=affine, **halves)
        imsave(self._run.path / f"{name}.png", example_picture(image, healthy))


def example_picture(image: FloatArray, healthy: FloatArray) -> NDArray[np.uint8]:
    """The scan, its reconstruction and their absolute difference side by side, gray; axial above coronal slices.

    Anterior and superior are up, the patient's right is on the left; volumes are (i, j, k) in RAS order.
    """
    panels = [
        np.concatenate([_turned(volume[:, :, volume.shape[2] // 2]), _turned(volume[:, volume.shape[1] // 2])])
        for volume in (image / _WHITE, healthy / _WHITE, np.abs(image - healthy) / _WIDEST_RESIDUAL)
    ]
    gray = (255.0 * np.clip(np.concatenate(panels, axis=1), 0.0, 1.0)).astype(np.uint8)
    return np.repeat(np.kron(gray, np.ones((2, 2), np.uint8))[..., None], 3, axis=2)


def _turned(plane: FloatArray) -> FloatArray:
    return plane[::-1, ::-1].T
