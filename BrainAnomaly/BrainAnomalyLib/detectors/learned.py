"""What all trained detectors share: opening a package, running a network over a volume, scaling by healthy scans.

A family is a subclass in a file of its own. It says what its network is, how it learns and how it restores images;
everything else is here. The anomaly map of every trained family is its raw score (the absolute residual unless the
family has another) divided by the root mean square that healthy scans leave at the same voxel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from ..errors import PackageError
from ..io.geometry import FloatArray, MaskArray
from ..io.volumes import Contrast
from ..packages.read import Package
from ..preparation.prepared import PreparedScan
from ..preparation.recipe import Recipe
from ..progress import Progress, silent
from ..scoring.guard import GuardBank, bank_from_tensors
from .fitting import center_fit, slices_with_brain, undo_fit
from .learning import Batch, HealthyScan, LearnedConfig, Phase, Preset, Restored, config_from_json
from .protocol import CalibrationKind, Reconstruction, Score, ThresholdAdvice

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SLICES_AT_ONCE = 16
UNCALIBRATED = ThresholdAdvice(1.0, "not calibrated", {})


class LearnedDetector:
    """Base of the trained families. Subclasses set the class variables and override the class methods.

    ``dimensions`` is 3 for networks of whole volumes and 2 for networks of axial slices; ``presets`` must hold
    ``paper`` and ``small``; ``source`` names the paper. Class methods take the network and its configuration and have
    no state, so that the trainer and the detector run the same code.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w", "T2w", "FLAIR")
    unit: ClassVar[str] = "multiples of the healthy residual"
    calibrated_by: ClassVar[CalibrationKind] = "residual"
    cleans_map: ClassVar[bool] = True
    dimensions: ClassVar[Literal[2, 3]]
    Config: ClassVar[type]
    presets: ClassVar[dict[str, Preset]]

    @classmethod
    def recipe_for(cls, config: Any) -> Recipe:
        """How scans are prepared for a configuration."""
        return Recipe(grid="template_2mm")

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise PackageError for a configuration that no network can be built for."""
        if len(config.crop) != cls.dimensions or min(config.crop) < 1:
            raise PackageError(f"The configuration's crop must have {cls.dimensions} positive sizes.", _AGAIN)

    @classmethod
    def build(cls, config: Any) -> torch.nn.Module:
        """The network with fresh weights; its state is what a package stores."""
        raise NotImplementedError

    @classmethod
    def phases(cls, config: Any) -> tuple[Phase, ...]:
        """The parts of a training; empty for families that are fitted in closed form."""
        return ()

    @classmethod
    def training_step(cls, network: Any, config: Any, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Scalar losses of a batch in a phase: ``loss`` is what is minimized, further entries are logged."""
        raise NotImplementedError

    @classmethod
    def fit(cls, network: Any, config: Any, scans: Sequence[HealthyScan]) -> None:
        """Set the network's buffers from healthy scans, for families without phases."""
        raise NotImplementedError

    @classmethod
    def tuned(cls, network: Any, config: Any, images: Tensor, masks: Tensor) -> Any:
        """``config`` with what is best chosen on healthy images once the network is trained; unchanged by default."""
        return config

    @classmethod
    def restore(cls, network: Any, config: Any, images: Tensor, masks: Tensor, generator: torch.Generator) -> Restored:
        """The pseudo-healthy images (n, 1, i, j[, k]) and what goes with them; called without gradients."""
        raise NotImplementedError

    def __init__(
        self,
        network: torch.nn.Module,
        config: LearnedConfig,
        device: str = "cpu",
        package: Package | None = None,
    ) -> None:
        """A detector around a trained network; without a package its map is the uncalibrated raw score."""
        self.config: Any = config
        self.device = device
        self.network = network.eval().to(device)
        self.recipe = self.recipe_for(config)
        self.package_identity: str | None = None
        self.threshold = UNCALIBRATED
        self.thresholds: dict[str, ThresholdAdvice] = {}
        self._guard_bank: GuardBank | None = None
        self.calibration: dict[str, FloatArray] = {}
        if package is not None:
            self._calibrate(package)

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> LearnedDetector:
        """The detector of a verified package. Raises PackageError if it is for another detector or does not fit."""
        from ..devices import choose_device

        if package.metadata["detector"] != cls.name:
            raise PackageError(
                f"The model package '{package.folder.name}' is for the detector '{package.metadata['detector']}'.",
                f"Choose a package for '{cls.name}'.",
            )
        config: Any = cls.config_from_json(package.metadata["config"])
        network = cls.build(config)
        _load_weights(network, package)
        return cls(network, config, choose_device(device), package)

    @classmethod
    def config_from_json(cls, values: dict[str, Any]) -> Any:
        """A checked configuration. Raises PackageError."""
        config: Any = config_from_json(cls.Config, values)
        cls.check(config)
        return config

    def with_calibration(self, tensors: dict[str, FloatArray]) -> Self:
        """The same network whose map is scaled by other healthy scans; for calibration."""
        other = copy(self)
        other.calibration = tensors
        return other

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """Its own where the package states one for the contrast, else the one of the contrast it was trained on."""
        return self.thresholds.get(contrast, self.threshold)

    def slice_means_for(self, contrast: Contrast) -> FloatArray | None:
        """Those of the package's healthy scans, whatever the contrast."""
        return self.calibration.get("healthy_slice_means")

    def guard_for(self, contrast: Contrast) -> GuardBank | None:
        """The package's healthy scans, whatever the contrast."""
        return self._guard_bank

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """The network's restoration of the scan, 0 outside the brain and where the network saw nothing."""
        return self.restore_volume(prepared.image, prepared.brain_mask, progress)

    def restore_volume(self, image: FloatArray, mask: MaskArray, progress: Progress = silent) -> Reconstruction:
        """``reconstruct`` for a prepared image and its brain mask (i, j, k) on the recipe's grid."""
        parts = list(self._restored(image, mask, progress))
        volumes = {name: self._assembled(parts, name, mask) for name in ("pseudo_healthy", "raw", "uncertainty")}
        healthy = volumes["pseudo_healthy"]
        assert healthy is not None
        return Reconstruction(
            pseudo_healthy=healthy,
            uncertainty=volumes["uncertainty"],
            raw=volumes["raw"],
            scan_scores=_mean_scores([part for _, part in parts]),
            latent=_mean_latent([part for _, part in parts]),
        )

    @staticmethod
    def raw_map(image: FloatArray, mask: MaskArray, reconstruction: Reconstruction) -> FloatArray:
        """The score before calibration on the template grid (i, j, k), 0 outside the brain."""
        raw = np.abs(image - reconstruction.pseudo_healthy) if reconstruction.raw is None else reconstruction.raw
        return np.where(mask, raw, 0.0).astype(np.float32)

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """The raw score divided by what healthy scans leave at the same voxel (floored)."""
        assert reconstruction is not None
        raw = self.raw_map(prepared.image, prepared.brain_mask, reconstruction)
        if "healthy_rms" in self.calibration:
            raw = np.asarray(raw / np.maximum(self.calibration["healthy_rms"], self.config.floor), dtype=np.float32)
        return Score(raw, prepared.brain_mask)

    def _restored(self, image: FloatArray, mask: MaskArray, progress: Progress) -> Iterator[tuple[list[int], Restored]]:
        """Restored pieces with the slices they are of (none for a whole volume)."""
        import torch

        generator = torch.Generator().manual_seed(0)
        pieces = self._pieces(mask)
        for index, piece in enumerate(pieces):
            progress("Reconstructing a healthy brain", index / len(pieces))
            images, masks = (self._batch(volume, piece) for volume in (image, mask))
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(index)
                restored = self.restore(self.network, self.config, images, masks, generator)
            yield piece, restored

    def _pieces(self, mask: MaskArray) -> list[list[int]]:
        if self.dimensions == 3:
            return [[]]
        slices = slices_with_brain(mask)
        return [slices[start : start + _SLICES_AT_ONCE] for start in range(0, len(slices), _SLICES_AT_ONCE)]

    def _batch(self, volume: Any, slices: list[int]) -> Tensor:
        """A volume as one image (1, 1, i, j, k), or some of its slices as images (n, 1, i, j)."""
        import torch

        chosen = volume[:, :, slices] if self.dimensions == 2 else volume
        fitted = torch.from_numpy(center_fit(chosen.astype(np.float32), self.config.crop))
        images = fitted.permute(2, 0, 1)[:, None] if self.dimensions == 2 else fitted[None, None]
        return images.contiguous().to(self.device)

    def _assembled(self, parts: list[tuple[list[int], Restored]], name: str, mask: MaskArray) -> FloatArray | None:
        """One of the restored quantities on the template grid; None where the family does not have it."""
        whole = np.zeros(mask.shape, dtype=np.float32)
        for slices, part in parts:
            value = getattr(part, name)
            if value is None:
                return None
            array = value.detach().float().cpu().numpy()
            if self.dimensions == 2:
                whole[:, :, slices] = undo_fit(array[:, 0].transpose(1, 2, 0), whole.shape[:2])
            else:
                whole = undo_fit(array[0, 0], whole.shape)
        return np.where(mask, whole, 0.0).astype(np.float32)

    def _calibrate(self, package: Package) -> None:
        self.package_identity = package.identity
        self.calibration = {name: value.float().numpy() for name, value in package.calibration().items()}
        if "healthy_rms" not in self.calibration:
            raise _misfit(package)
        stated = package.metadata.get("calibration")
        if stated is not None:  # a network inside another package has no thresholds of its own
            self.recipe = package.recipe
            self.threshold, self.thresholds = threshold_advice(stated), advice_by_contrast(stated)
            self._guard_bank = bank_from_tensors(self.calibration, stated, tuple(package.metadata["contrasts"]))


def advice_by_contrast(calibration: dict[str, Any]) -> dict[str, ThresholdAdvice]:
    """Thresholds of the further contrasts that a package's metadata state."""
    return {contrast: threshold_advice(stated) for contrast, stated in calibration.get("by_contrast", {}).items()}


def threshold_advice(calibration: dict[str, Any]) -> ThresholdAdvice:
    """Default threshold and healthy quantiles as a package's metadata states them."""
    quantiles = {float(rate): float(value) for rate, value in calibration["quantiles"].items()}
    return ThresholdAdvice(float(calibration["default_threshold"]), calibration["default_source"], quantiles)


_AGAIN = "Import the package again, or train the model again."


def _load_weights(network: torch.nn.Module, package: Package) -> None:
    state = network.state_dict()
    weights = package.weights()
    if set(weights) != set(state) or any(weights[name].shape != value.shape for name, value in state.items()):
        raise _misfit(package)
    network.load_state_dict({name: value.to(state[name].dtype) for name, value in weights.items()})


def _misfit(package: Package) -> PackageError:
    message = f"The weights of the model package '{package.folder.name}' do not fit its configuration."
    return PackageError(message, _AGAIN)


def _mean_scores(parts: list[Restored]) -> dict[str, float]:
    """Scan-level scores averaged over all slices of the scan."""
    names = parts[0].scan_scores if parts else {}
    return {name: float(np.concatenate([_array(part.scan_scores[name]) for part in parts]).mean()) for name in names}


def _mean_latent(parts: list[Restored]) -> FloatArray | None:
    if not parts or parts[0].latent is None:
        return None
    return np.asarray(np.concatenate([_array(part.latent) for part in parts]).mean(axis=0), dtype=np.float32)


def _array(value: Tensor | None) -> FloatArray:
    assert value is not None
    return np.asarray(value.detach().float().cpu().numpy(), dtype=np.float32)
