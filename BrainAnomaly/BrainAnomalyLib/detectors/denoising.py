"""Coarse-noise denoising autoencoder in 3D (Kascenas, Pugeault & O'Neil 2022, 'Denoising autoencoders for
unsupervised anomaly detection in brain MRI', MIDL).

A small 3D U-Net learns to remove coarse noise from healthy brains. Shown a lesion, it takes it for noise and paints
healthy tissue. The map is the absolute residual in units of what healthy scans leave at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import PackageError
from ..geometry import FloatArray
from ..packages import Package
from ..preparation.prepared import PreparedScan
from ..preparation.recipe import Recipe
from ..progress import Progress, silent
from ..volumes import Contrast
from .base import Reconstruction, Score, ThresholdAdvice

if TYPE_CHECKING:
    import torch

_DIVISOR = 16
COARSE_CELL_VOXELS = 8
_AGAIN = "Import the package again."


@dataclass(frozen=True)
class DenoisingConfig:
    """Network and inference settings.

    ``crop`` (i, j, k) is the central part of the template grid the network sees. Every pass adds coarse noise of
    ``noise_sigma`` (0: none) to the scan or its mirror image; the mean of the passes is the reconstruction, their
    standard deviation the uncertainty. ``floor`` keeps the healthy residual from dividing by nearly nothing.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    residual_units: int = 2
    crop: tuple[int, int, int] = (80, 96, 80)
    passes: int = 4
    noise_sigma: float = 0.05
    floor: float = 0.02


class DenoisingDetector:
    """The denoising autoencoder of a package; the map is |residual| / healthy RMS residual at the voxel."""

    name: ClassVar[str] = "denoising"
    title: ClassVar[str] = "Denoising autoencoder"
    contrasts: ClassVar[tuple[Contrast, ...]] = ("T1w",)
    unit: ClassVar[str] = "multiples of the healthy residual"
    cleans_map: ClassVar[bool] = True

    def __init__(self, package: Package, device: str = "auto") -> None:
        from ..devices import choose_device

        self.package_identity = package.identity
        self.config = config_from_json(package.metadata["config"])
        self.recipe: Recipe = package.recipe
        self.threshold = threshold_advice(package.metadata["calibration"])
        self.device = choose_device(device)
        self._network = build_network(self.config)
        self._load(package)

    @classmethod
    def from_package(cls, package: Package, device: str = "auto") -> DenoisingDetector:
        """The detector of a verified package. Raises PackageError if it is for another detector or does not fit."""
        if package.metadata["detector"] != cls.name:
            raise PackageError(
                f"The model package '{package.folder.name}' is for the detector '{package.metadata['detector']}'.",
                f"Choose a package for '{cls.name}'.",
            )
        return cls(package, device)

    def threshold_for(self, contrast: Contrast) -> ThresholdAdvice:
        """The same for every contrast."""
        return self.threshold

    def reconstruct(self, prepared: PreparedScan, progress: Progress = silent) -> Reconstruction:
        """Mean and standard deviation over the passes, in prepared intensity units, 0 outside the brain."""
        import torch

        image = torch.from_numpy(center_crop(prepared.image, self.config.crop))[None, None]
        total, squares = torch.zeros_like(image), torch.zeros_like(image)
        generator = torch.Generator().manual_seed(0)
        for index in range(self.config.passes):
            progress("Reconstructing a healthy brain", index / self.config.passes)
            restored = self._pass(image, index, generator)
            total, squares = total + restored, squares + restored**2
        mean = total / self.config.passes
        spread = torch.sqrt(torch.clamp(squares / self.config.passes - mean**2, min=0.0))
        healthy, uncertainty = (self._uncropped(part, prepared) for part in (mean, spread))
        return Reconstruction(healthy, uncertainty)

    def score(self, prepared: PreparedScan, reconstruction: Reconstruction | None) -> Score:
        """|scan - reconstruction| divided by the floored healthy RMS residual map."""
        assert reconstruction is not None
        residual = np.abs(prepared.image - reconstruction.pseudo_healthy)
        anomaly = residual / np.maximum(self._healthy_rms, self.config.floor)
        return Score(np.where(prepared.brain_mask, anomaly, 0.0).astype(np.float32), prepared.brain_mask)

    def _pass(self, image: torch.Tensor, index: int, generator: torch.Generator) -> torch.Tensor:
        """One pass: every second one sees the mirror image; noise, if any, differs each time."""
        import torch

        mirrored = torch.flip(image, (2,)) if index % 2 else image
        noise = coarse_field(mirrored.shape[2:], generator) * self.config.noise_sigma * (mirrored > 0.01)
        with torch.inference_mode():
            restored = self._network((mirrored + noise).to(self.device)).float().cpu()
        return torch.flip(restored, (2,)) if index % 2 else restored

    def _uncropped(self, part: torch.Tensor, prepared: PreparedScan) -> FloatArray:
        """A cropped volume back on the template grid; the scan itself where the network saw nothing."""
        whole = np.zeros(prepared.image.shape, dtype=np.float32)
        whole[crop_slices(whole.shape, self.config.crop)] = part[0, 0].numpy()
        return np.where(prepared.brain_mask, whole, 0.0).astype(np.float32)

    def _load(self, package: Package) -> None:
        try:
            self._network.load_state_dict({name: value.float() for name, value in package.weights().items()})
            calibration = {name: value.float().numpy() for name, value in package.calibration().items()}
            self._healthy_rms: FloatArray = calibration["healthy_rms"]
            self.healthy_slice_means: FloatArray | None = calibration.get("healthy_slice_means")
        except (RuntimeError, KeyError) as error:
            raise PackageError(
                f"The weights of the model package '{package.folder.name}' do not fit its configuration.",
                "Import the package again, or train the model again.",
            ) from error
        self._network.eval().to(self.device)


def build_network(config: DenoisingConfig) -> torch.nn.Module:
    """The 3D U-Net: instance norm, residual units, one channel in and out (MONAI UNet)."""
    from monai.networks.nets import UNet

    network: torch.nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=config.channels,
        strides=config.strides,
        num_res_units=config.residual_units,
        norm="INSTANCE",
    )
    return network


def config_from_json(values: dict[str, Any]) -> DenoisingConfig:
    """A configuration from a package's metadata. Raises PackageError for entries that do not fit."""
    try:
        entries: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        config = DenoisingConfig(**entries)
        fits = len(config.crop) == 3 and all(size % _DIVISOR == 0 for size in config.crop) and config.passes >= 1
    except TypeError as error:
        raise PackageError(f"The package's configuration is not a denoising one: {error}.", _AGAIN) from error
    if not fits:
        raise PackageError("The package's configuration has an impossible crop or number of passes.", _AGAIN)
    return config


def threshold_advice(calibration: dict[str, Any]) -> ThresholdAdvice:
    """Default threshold and healthy quantiles as a package's metadata states them."""
    quantiles = {float(rate): float(value) for rate, value in calibration["quantiles"].items()}
    return ThresholdAdvice(float(calibration["default_threshold"]), calibration["default_source"], quantiles)


def coarse_field(
    size: tuple[int, ...], generator: torch.Generator, cell: int = COARSE_CELL_VOXELS, count: int = 1
) -> torch.Tensor:
    """Noise (count, 1, i, j, k), of unit variance at the centers of cells of ``cell`` voxels, trilinear between."""
    import torch

    cells = [max(2, length // cell) for length in size]
    noise = torch.randn((count, 1, *cells), generator=generator)
    return torch.nn.functional.interpolate(noise, size=tuple(size), mode="trilinear", align_corners=False)


def crop_slices(shape: tuple[int, ...], crop: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """The central part of ``crop`` voxels."""
    starts = [(length - wanted) // 2 for length, wanted in zip(shape, crop, strict=True)]
    i, j, k = (slice(start, start + wanted) for start, wanted in zip(starts, crop, strict=True))
    return i, j, k


def center_crop(volume: FloatArray, crop: tuple[int, int, int]) -> FloatArray:
    """A contiguous copy of the central part of a volume."""
    return np.ascontiguousarray(volume[crop_slices(volume.shape, crop)])
