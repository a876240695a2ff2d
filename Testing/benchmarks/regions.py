"""How often the region that a finding is given is where its voxels are, on painted label maps with random lesions.

    python Testing/benchmarks/regions.py [--data ../shared/data] [--part held] [--part training] [--scans 20]

Each scan is painted from a SynthSeg label map with the values of a random contrast, lesions painted over it, noise
added, stored on a random grid (three voxel sizes, mirrored axes, turned by up to 20 degrees), prepared as any scan and
shown to the structure network; ten lesions of each get their regions as findings do. ``held`` takes the two heads that
the network never learned from, ``training`` the others: what may be chosen (``TOUCHES_MM``) is chosen there.

Side and region: the name is right where it is that of most labeled voxels of the lesion. Tissue likewise; a lesion that
lies on a border is apart too: right where the tissue named covers at least a third of it. A place is right where the
lesion touches the labels of ventricle or cortex or not as it says. Those that are wrong are listed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing" / "helpers")]

from BrainAnomalyLib.detectors.anatomy.anatomy import healthy_anatomy
from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, from_freesurfer, index_of
from BrainAnomalyLib.findings.table import Finding, find
from BrainAnomalyLib.io.geometry import Array, Grid, MaskArray, from_image
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.preparation.pipeline import align, into_template
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.regions import naming
from BrainAnomalyLib.regions.atlas import LOBES
from BrainAnomalyLib.regions.naming import structures_on, with_regions
from BrainAnomalyTrainingLib.painting.contrasts import random_values
from BrainAnomalyTrainingLib.painting.fields import Random
from synthetic import grid_of

HELD = ("training_seg_05.nii.gz", "training_seg_18.nii.gz")
LESIONS, RADII_MM, NOISE = 10, (2.5, 9.0), 0.03
GRIDS = ((1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.9, 0.9, 5.0))
# FreeSurfer's labels of each region; accumbens counts as either part of the striatum.
REGIONS = {
    "cerebrum": (2, 3, 41, 42, 77, 85, 25, 57),
    "thalamus": (10, 49),
    "caudate nucleus": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "brainstem": (16, 28, 60),
    "cerebellum": (7, 8, 46, 47),
    "ventricles": (4, 5, 14, 15, 43, 44, 72),
}
LEFT = (2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 26, 28, 25)
RIGHT = (41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60, 57)
TISSUES = {
    naming.WHITE_MATTER: (2, 41, 7, 46, 77, 85, 25, 57),
    naming.CORTEX: (3, 42, 8, 47),
    naming.DEEP_GRAY: (10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58),
    naming.BRAINSTEM: (16, 28, 60),
    naming.VENTRICLE_BORDER: REGIONS["ventricles"],
}
SOLID = [label for labels in TISSUES.values() for label in labels if label not in REGIONS["ventricles"]]


@dataclass(frozen=True, eq=False)
class Case:
    """Labels in FreeSurfer's numbers and those of the findings on the scan's grid, and the findings with regions."""

    labels: Array
    labels_of: Array
    table: tuple[Finding, ...]


def random_grid(source: Grid, random: np.random.Generator) -> Grid:
    """A grid over the same field of view with another voxel size, axis order and tilt."""
    spacing = GRIDS[random.integers(len(GRIDS))]
    codes = "".join(str(random.choice(list(pair))) for pair in ("LR", "PA", "SI"))
    shape = tuple(int(210 / size) for size in spacing)
    return grid_of(shape, spacing, codes, float(random.uniform(-20.0, 20.0)), tuple(source.center))


def random_lesions(labels: Array, grid: Grid, random: np.random.Generator) -> Array:
    """Ragged balls in tissue (i, j, k; numbers from 1), apart from each other."""
    found, solid = np.zeros(labels.shape, dtype=np.int32), np.isin(labels, SOLID)
    places = np.argwhere(solid)
    ragged = ndimage.gaussian_filter(random.standard_normal(labels.shape), 2.0 / np.asarray(grid.spacing))
    ragged /= ragged.std()
    for number in range(1, LESIONS + 1):
        center, radius = grid.to_world(places[random.integers(len(places))][None])[0], random.uniform(*RADII_MM)
        low = np.floor(grid.to_index(center[None])[0] - 1.5 * radius / np.asarray(grid.spacing)).astype(int)
        high = low + np.ceil(3.0 * radius / np.asarray(grid.spacing)).astype(int) + 2
        box = tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))
        offset = np.moveaxis(np.indices(found[box].shape), 0, -1) + [side.start for side in box]
        away = np.linalg.norm(grid.to_world(offset.reshape(-1, 3)) - center, axis=1).reshape(found[box].shape)
        inside = (away < radius * (1.0 + 0.2 * ragged[box])) & solid[box] & (found[box] == 0)
        if np.count_nonzero(inside) * grid.voxel_volume_mm3 > 20.0:
            found[box][inside] = number
    return found


def painted_case(file: Path, seed: int) -> Case:
    """A scan of a head with lesions, prepared and seen by the network, and the regions of its lesions."""
    random = np.random.default_rng([20260, seed])
    stored, source = from_image(SimpleITK.ReadImage(str(file)))
    grid = random_grid(source, random)
    labels = resample(np.rint(stored).astype(np.int16), source, grid, interpolation="nearest")
    structures, values = from_freesurfer(labels), random_values(Random([20260, seed, 1])).levels
    lesions = random_lesions(labels, grid, random)
    image = values[structures]
    spread = float(np.ptp(values[1:]))
    for number in range(1, LESIONS + 1):
        image[lesions == number] += spread * random.choice([-1.0, 1.0]) * random.uniform(0.3, 1.0)
    image = ndimage.gaussian_filter(image, 0.6) + NOISE * spread * random.standard_normal(image.shape)
    brain = brain_of(structures, grid)
    image = np.where(brain, image - image[brain].min() + 0.05 * spread, 0.0).astype(np.float32)
    small = into_template(align(Scan(image, grid, "T1w", file.name), Recipe(grid="template_2mm"), brain), RECIPE)
    seen = healthy_anatomy(small, device="cpu").structures
    onto = small.template_from_native
    findings = find((lesions > 0).astype(np.float32), grid, onto, 0.5)
    table = with_regions(findings, grid, onto, structures_on(grid, onto, seen)).table
    return Case(labels, findings.labels, table)


RECIPE = Recipe(grid="template_2mm")


def brain_of(structures: Array, grid: Grid) -> MaskArray:
    """The brain as an extraction has it: tissue and ventricles, closed."""
    solid = (structures != OUTSIDE) & (structures != index_of("outer fluid"))
    far = ndimage.distance_transform_edt(~solid, sampling=grid.spacing) < 4.0
    return ndimage.distance_transform_edt(far, sampling=grid.spacing) > 3.0


def truth(values: Array, names: dict[str, tuple[int, ...]]) -> Counter[str]:
    """How many voxels of a lesion (labels, n) carry each name."""
    return Counter({name: count for name, own in names.items() if (count := int(np.isin(values, own).sum()))})


def region_of(finding: Finding) -> str:
    """The region as the labels know it: they have no lobes, and no names for both parts of the striatum."""
    return "cerebrum" if finding.region in LOBES else finding.region


def is_right(case: Case, finding: Finding) -> dict[str, bool]:
    """Which of a finding's names are right."""
    inside = case.labels_of == finding.id
    values = case.labels[inside]
    regions, tissues = truth(values, REGIONS), truth(values, TISSUES)
    left, right = (int(np.isin(values, own).sum()) for own in (LEFT, RIGHT))
    sided = left + right > 0 and abs(left - right) > 0.6 * (left + right)
    near = inside_touching(inside)
    touches = {name: bool(np.isin(case.labels[near], own).any()) for name, own in TOUCHED.items()}
    matter = finding.tissue in (naming.WHITE_MATTER, naming.CORTEX) and region_of(finding) == "cerebrum"
    most = max(regions, key=lambda name: regions[name])
    accumbens = most == "cerebrum" and bool(np.isin(values, (26, 58)).mean() > 0.3)
    return {
        "side": not sided or finding.side == ("left" if left > right else "right"),
        "other side": sided and finding.side == ("right" if left > right else "left"),
        "region": region_of(finding) == most or accumbens,
        "region, a third": regions[region_of(finding)] >= regions.total() / 3,
        "tissue": tissues[finding.tissue] == max(tissues.values()),
        "tissue, a third": tissues[finding.tissue] >= tissues.total() / 3,
        **(
            {f"place {name}": (name in finding.place) == touched for name, touched in touches.items()} if matter else {}
        ),
    }


TOUCHED = {naming.PERIVENTRICULAR: (4, 43, 5, 44, 14, 31, 63), naming.JUXTACORTICAL: (3, 42)}


def inside_touching(inside: MaskArray) -> MaskArray:
    """A lesion and the voxels that touch it."""
    return ndimage.binary_dilation(inside, np.ones((3, 3, 3)))


def report(part: str, cases: list[Case]) -> None:
    """Shares that are right, of all lesions."""
    judged = [(case, finding, is_right(case, finding)) for case in cases for finding in case.table]
    print(f"{part}: {len(judged)} lesions of {len(cases)} scans")
    for name in dict.fromkeys(name for _, _, right in judged for name in right):
        values = [right[name] for _, _, right in judged if name in right]
        print(f"  {name:32} {100 * np.mean(values):5.1f} % of {len(values)}")
    sides = Counter(finding.side for _, finding, _ in judged)
    print("  sides named:", dict(sides))
    for case, finding, right in judged:
        if not right["region"]:
            values = truth(case.labels[case.labels_of == finding.id], REGIONS)
            print(f"  {finding.where}, {finding.volume_ml:.2f} mL: {dict(values)}")
        if not right["tissue, a third"]:
            values = truth(case.labels[case.labels_of == finding.id], TISSUES)
            print(f"  {finding.where}, {finding.tissue}, {finding.volume_ml:.2f} mL: {dict(values)}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--part", action="append", choices=("held", "training"))
    parser.add_argument("--scans", type=int, default=20)
    chosen = parser.parse_args()
    files = sorted((chosen.data / "synthseg_label_maps").glob("*.nii.gz"))
    for part in chosen.part or ("held",):
        mine = [file for file in files if (file.name in HELD) == (part == "held")]
        report(part, [painted_case(mine[seed % len(mine)], seed) for seed in range(chosen.scans)])


if __name__ == "__main__":
    main()
