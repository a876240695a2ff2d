"""Whether contrasts and dates of one person are told from scans of two: the surplus of ``same_head`` for pairs of both.

    python Testing/benchmarks/pairs.py [--data ../shared/data]

Every pair is registered rigidly, as contrasts and dates are. Scans of MSLUB, C-STAR, OpenNeuro ds000011 and a glioma.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly")]

from BrainAnomalyLib.examination.placing import brain_image
from BrainAnomalyLib.io.geometry import inverse
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.preparation.pipeline import AlignedScan, align
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.pair_registration import nearest_rigid, register_pair
from BrainAnomalyLib.preparation.space.same_head import LEAST_SURPLUS, surplus

SCANS: dict[str, tuple[str, Contrast]] = {
    "MS 19 FLAIR": ("mslub_ms/patient19/patient19_FLAIR_MNI_brain.nii.gz", "FLAIR"),
    "MS 19 T1w": ("mslub_ms/patient19/patient19_T1_MNI_brain.nii.gz", "T1w"),
    "stroke FLAIR": ("stroke_three_contrasts/FLAIR.nii.gz", "FLAIR"),
    "stroke T2w": ("stroke_three_contrasts/T2.nii.gz", "T2w"),
    "MS 12 FLAIR, 1st": ("mslub_longitudinal/patient12/study1_FLAIR.nii.gz", "FLAIR"),
    "MS 12 T2w, 1st": ("mslub_longitudinal/patient12/study1_T2W.nii.gz", "T2w"),
    "MS 12 T1w, 1st": ("mslub_longitudinal/patient12/study1_T1W.nii.gz", "T1w"),
    "MS 12 FLAIR, 2nd": ("mslub_longitudinal/patient12/study2_FLAIR.nii.gz", "FLAIR"),
    "MS 03 FLAIR, 1st": ("mslub_longitudinal/patient03/study1_FLAIR.nii.gz", "FLAIR"),
    "MS 03 FLAIR, 2nd": ("mslub_longitudinal/patient03/study2_FLAIR.nii.gz", "FLAIR"),
    "MS 03 T1w, 2nd": ("mslub_longitudinal/patient03/study2_T1W.nii.gz", "T1w"),
    "MS 03 T2w, 2nd": ("mslub_longitudinal/patient03/study2_T2W.nii.gz", "T2w"),
    "ds 03 T1w": ("ds000011_t1_t2/sub-03/sub-03_T1w.nii.gz", "T1w"),
    "ds 03 T2w": ("ds000011_t1_t2/sub-03/sub-03_inplaneT2.nii.gz", "T2w"),
    "ds 02 T2w": ("ds000011_t1_t2/sub-02/sub-02_inplaneT2.nii.gz", "T2w"),
    "glioma T1w": ("tumor_four_contrasts/T1.nii.gz", "T1w"),
}
ONE_PERSON = (
    ("MS 19 FLAIR", "MS 19 T1w"),
    ("stroke FLAIR", "stroke T2w"),
    ("MS 12 FLAIR, 1st", "MS 12 T2w, 1st"),
    ("MS 12 FLAIR, 1st", "MS 12 T1w, 1st"),
    ("MS 03 FLAIR, 2nd", "MS 03 T1w, 2nd"),
    ("MS 03 FLAIR, 1st", "MS 03 FLAIR, 2nd"),
    ("ds 03 T1w", "ds 03 T2w"),
)
TWO_PERSONS = (
    ("MS 19 FLAIR", "stroke T2w"),
    ("MS 19 FLAIR", "glioma T1w"),
    ("MS 12 FLAIR, 1st", "MS 03 T2w, 2nd"),
    ("MS 03 FLAIR, 2nd", "MS 12 T1w, 1st"),
    ("MS 12 FLAIR, 2nd", "MS 03 FLAIR, 2nd"),
    ("ds 03 T1w", "ds 02 T2w"),
)


@cache
def aligned(data: Path, name: str) -> AlignedScan:
    """A scan with its brain and its place in the template."""
    path, contrast = SCANS[name]
    return align(read_scan(data / path, contrast), Recipe())


def surplus_of(data: Path, first: str, second: str) -> float:
    """What the pair's insides tell of each other in the place that was found."""
    one, two = aligned(data, first), aligned(data, second)
    images = brain_image(one), brain_image(two)
    by_template = two.registration.scan_from_template @ inverse(one.registration.scan_from_template)
    center = one.scan.grid.to_world(np.argwhere(one.brain.mask)).mean(axis=0)
    found = register_pair(*images, [np.eye(4), nearest_rigid(by_template, center)], "rigid")
    return surplus(*images, found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    chosen = parser.parse_args()
    print(f"| Persons | First | Second | Surplus (refused below {LEAST_SURPLUS:g}) |\n|---|---|---|---|")
    for persons, pairs in (("one", ONE_PERSON), ("two", TWO_PERSONS)):
        for first, second in pairs:
            print(f"| {persons} | {first} | {second} | {surplus_of(chosen.data, first, second):.4f} |", flush=True)


if __name__ == "__main__":
    main()
