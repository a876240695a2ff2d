"""Painted heads in three contrasts of one session: healthy ones, and the same with lesions of multiple sclerosis.

Each label map is filled three times, with values as FLAIR, T2w and T1w have them, on its own grid. Lesions are real
shapes where they were in the patient, a little or a lot brighter on FLAIR and T2w and darker on T1w than white matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage

from BrainAnomalyLib.detection import Detection, DetectionOptions, detect_aligned
from BrainAnomalyLib.detectors.registry import detector_for, load_detector
from BrainAnomalyLib.io.geometry import FloatArray, Grid, MaskArray, apply_affine, from_image, inverse
from BrainAnomalyLib.io.volumes import Contrast, Scan
from BrainAnomalyLib.preparation.pipeline import AlignedScan, align
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyTrainingLib.brain_mask.training import closed
from BrainAnomalyTrainingLib.recipes import label_map_scans as maps

CONTRASTS: tuple[Contrast, ...] = ("FLAIR", "T2w", "T1w")
_RANGES = {"FLAIR": maps._FLAIR, "T2w": maps._T2W, "T1w": maps._T1W}
# Change of white matter in a lesion of full strength, and how strong lesions are.
_CHANGES, _STRENGTHS = {"FLAIR": 0.5, "T2w": 0.5, "T1w": -0.35}, (0.3, 1.0)
_LESIONS, _MOST_ML = 40, 3.0
_BLUR_VOXELS, _NOISE = 0.6, 0.03


@dataclass(frozen=True, eq=False)
class PaintedHead:
    """A head's contrasts, aligned with the template, and the mask of its lesions (i, j, k)."""

    aligned: dict[str, AlignedScan]
    lesions: MaskArray
    grid: Grid


def painted_heads(
    data: Path, names: Sequence[str], seed: int = 16, contrasts: Sequence[Contrast] = CONTRASTS
) -> Iterator[tuple[PaintedHead, PaintedHead]]:
    """Of each of the label maps a healthy head and the same one with lesions."""
    shapes = np.load(data / "ms_lesion_shapes_mni_1mm" / "ms_lesion_shapes.npz")
    files = sorted((data / "synthseg_label_maps").glob("*.nii.gz"))
    for number, file in enumerate(files):
        if file.name in names:
            yield _head(file, shapes, np.random.default_rng([seed, number]), contrasts)


def label_maps(data: Path, count: int) -> list[str]:
    """Names of the first label maps."""
    return [file.name for file in sorted((data / "synthseg_label_maps").glob("*.nii.gz"))[:count]]


def detected(head: PaintedHead) -> dict[str, Detection]:
    """The program's choice of detector on every contrast."""
    return {
        name: detect_aligned(aligned, load_detector(detector_for(aligned.scan.contrast)), DetectionOptions())
        for name, aligned in head.aligned.items()
    }


def _head(
    file: Path, shapes: np.lib.npyio.NpzFile, random: np.random.Generator, contrasts: Sequence[Contrast]
) -> tuple[PaintedHead, PaintedHead]:
    stored, grid = from_image(SimpleITK.ReadImage(str(file)))
    labels = stored.astype(np.int16)
    labels[~np.isin(labels, [label for group in maps.TISSUES.values() for label in group])] = 0
    solid = maps._solid(labels)
    box = ndimage.find_objects(ndimage.binary_dilation(solid, iterations=12).astype(np.uint8))[0]
    labels, solid, grid = labels[box], solid[box], grid.part(box)
    mask = closed(solid, 4.0)
    values = {name: maps._values(ranges, random) for name, ranges in _RANGES.items()}
    clean = {name: maps._painted(labels, values[name]) for name in CONTRASTS}
    first = align(_scan(clean["T1w"], mask, grid, "T1w", random), Recipe(), mask)
    share = _lesions(labels, grid, first, shapes, random)
    healthy, ill = {}, {}
    for name in CONTRASTS:
        seed = int(random.integers(2**32))
        if name not in contrasts:
            continue
        changed = clean[name] * (1.0 + _CHANGES[name] * share)
        healthy[name] = _aligned(clean[name], mask, first, name, np.random.default_rng(seed))
        ill[name] = _aligned(changed.astype(np.float32), mask, first, name, np.random.default_rng(seed))
    none = np.zeros_like(mask)
    return PaintedHead(healthy, none, grid), PaintedHead(ill, (share > 0.15) & mask, grid)


def _scan(painted: FloatArray, mask: MaskArray, grid: Grid, contrast: Contrast, random: np.random.Generator) -> Scan:
    blurred = ndimage.gaussian_filter(painted, _BLUR_VOXELS)
    texture = 1.0 + random.uniform(*maps._TEXTURE) * maps._smooth(painted.shape, 1.0, random)
    drift = np.exp(random.uniform(*maps._DRIFT) * maps._smooth(painted.shape, 24.0, random))
    noise = _NOISE * random.standard_normal(painted.shape, dtype=np.float32)
    return Scan(
        np.where(mask, np.maximum(blurred * texture * drift + noise, 0.01), 0.0).astype(np.float32), grid, contrast
    )


def _aligned(
    painted: FloatArray, mask: MaskArray, first: AlignedScan, contrast: Contrast, random: np.random.Generator
) -> AlignedScan:
    scan = _scan(painted, mask, first.scan.grid, contrast, random)
    return replace(first, scan=scan, image=scan.array, lifted=scan)


def _lesions(
    labels: np.ndarray, grid: Grid, first: AlignedScan, shapes: np.lib.npyio.NpzFile, random: np.random.Generator
) -> FloatArray:
    """How strong a lesion is at each voxel (0 to 1): shapes in white matter, each of its own strength."""
    parts = np.split(shapes["voxels"], shapes["offsets"][1:-1])
    share = np.zeros(labels.shape, dtype=np.float32)
    to_voxel = inverse(grid.affine) @ first.registration.scan_from_template @ shapes["affine_ras"]
    for number in random.permutation(len(parts)):
        if len(parts[number]) > 1000.0 * _MOST_ML:
            continue
        voxels = np.unique(np.rint(apply_affine(to_voxel, parts[number])).astype(int), axis=0)
        voxels = voxels[((voxels >= 0) & (voxels < labels.shape)).all(axis=1)]
        share[tuple(voxels.T)] = random.uniform(*_STRENGTHS)
        if (number_placed := int(np.count_nonzero(share))) and number_placed > 1000 * _LESIONS * 0.5:
            break
    white = np.isin(labels, maps.TISSUES["white"])
    return np.asarray(ndimage.gaussian_filter(np.where(white, share, 0.0), 0.5), dtype=np.float32)
