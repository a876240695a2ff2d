"""How far template registration moves when the head is tilted or its header is wrong (IXI heads, brain truth DLMUSE).

    python Testing/benchmarks/registration.py [--data FOLDER] [--count 40]

Each head is resampled into a tilted array (seeded random axis, up to 30 degrees) whose header claims no tilt. The
registration of the tilted head, carried back by the known tilt, is compared with that of the untilted head: mean
displacement over the template brain, in scan mm. A few heads are also stored reversed along one or two array axes. A
mirrored brain cannot be told from a turned one, so those maps are compared after the template's left-right mirror.
Exit status 1 when a tilted head is more than 3 mm off.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

from BrainAnomalyLib.io.geometry import (
    Affine,
    Array,
    FloatArray,
    Grid,
    MaskArray,
    apply_affine,
    from_image,
    regular_grid,
)
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.registration import Registration, register
from BrainAnomalyLib.preparation.space.template import load_template

BAR_MM = 3.0
LARGEST_TILT_DEGREES = 30.0
MIRROR: Affine = np.diag([-1.0, 1.0, 1.0, 1.0])


class Head(NamedTuple):
    """A scan and its brain mask (i, j, k) on one grid."""

    image: FloatArray
    mask: MaskArray
    grid: Grid


class Timed(NamedTuple):
    """A registration and the seconds it took."""

    registration: Registration
    seconds: float


def load_head(folder: Path) -> Head:
    """One IXI head with the filled DLMUSE labels as brain mask."""
    image, grid = from_image(SimpleITK.ReadImage(str(folder / f"{folder.name}_T1.nii.gz")))
    labels, _ = from_image(SimpleITK.ReadImage(str(folder / f"{folder.name}_DLMUSE.nii.gz")))
    return Head(image.astype(np.float32), np.asarray(ndimage.binary_fill_holes(labels > 0)), grid)


def chosen_folders(data: Path, count: int) -> list[Path]:
    """The test positions: every fifth subject and the third after it, by id."""
    folders = sorted(path for path in (data / "ixi_t1_2mm").glob("IXI*") if path.is_dir())
    return [folder for index, folder in enumerate(folders) if index % 5 in (0, 3)][:count]


def random_tilt(seed: int, grid: Grid) -> Affine:
    """A turn about the grid's middle: random axis, angle uniform up to 30 degrees."""
    generator = np.random.default_rng(seed)
    axis = generator.normal(size=3)
    angle = np.radians(LARGEST_TILT_DEGREES * generator.uniform())
    return turn_about(grid.center, Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix())


def turn_about(center: Array, rotation: Array) -> Affine:
    """4x4 map that turns about ``center`` (RAS mm)."""
    turn = np.eye(4)
    turn[:3, :3] = rotation
    turn[:3, 3] = center - rotation @ center
    return turn


def tilted(head: Head, tilt: Affine) -> Head:
    """The head resampled so that a point x of the new array shows what the old one had at ``tilt`` x."""
    onto = regular_grid((140, 140, 140), 2.0, head.grid.center)
    mask = resample(head.mask.astype(np.float32), head.grid, onto, tilt) > 0.5
    return Head(resample(head.image, head.grid, onto, tilt), mask, onto)


def reversed_along(head: Head, axes: tuple[int, ...]) -> tuple[Head, Affine]:
    """The arrays stored backwards under an unchanged header, and the map from header to true position."""
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis] = -1.0
        flip[axis, 3] = head.grid.shape[axis] - 1.0
    backwards = Head(np.flip(head.image, axes).copy(), np.flip(head.mask, axes).copy(), head.grid)
    return backwards, head.grid.affine @ flip @ np.linalg.inv(head.grid.affine)


def timed(head: Head) -> Timed:
    """The affine registration of a head."""
    started = time.perf_counter()
    registration = register(head.image, head.grid, head.mask)
    return Timed(registration, time.perf_counter() - started)


def displacement(reference: Affine, other: Affine) -> float:
    """Mean distance in mm between two maps from the template, over the template brain."""
    template = load_template()
    points = template.grid.to_world(np.argwhere(template.brain_mask)[::7])
    moved = apply_affine(reference, points) - apply_affine(other, points)
    return float(np.linalg.norm(moved, axis=1).mean())


def tilt_row(folder: Path, seed: int) -> tuple[float, float]:
    """Displacement (mm) and mean time per scan (s) of one head, printed."""
    head = load_head(folder)
    tilt = random_tilt(seed, head.grid)
    upright, leaning = timed(head), timed(tilted(head, tilt))
    distance = displacement(upright.registration.scan_from_template, tilt @ leaning.registration.scan_from_template)
    angle = np.degrees(Rotation.from_matrix(tilt[:3, :3]).magnitude())
    print(
        f"{folder.name}  tilt {angle:5.1f} deg  displacement {distance:6.2f} mm  "
        f"rotation {upright.registration.rotation_degrees:5.1f} / {leaning.registration.rotation_degrees:5.1f} deg  "
        f"time {upright.seconds:4.1f} / {leaning.seconds:4.1f} s",
        flush=True,
    )
    return distance, (upright.seconds + leaning.seconds) / 2.0


def flip_rows(folder: Path) -> list[float]:
    """Displacement (mm) of one head for each reversal of one or two array axes, printed."""
    head = load_head(folder)
    upright = register(head.image, head.grid, head.mask).scan_from_template
    distances = []
    for axes in itertools.chain(itertools.combinations(range(3), 1), itertools.combinations(range(3), 2)):
        backwards, truth = reversed_along(head, axes)
        found = register(backwards.image, backwards.grid, backwards.mask)
        mirror = MIRROR if len(axes) == 1 else np.eye(4)
        distances.append(displacement(upright, truth @ found.scan_from_template @ mirror))
        letters = "".join(head.grid.axis_codes[axis] for axis in axes)
        print(
            f"{folder.name}  reversed {letters:2s}  displacement {distances[-1]:6.2f} mm  "
            f"rotation {found.rotation_degrees:5.1f} deg  header suspect {found.header_suspect}",
            flush=True,
        )
    return distances


def summary(name: str, distances: list[float]) -> str:
    """One line: largest and mean displacement and how many meet the bar."""
    met = sum(distance <= BAR_MM for distance in distances)
    return (
        f"{name}: {met} of {len(distances)} within {BAR_MM:.0f} mm, "
        f"largest {max(distances):.2f} mm, mean {np.mean(distances):.2f} mm"
    )


def main() -> int:
    """Runs both tables and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--count", type=int, default=40, help="heads to tilt")
    parser.add_argument("--flip-count", type=int, default=3, help="heads whose header is reversed")
    options = parser.parse_args()
    folders = chosen_folders(options.data, options.count)
    if not folders:
        print(f"No IXI heads under {options.data}.", file=sys.stderr)
        return 2
    rows = [tilt_row(folder, seed) for seed, folder in enumerate(folders)]
    flips = [distance for folder in folders[: options.flip_count] for distance in flip_rows(folder)]
    print(summary("Tilted heads", [distance for distance, _ in rows]))
    if flips:
        print(summary("Reversed headers", flips))
    print(f"Mean time per scan {np.mean([seconds for _, seconds in rows]):.1f} s")
    return int(max(distance for distance, _ in rows) > BAR_MM)


if __name__ == "__main__":
    raise SystemExit(main())
