"""The protocols of the papers as named presets: what is resampled, cut, masked, cleaned and counted before scoring.

Each repeats a paper's evaluation on scans of any grid, so it is an approximation where that paper's own grid (SRI24 or
MNI at a fixed size) matters: slices are taken by their place in the scan's field of view, in-plane sizes and the
background refer to that whole field too, and a crop lies around the middle of the brain. Numbers are
comparable within one protocol, not across protocols. Maps of ``detection.detect`` have the seeds' median and eroded
mask already, where the detector asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import OptionsError
from ..io.geometry import Array, FloatArray, Grid, MaskArray, isotropic_grid
from ..io.resampling import resample
from .scan import EvaluatedScan, boxed, whole

ThresholdGrid = Literal["linear", "quantile", "fixed", "bisection"]
Group = Literal["voxels", "volumes", "lesions", "slices", "healthy", "calibration", "reconstruction"]
GROUPS: tuple[Group, ...] = ("voxels", "volumes", "lesions", "slices", "healthy", "calibration", "reconstruction")


@dataclass(frozen=True)
class EvaluationProtocol:
    """How maps are brought into the form that is scored.

    ``spacing_mm``: isotropic resampling (truth linear, above ``truth_above``); ``in_plane``: nearest resizing of axial
    slices to a square; ``slices``: part of the field of view's height in [0, 1]; ``crop_mm``: box around the brain's
    middle; ``erosion_mm`` of the mask, in axial planes if ``erosion_2d``; ``hyperintensity``: quantile of the brain's
    intensities below which the map is 0; ``positive_residual``: the map is 0 where the scan is not brighter than its
    reconstruction; ``median``: width of the median in voxels; components of up to ``drop_voxels`` voxels, or
    ``drop_mm3``, are dropped; ``background``: voxels outside the brain count; ``grid``: thresholds of the search;
    ``threshold_source``: where the paper's threshold comes from.
    """

    name: str
    title: str
    source: str
    spacing_mm: float | None = None
    in_plane: int | None = None
    slices: tuple[float, float] | None = None
    crop_mm: tuple[float, float, float] | None = None
    truth_above: float = 0.5
    erosion_mm: float = 0.0
    erosion_2d: bool = False
    hyperintensity: float | None = None
    positive_residual: bool = False
    median: int | None = None
    drop_voxels: int | None = None
    drop_mm3: float = 20.0
    background: bool = False
    grid: ThresholdGrid = "quantile"
    threshold_source: str = "oracle-dataset"
    groups: tuple[Group, ...] = GROUPS

    def minimum_mm3(self, scan: EvaluatedScan) -> float:
        """The volume that a component of a scan must exceed."""
        return self.drop_mm3 if self.drop_voxels is None else self.drop_voxels * scan.voxel_mm3


_SRI_SLICES = 155.0
_PROTOCOLS = (
    EvaluationProtocol(
        name="default",
        title="The scan's own grid, brain voxels only, components of up to 20 mm³ dropped",
        source="METHODS of this project",
    ),
    EvaluationProtocol(
        name="luo",
        title="Crop of 160 x 192 x 96 mm, median 5³, threshold from held-out scans with lesions",
        source="Luo et al. 2023, section 2 and Appendix E1; crop offset, erosion, component size not given",
        crop_mm=(160.0, 192.0, 96.0),
        median=5,
        threshold_source="lesion-validation",
        groups=("voxels", "volumes", "slices", "reconstruction"),
    ),
    EvaluationProtocol(
        name="meissen_1",
        title="Slices 15 to 125 of 155, 128 x 128 nearest, background counts, components of up to 20 voxels dropped",
        source="Meissen et al. 2021, experiment I; code: lesions above 0.9 after linear resampling, 100 thresholds",
        in_plane=128,
        slices=(15.0 / _SRI_SLICES, 125.0 / _SRI_SLICES),
        truth_above=0.9,
        drop_voxels=20,
        background=True,
        grid="linear",
        groups=("voxels", "volumes", "healthy"),
    ),
    EvaluationProtocol(
        name="meissen_2",
        title="Slices 84 to 87 of 155, 224 x 224 nearest, background counts, components of up to 20 voxels dropped",
        source="Meissen et al. 2021, experiment II",
        in_plane=224,
        slices=(84.0 / _SRI_SLICES, 88.0 / _SRI_SLICES),
        truth_above=0.9,
        drop_voxels=20,
        background=True,
        grid="linear",
        groups=("voxels", "volumes", "healthy"),
    ),
    EvaluationProtocol(
        name="baur",
        title="Mask eroded in plane, only bright voxels (quantile 0.9) and positive residuals, median 5³, CC <= 7",
        source="Baur et al. 2021, code utils/Evaluation.py; 12 erosions at 256 pixels, here 12 mm",
        erosion_mm=12.0,
        erosion_2d=True,
        hyperintensity=0.9,
        positive_residual=True,
        median=5,
        drop_voxels=7,
        grid="linear",
        groups=("voxels", "volumes", "lesions"),
    ),
    EvaluationProtocol(
        name="behrendt",
        title="2 mm, mask eroded by 3 voxels, median 5³, CC <= 7, threshold from validation scans with lesions",
        source="Behrendt et al. 2023 (pDDPM) and followers, code utils_eval.py",
        spacing_mm=2.0,
        erosion_mm=6.0,
        median=5,
        drop_voxels=7,
        grid="bisection",
        threshold_source="lesion-validation",
        groups=("voxels", "volumes", "reconstruction"),
    ),
    EvaluationProtocol(
        name="kascenas",
        title="128 x 128, whole image, 1000 thresholds from 0 to 1, components of up to 20 voxels dropped",
        source="Kascenas et al. 2022, code src/evaluate.py; meant for maps in [0, 1]",
        in_plane=128,
        drop_voxels=20,
        background=True,
        grid="fixed",
        groups=("voxels", "volumes"),
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _PROTOCOLS}


def protocol_named(name: str) -> EvaluationProtocol:
    """The preset of that name. Raises OptionsError."""
    if name not in PROTOCOLS:
        raise OptionsError(f"There is no protocol named '{name}'.", f"Choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def applied(protocol: EvaluationProtocol, scan: EvaluatedScan) -> EvaluatedScan:
    """The scan as the protocol scores it: other arrays, perhaps on another grid; ``evaluated`` marks what counts.

    All but the default see the whole field of view, whatever box of it the scan is kept as. Raises OptionsError if
    nothing is left to evaluate.
    """
    if protocol == PROTOCOLS["default"]:
        return scan
    scan = _cut(protocol, _resampled(protocol, whole(scan)))
    brain = _eroded(scan.evaluated, protocol, scan.spacing_mm)
    anomaly = _prior(protocol, scan, brain)
    if protocol.median is not None:
        anomaly = _median(anomaly, protocol.median)
    if protocol.erosion_mm or protocol.median or protocol.hyperintensity or protocol.positive_residual:
        anomaly = np.where(brain, anomaly, 0.0).astype(np.float32)
    if not brain.any():
        raise OptionsError(f"The protocol '{protocol.name}' leaves no brain voxel of '{scan.subject}'.", "Use another.")
    if protocol.background:
        return replace(scan, anomaly=anomaly, evaluated=np.ones_like(brain), brain_only=brain)
    return boxed(replace(scan, anomaly=anomaly, evaluated=brain))


def _resampled(protocol: EvaluationProtocol, scan: EvaluatedScan) -> EvaluatedScan:
    if protocol.spacing_mm is not None and scan.anomaly.shape[2] > 1:
        scan = _isotropic(scan, protocol.spacing_mm, protocol.truth_above)
    return scan if protocol.in_plane is None else _resized(scan, protocol.in_plane)


def _isotropic(scan: EvaluatedScan, spacing: float, above: float) -> EvaluatedScan:
    if np.allclose(scan.spacing_mm, spacing, atol=1e-3):
        return scan
    shape = scan.anomaly.shape
    grid = Grid((shape[0], shape[1], shape[2]), np.diag([*scan.spacing_mm, 1.0]))
    onto = isotropic_grid(grid, spacing)

    def moved(volume: Array) -> FloatArray:
        return np.asarray(resample(volume.astype(np.float32), grid, onto), dtype=np.float32)

    return replace(
        scan,
        anomaly=moved(scan.anomaly),
        truth=moved(scan.truth) > above,
        evaluated=moved(scan.evaluated) > 0.5,
        image=None if scan.image is None else moved(scan.image),
        pseudo_healthy=None if scan.pseudo_healthy is None else moved(scan.pseudo_healthy),
        voxel_mm3=spacing**3,
        spacing=(spacing, spacing, spacing),
    )


def _resized(scan: EvaluatedScan, size: int) -> EvaluatedScan:
    """Axial slices as squares of ``size`` pixels, nearest neighbor, as Meissen et al. resize."""
    width, depth, _ = scan.anomaly.shape
    first, second = (np.minimum((np.arange(size) + 0.5) * n / size, n - 1).astype(int) for n in (width, depth))
    spacing = scan.spacing_mm
    fresh = (spacing[0] * width / size, spacing[1] * depth / size, spacing[2])
    return _picked(scan, np.ix_(first, second, np.arange(scan.anomaly.shape[2])), float(np.prod(fresh)), fresh)


def _cut(protocol: EvaluationProtocol, scan: EvaluatedScan) -> EvaluatedScan:
    """The protocol's slices and crop; a single slice stays as it is."""
    if scan.anomaly.shape[2] == 1 or not scan.evaluated.any():
        return scan
    chosen = [np.arange(size) for size in scan.anomaly.shape]
    if protocol.slices is not None:
        chosen[2] = _between(scan.anomaly.shape[2], protocol.slices)
    for axis, length in enumerate(protocol.crop_mm or ()):
        used = np.flatnonzero(scan.evaluated.any(axis=tuple(other for other in range(3) if other != axis)))
        reach = length / scan.spacing_mm[axis] / 2.0
        chosen[axis] = chosen[axis][np.abs(chosen[axis] - (used[0] + used[-1]) / 2.0) <= reach]
    return _picked(scan, np.ix_(*chosen), scan.voxel_mm3, scan.spacing)


def _between(height: int, part: tuple[float, float]) -> Array:
    """Slices whose middle lies in a part of the height of the field of view; at least one."""
    place = (np.arange(height) + 0.5) / height
    inside = np.flatnonzero((place >= part[0]) & (place < part[1]))
    return inside if inside.size else np.asarray([int(height * sum(part) / 2.0)])


def _picked(
    scan: EvaluatedScan, index: tuple[Array, ...], voxel_mm3: float, spacing: tuple[float, float, float] | None
) -> EvaluatedScan:
    return scan.changed(lambda volume: volume[index], voxel_mm3=voxel_mm3, spacing=spacing)


def _eroded(mask: MaskArray, protocol: EvaluationProtocol, spacing: tuple[float, float, float]) -> MaskArray:
    from scipy import ndimage

    steps = round(protocol.erosion_mm / min(spacing))
    if steps == 0:
        return mask
    cross = ndimage.generate_binary_structure(3, 1)
    if protocol.erosion_2d or mask.shape[2] == 1:
        cross[:, :, [0, 2]] = False
    return np.asarray(ndimage.binary_erosion(mask, cross, iterations=steps))


def _prior(protocol: EvaluationProtocol, scan: EvaluatedScan, brain: MaskArray) -> FloatArray:
    """The map, 0 where the protocol's assumptions about lesions do not hold."""
    anomaly = scan.anomaly
    if protocol.positive_residual and scan.image is not None and scan.pseudo_healthy is not None:
        anomaly = np.where(scan.image > scan.pseudo_healthy, anomaly, 0.0)
    if protocol.hyperintensity is not None and scan.image is not None and brain.any():
        level = np.quantile(scan.image[brain], protocol.hyperintensity)
        anomaly = np.where(scan.image < level, 0.0, anomaly)
    return np.asarray(anomaly, dtype=np.float32)


def _median(volume: FloatArray, width: int) -> FloatArray:
    from scipy import ndimage

    size = [min(width, length) for length in volume.shape]
    return np.asarray(ndimage.median_filter(volume, size=size), dtype=np.float32)
