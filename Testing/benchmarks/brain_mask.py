"""How well the embedded network finds the brain: held-out heads, tilts, wrong headers, poor images, T2 and FLAIR.

``python Testing/benchmarks/brain_mask.py [--data SHARED] [--heads N]`` from the repository root. Prints Dice for each
of the 40 IXI heads that training never saw (truth: DLMUSE labels, holes filled), then volumes for other contrasts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining")]

from BrainAnomalyLib.io.geometry import (
    FloatArray,
    Grid,
    MaskArray,
    from_transform,
    isotropic_grid,
    regular_grid,
    to_image,
)
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.brain.network import clean_mask, segment_brain_2mm
from BrainAnomalyTrainingLib.brain_mask.training import ixi_heads

Scan = tuple[FloatArray, Grid, MaskArray]
Case = tuple[FloatArray, MaskArray]
Change = Callable[[FloatArray, MaskArray, np.random.Generator], Case]

TILT_DEGREES = 30.0
MEAN_BAR, WORST_BAR = 0.95, 0.92
ML_PER_VOXEL = 0.008


def dice(first: MaskArray, second: MaskArray) -> float:
    """Overlap of two masks, 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else 1.0


def brain_of(image: FloatArray) -> MaskArray:
    """The brain mask of a 2 mm RAS head."""
    return clean_mask(segment_brain_2mm(image))


def unchanged(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """The head as scanned."""
    return image, brain


def tilted(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Turned by 30 degrees about a random axis through the brain, on a grid wide enough for all of it."""
    middle = np.asarray(ndimage.center_of_mass(brain)) * 2.0
    around = regular_grid(tuple(size + 40 for size in image.shape), 2.0, middle)
    grid = Grid(image.shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    turn = np.eye(4)
    turn[:3, :3] = rotation(random.normal(size=3), np.radians(TILT_DEGREES))
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    truth = resample(brain.astype(np.float32), grid, around, turn) >= 0.5
    return resample(image, grid, around, turn), truth


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """3x3 rotation by ``angle`` (radians) about ``axis`` (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def wrong_header(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Axes swapped and mirrored at random, as if the header lied."""
    order = random.permutation(3)
    axes = [axis for axis in range(3) if random.random() < 0.5]
    return np.flip(image.transpose(order), axes).copy(), np.flip(brain.transpose(order), axes).copy()


def upside_down(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Mirrored from top to bottom."""
    return image[:, :, ::-1].copy(), brain[:, :, ::-1].copy()


def noisy_and_biased(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Noise of 8 % of the brain's mean and a receive field that varies threefold across the head."""
    ramp = np.linspace(-0.55, 0.55, image.shape[0])[:, None, None] + np.linspace(-0.3, 0.3, image.shape[2])
    noise = 0.08 * float(image[brain].mean()) * random.normal(size=image.shape)
    return np.abs(image * np.exp(ramp) + noise).astype(np.float32), brain


def thick_slices(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Seen through 7 mm axial slices."""
    grid = Grid(image.shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    thick = Grid((*image.shape[:2], image.shape[2] * 2 // 7), np.diag([2.0, 2.0, 7.0, 1.0]))
    return resample(resample(image, grid, thick), thick, grid), brain


def cropped(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Field of view cut through the cerebellum below and the vertex above."""
    levels = np.flatnonzero(brain.any(axis=(0, 1)))
    return image[:, :, levels[0] + 15 : levels[-1] - 8], brain[:, :, levels[0] + 15 : levels[-1] - 8]


def inverted(image: FloatArray, brain: MaskArray, random: np.random.Generator) -> Case:
    """Dark brain, bright fluid: intensities inside the head turned upside down."""
    top = float(np.percentile(image, 99.5))
    return (np.clip(1.1 * top - image, 0.0, None) * (image > 0.06 * top)).astype(np.float32), brain


CHANGES: dict[str, Change] = {
    "as scanned": unchanged,
    "tilted 30 degrees": tilted,
    "wrong header": wrong_header,
    "upside down": upside_down,
    "noise and bias": noisy_and_biased,
    "7 mm slices": thick_slices,
    "cropped view": cropped,
    "inverted contrast": inverted,
}


def head_2mm(path: Path) -> tuple[FloatArray, Grid]:
    """A head file brought to 2 mm in RAS axis order."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    grid = Grid(image.shape[:3], np.asarray(image.affine, dtype=np.float64))
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(grid.shape)
    onto = isotropic_grid(grid, 2.0)
    return resample(values, grid, onto), onto


def other_heads(data: Path) -> Iterator[tuple[str, Path]]:
    """Heads of other scanners and contrasts, without truth."""
    for folder in ("single_healthy", "ds000011_t1_t2", "templates"):
        for path in sorted((data / folder).rglob("*.nii.gz")):
            if not any(word in path.name for word in ("skull_stripped", "tissues", "brain.nii", "bet.nii")):
                yield path.name.removesuffix(".nii.gz"), path


def print_dice(name: str, change: Change, heads: list[tuple[str, FloatArray, MaskArray]], each: bool) -> None:
    """Mean and worst Dice of the held-out heads under one change, and every head's if ``each``."""
    random = np.random.default_rng(7)
    scores = {}
    for identifier, image, brain in heads:
        changed, truth = change(image, brain, random)
        scores[identifier] = dice(brain_of(changed), truth)
        if each:
            print(f"  {identifier:16s} {scores[identifier]:.4f}", flush=True)
    worst = min(scores, key=lambda identifier: scores[identifier])
    verdict = "" if np.mean(list(scores.values())) >= MEAN_BAR and scores[worst] >= WORST_BAR else "  BELOW THE BAR"
    mean = np.mean(list(scores.values()))
    print(f"{name:20s} n {len(scores)}  mean {mean:.4f}  worst {scores[worst]:.4f} ({worst}){verdict}", flush=True)


def print_volumes(data: Path) -> None:
    """Brain volume of the other heads; for a T2 with a T1 of the same session also Dice between both masks."""
    found: dict[str, Scan] = {}
    for name, path in other_heads(data):
        image, grid = head_2mm(path)
        found[name] = image, grid, brain_of(image)
        print(f"{name:36s} {found[name][2].sum() * ML_PER_VOXEL:6.0f} mL{_agreement(name, found)}", flush=True)


def _agreement(name: str, found: dict[str, Scan]) -> str:
    """For an in-plane T2 with a T1 of the same session: Dice of both masks where the T2 slices reach."""
    partner = name.replace("inplaneT2", "T1w")
    if partner == name or partner not in found:
        return ""
    moved = moved_mask(found[partner], found[name])
    return f"   Dice with {partner}: {dice(moved, found[name][2]):.4f} ({moved.sum() * ML_PER_VOXEL:.0f} mL in view)"


def moved_mask(moving: Scan, fixed: Scan) -> MaskArray:
    """The brain mask of ``moving`` on the grid of ``fixed`` after rigid alignment (their headers do not agree)."""
    target, source = to_image(fixed[0], fixed[1]), to_image(moving[0], moving[1])
    start = SimpleITK.CenteredTransformInitializer(
        to_image(fixed[2], fixed[1]), to_image(moving[2], moving[1]), SimpleITK.Euler3DTransform()
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SetInitialTransform(start, inPlace=False)
    motion = from_transform(method.Execute(target, source))
    return resample(moving[2].astype(np.float32), moving[1], fixed[1], motion) >= 0.5


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dice and volumes of the embedded brain mask network.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--heads", type=int, default=40, help="how many of the 40 held-out heads to use")
    parser.add_argument("--only", choices=sorted(CHANGES), help="run one of the changes and no volumes")
    chosen = parser.parse_args()
    heads = ixi_heads(chosen.data, test=True, most=chosen.heads)
    for name, change in CHANGES.items():
        if chosen.only in (None, name):
            print_dice(name, change, heads, each=change is unchanged)
    if chosen.only is None:
        print_volumes(chosen.data)


if __name__ == "__main__":
    main()
