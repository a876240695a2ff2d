"""The demonstration: the embedded ICBM152 brain with a lesion written into it, from scan to findings.

The brain is put on an oblique, anisotropic grid as a scanner might store it, with drift and noise, so that the whole
way is walked: geometry, brain mask, bias, registration, detector, findings. The lesion is synthetic and known, so that
what was found can be compared with what was put in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..detection import Detection, detect
from ..detectors.registry import detector_for, load_detector
from ..io.geometry import FloatArray, Grid, MaskArray
from ..io.resampling import resample
from ..io.volumes import Scan, write_volume
from ..output.folder import write_results
from ..preparation.space.template import Template, load_template
from ..progress import Progress, silent

DEFAULT_SEED = 152
_SCANNER_UNITS = 800.0
_LESION_CENTER = np.array([-26.0, -8.0, 26.0])
_LESION_RADIUS_MM = 12.0
_LESION_BOX = 56


@dataclass(frozen=True, eq=False)
class DemoCase:
    """A scan with one synthetic lesion: the lesion's mask on the scan's grid, and its volume in mL."""

    scan: Scan
    lesion: MaskArray
    lesion_ml: float


def demo_case(seed: int = DEFAULT_SEED) -> DemoCase:
    """The embedded brain as an oblique T1w scan with a dark lesion in the white matter; the same for equal seeds."""
    random = np.random.default_rng(seed)
    template = load_template("template_1mm")
    lesion = _lesion_shape(template, random)
    brain = template.brain * (1.0 - 0.45 * lesion)
    grid, onto_template = _scanner_grid(template.grid)
    moved = resample(brain.astype(np.float32), template.grid, grid, world_map=onto_template)
    inside = resample(template.brain_mask, template.grid, grid, world_map=onto_template)
    mask = resample((lesion > 0.5).astype(np.float32), template.grid, grid, world_map=onto_template) > 0.5
    values = np.where(inside, _scanned(moved, random), 0.0).astype(np.float32)
    scan = Scan(values, grid, "T1w", "ICBM152 brain with a synthetic lesion")
    return DemoCase(scan, mask, grid.volume_ml(mask))


def run_demo(folder: str | Path, progress: Progress = silent, seed: int = DEFAULT_SEED) -> str:
    """Run the detector for T1w on the demo case, write scan, lesion and results, and return the comparison."""
    folder = Path(folder)
    case = demo_case(seed)
    detection = detect(case.scan, load_detector(detector_for("T1w")), progress=progress)
    write_results(detection, folder / "results")
    write_volume(folder / "scan.nii.gz", case.scan.array, case.scan.grid)
    write_volume(folder / "lesion_put_in.nii.gz", case.lesion, case.scan.grid)
    text = comparison(case, detection)
    (folder / "comparison.txt").write_text(text + "\n", encoding="utf-8")
    return text


def comparison(case: DemoCase, detection: Detection) -> str:
    """What was put in against what was found, in plain lines."""
    found = detection.findings.labels > 0
    overlap = float((found & case.lesion).sum())
    dice = 2.0 * overlap / float(found.sum() + case.lesion.sum())
    hit = np.unique(detection.findings.labels[found & case.lesion])
    elsewhere = detection.findings.total_ml - sum(row.volume_ml for row in detection.findings.table if row.id in hit)
    center = case.scan.grid.to_world(np.argwhere(case.lesion).mean(axis=0)[None])[0]
    lines = [
        f"Put in:  one lesion of {case.lesion_ml:.1f} mL at {_point(center)} (RAS mm).",
        f"Found:   {len(detection.findings.table)} findings, {detection.findings.total_ml:.1f} mL in all; "
        f"{len(hit)} of them touch the lesion, {elsewhere:.1f} mL lie elsewhere.",
        f"Overlap: {100.0 * overlap / case.lesion.sum():.0f} % of the lesion, Dice {dice:.2f} "
        f"at threshold {detection.findings.threshold:.2f} ({detection.threshold_source}).",
    ]
    lines += [
        f"         Finding {row.id}: {row.volume_ml:.1f} mL, peak {row.peak:.1f}, "
        f"at {_point(row.centroid_ras)}, {row.side}."
        for row in detection.findings.table
        if row.id in hit
    ]
    return "\n".join(lines)


def _lesion_shape(template: Template, random: np.random.Generator) -> FloatArray:
    """A smooth-edged irregular blob in [0, 1] inside white matter, about 8 mL."""
    from scipy import ndimage

    low = np.round(template.grid.to_index(_LESION_CENTER[None])[0]).astype(int) - _LESION_BOX // 2
    offsets = np.indices((_LESION_BOX,) * 3) - _LESION_BOX // 2
    wobble = ndimage.gaussian_filter(random.standard_normal((_LESION_BOX,) * 3), 5.0)
    radius = _LESION_RADIUS_MM * (1.0 + 0.25 * wobble / wobble.std())
    blob = ndimage.gaussian_filter((np.linalg.norm(offsets, axis=0) < radius).astype(np.float32), 1.0)
    shape = np.zeros(template.grid.shape, dtype=np.float32)
    shape[tuple(slice(int(start), int(start) + _LESION_BOX) for start in low)] = blob
    return np.asarray(shape * template.brain_mask, dtype=np.float32)


def _scanner_grid(grid: Grid) -> tuple[Grid, NDArray[np.float64]]:
    """An LPS-stored oblique 1 x 1 x 1.5 mm grid around a tilted brain, and the map from its RAS mm to the template."""
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", (9.0, -4.0, 6.0), degrees=True).as_matrix()
    pose[:3, 3] = (6.0, -11.0, 4.0)
    slab = Rotation.from_euler("xyz", (-7.0, 3.0, 0.0), degrees=True).as_matrix()
    shape, spacing = (200, 232, 140), np.array([1.0, 1.0, 1.5])
    affine = np.eye(4)
    affine[:3, :3] = slab @ np.diag([-1.0, -1.0, 1.0]) * spacing
    affine[:3, 3] = grid.center - pose[:3, 3] - affine[:3, :3] @ ((np.asarray(shape) - 1.0) / 2.0)
    return Grid(shape, affine), pose


def _scanned(brain: FloatArray, random: np.random.Generator) -> FloatArray:
    """Scanner units, a smooth drift of about 10 % and Rician noise of 2 % of white matter."""
    axes = np.meshgrid(*[np.linspace(-1.0, 1.0, size) for size in brain.shape], indexing="ij", sparse=True)
    drift = 1.0 + 0.08 * axes[0] - 0.06 * axes[1] + 0.05 * axes[2]
    noise = 0.02 * random.standard_normal((2, *brain.shape))
    return np.asarray(_SCANNER_UNITS * np.hypot(brain * drift + noise[0], noise[1]), dtype=np.float32)


def _point(point: NDArray[np.float64] | tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
