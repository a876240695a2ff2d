"""What each map of the combined detector is worth, on lesions that nobody has: inserted in healthy heads, or painted.

    python Testing/benchmarks/combination.py [--data ../shared/data] [--cache CACHE] [--count 6] [--group GROUP]

- FLAIR, T2w: real lesion shapes of 1 mL and more written into one healthy head each, one by one, brighter or darker by
  30 %; and many small ones in white matter on both sides at once, brighter by 20 to 50 %, as multiple sclerosis has.
- T1w: such shapes written into calibration scans of both scanners, darker and brighter by 25 %.
- painted: lesions of multiple sclerosis in heads painted from the two label maps that the structure network has not
  learned from, in three contrasts.

Mean over the cases of the AP inside the brain, of every other voxel along each axis. The weights were chosen on such
cases, before any patient was looked at with them. Tables of evidence are those of the package: for FLAIR and T2w of
these very heads among others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.detectors.shipped.combined import CombinedDetector
from BrainAnomalyLib.evaluation.voxels import average_precision, ranking
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.evidence import weighted_evidence
from BrainAnomalyTrainingLib.painting.structure_training import StructureRecipe
from cached_scans import cached_scans
from inserted_lesions import LesionCase, insert_lesion, insert_scattered, lesion_shapes
from painted_examinations import detected, painted_heads
from published_split import published_split

NAMES = ("deviation", "lesion", "network", "asymmetry", "tissue")
WEIGHTS = (
    *((1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)),
    *((2, 1, 0, 0, 0), (2, 1, 1, 0, 0), (2, 1, 0, 1, 0), (2, 0, 1, 1, 0)),
    *((1, 1, 1, 1, 0), (2, 1, 1, 1, 0), (4, 1, 1, 1, 0), (2, 1, 1, 1, 1)),
)
_LEAST_ML, _MOST_ML = 1.0, 80.0
_EVERY_OTHER = (slice(None, None, 2),) * 3
# A case: the truth and the evidence of every component, voxels of the brain alone.
Case = tuple[np.ndarray, dict[str, np.ndarray]]


def scored(detector: CombinedDetector, made: LesionCase) -> Case:
    """A case's evidence inside the brain."""
    return _voxels(made.lesion, made.prepared.brain_mask, detector.score(made.prepared, None).components)


def single_cases(data: Path, file: str, contrast: Contrast, gain: float, count: int) -> Iterator[Case]:
    """Shapes in a healthy head, each alone."""
    healthy = head(data, file, contrast)
    made = (insert_lesion(healthy, shape, gain) for shape in _shapes(data, seed=5))
    fitting = (one for one in made if _LEAST_ML <= one.volume_ml <= _MOST_ML)
    for one in islice(fitting, count):
        yield scored(_combined(), one)


def scattered_cases(data: Path, file: str, contrast: Contrast, count: int) -> Iterator[Case]:
    """Many small lesions on both sides of a healthy head, a little or a lot brighter."""
    detector, healthy, random = _combined(), head(data, file, contrast), np.random.default_rng(3)
    shapes = lesion_shapes(data / "lesion_shapes_mni_1mm")
    for _ in range(count):
        yield scored(detector, insert_scattered(healthy, shapes, random.uniform(0.2, 0.5), random))


def t1w_cases(data: Path, cache: Path, gain: float, count: int) -> Iterator[Case]:
    """A shape in each of some calibration scans, evenly from both scanners."""
    detector, scans = _combined(), published_split(data).calibration
    chosen = scans[:: max(1, len(scans) // count)][:count]
    shapes = iter(_shapes(data, seed=11))
    for _, prepared in cached_scans(chosen, cache, _combined().recipe.grid):
        made = (insert_lesion(prepared, shape, gain) for shape in shapes)
        yield scored(detector, next(one for one in made if _LEAST_ML <= one.volume_ml <= _MOST_ML))


def painted_cases(data: Path, contrast: Contrast) -> Iterator[Case]:
    """Heads of label maps that nothing was learned from, as the program detects them."""
    for _, ill in painted_heads(data, StructureRecipe().held_out, contrasts=(contrast,)):
        found = detected(ill)[contrast]
        yield _voxels(ill.lesions, found.brain_mask, found.components)


def head(data: Path, file: str, contrast: Contrast) -> PreparedScan:
    """A healthy head, prepared."""
    return prepare(read_scan(data / "single_healthy" / file, contrast), _combined().recipe)


def _voxels(lesion: np.ndarray, mask: np.ndarray, components: dict[str, np.ndarray]) -> Case:
    inside = mask[_EVERY_OTHER]
    return lesion[_EVERY_OTHER][inside], {name: volume[_EVERY_OTHER][inside] for name, volume in components.items()}


@cache
def _combined() -> CombinedDetector:
    detector = load_detector("combined")
    assert isinstance(detector, CombinedDetector)
    return detector


def _shapes(data: Path, seed: int) -> list[Path]:
    shapes = lesion_shapes(data / "lesion_shapes_mni_1mm")
    return [shapes[int(index)] for index in np.random.default_rng(seed).permutation(len(shapes))]


def mean_ap(cases: Sequence[Case], weights: Sequence[float]) -> str:
    """Mean over the cases with any lesion in the brain; nothing for weights of a map that they do not have."""
    counted = {name: weight for name, weight in zip(NAMES, weights, strict=True) if weight}
    if not counted.keys() <= cases[0][1].keys():
        return "-"
    maps = [
        (truth, weighted_evidence([parts[name] for name in counted], list(counted.values())))
        for truth, parts in cases
        if truth.any()
    ]
    return f"{np.mean([average_precision(ranking(truth, score)) for truth, score in maps]):.3f}"


def groups(data: Path, cache: Path, count: int) -> dict[str, Callable[[], Iterator[Case]]]:
    """The cases by what the table calls them."""
    heads: dict[Contrast, str] = {"FLAIR": "synthsr_FLAIR_1mm.nii.gz", "T2w": "rorden_T2w_1x1x2mm.nii.gz"}
    found: dict[str, Callable[[], Iterator[Case]]] = {}
    for contrast, file in heads.items():
        found[f"{contrast} +30 %"] = partial(single_cases, data, file, contrast, 0.3, count)
        found[f"{contrast} -30 %"] = partial(single_cases, data, file, contrast, -0.3, count // 2)
        found[f"{contrast}, scattered"] = partial(scattered_cases, data, file, contrast, count // 2)
    for gain in (0.25, -0.25):
        found[f"T1w {gain:+.0%}"] = partial(t1w_cases, data, cache, gain, count)
    contrasts: tuple[Contrast, ...] = ("FLAIR", "T2w", "T1w")
    return found | {f"{contrast}, painted": partial(painted_cases, data, contrast) for contrast in contrasts}


def main() -> None:
    """Print the table, a line for each group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="prepared scans are kept here (default: prepared anew each time)")
    parser.add_argument("--count", type=int, default=6, help="single lesions, and T1w scans")
    parser.add_argument("--group", action="append", help="of the table's first column; default: all")
    chosen = parser.parse_args()
    print(f"| Lesions | n | {' | '.join(' '.join(f'{part:g}' for part in weights) for weights in WEIGHTS)} |")
    print(f"|{'---|' * (2 + len(WEIGHTS))}")
    with tempfile.TemporaryDirectory() as scratch:
        for name, made in groups(chosen.data, chosen.cache or Path(scratch), chosen.count).items():
            if name in (chosen.group or [name]):
                cases = list(made())
                row = " | ".join(mean_ap(cases, weights) for weights in WEIGHTS)
                print(f"| {name} | {len(cases)} | {row} |", flush=True)


if __name__ == "__main__":
    main()
