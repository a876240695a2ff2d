"""What the weights of the combined detectors' components are worth, on scans that are neither training nor test.

    python Testing/benchmarks/combination.py [--data ../shared/data] [--cache CACHE]

- SOOP: FLAIR slices with acute lesions of subjects that are not the test's (tissue reference, network).
- FLAIR, T2w: real lesion shapes written into one healthy head each, brighter by 30 %, one by one; and many small ones
  in white matter on both sides at once, brighter by 20 to 50 %, as multiple sclerosis has them (all components).
- T1w: real lesion shapes of 1 mL and more written into calibration scans of both scanners, darker and brighter by 25 %.

Mean over the cases of the AP inside the brain, before the T1w map is smoothed. The weights for T1w were chosen on such
cases and on the healthy heads of OpenNeuro ds000011, where more weight on the normative map makes more findings. Those
for FLAIR lean more on anatomy than the table asks: MSLUB patient19 had a say. On T2w the deviation counts most because
of both groups of such cases. A slice has no deviation: the structure network sees whole heads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

import soop_slices
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.detectors.shipped.combined import CombinedDetector
from BrainAnomalyLib.evaluation.voxels import average_precision, ranking
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.scoring.evidence import weighted_evidence
from BrainAnomalyTrainingLib.recipes.stroke_slices import template_slice
from cached_scans import cached_scans
from inserted_lesions import LesionCase, insert_lesion, insert_scattered, lesion_shapes
from published_split import published_split

# Anatomy, network, asymmetry, deviation from the scan's own structures, normative intensity (T1w alone has it).
WEIGHTS = (
    *((1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)),
    *(
        (2, 1, 0.5, 0, 0),
        (2, 0, 0.5, 1, 0),
        (0, 1, 0.5, 1, 0),
        (2, 1, 0, 1, 0),
        (2, 1, 0.5, 2, 0),
        (2, 1, 0.5, 8, 0),
        (0, 0, 0.5, 2, 0),
    ),
    *((1, 1, 1, 0, 0.5), (1, 1, 1, 1.5, 0.5), (1, 1, 1, 1.5, 0)),
)
_LEAST_ML = 1.0
# A case: the truth and the evidence of every component, voxels of the brain alone.
Case = tuple[np.ndarray, list[np.ndarray]]


def case(detector: CombinedDetector, prepared: PreparedScan, lesion: np.ndarray, made: Reconstruction) -> Case:
    """A scan's evidence where the detector speaks."""
    score = detector.score(prepared, made)
    inside = score.evaluated
    return lesion[inside], [score.components[name][inside] for name in detector.component_names()]


def soop_cases(data: Path) -> Iterator[Case]:
    """Slices with lesions; a slice has no mirror registration, so that its asymmetry is nothing."""
    detector, slices = load_detector("combined"), soop_slices.with_lesions(data)
    assert isinstance(detector, CombinedDetector)
    for index in range(slices.image.shape[2]):
        slab = soop_slices.as_slab(slices, index)
        made = soop_slices.slab_maps(detector, slab)
        truth, parts = slices.lesion[..., index], detector.score(slab, made)
        level, inside = template_slice(), slices.brain_mask[..., index]
        yield truth[inside], [parts.components[name][:, :, level][inside] for name in detector.component_names()]


def single_cases(healthy: PreparedScan, data: Path, count: int) -> Iterator[Case]:
    """Shapes in a healthy head, brighter by 30 %."""
    made = (insert_lesion(healthy, shape, 0.3) for shape in _shapes(data, count, seed=5))
    return _combined_cases([one for one in made if one.volume_ml >= _LEAST_ML])


def scattered_cases(healthy: PreparedScan, data: Path, count: int) -> Iterator[Case]:
    """Many small lesions on both sides of a healthy head, a little or a lot brighter."""
    random = np.random.default_rng(3)
    shapes = lesion_shapes(data / "lesion_shapes_mni_1mm")
    return _combined_cases([insert_scattered(healthy, shapes, random.uniform(0.2, 0.5), random) for _ in range(count)])


def healthy_head(data: Path, name: str, contrast: Contrast) -> PreparedScan:
    """A healthy head, prepared."""
    return prepare(read_scan(data / "single_healthy" / name, contrast), Recipe(grid="template_1mm"))


def _combined_cases(made: Sequence[LesionCase]) -> Iterator[Case]:
    detector = load_detector("combined")
    assert isinstance(detector, CombinedDetector)
    for one in made:
        yield case(detector, one.prepared, one.lesion, detector.reconstruct(one.prepared))


def t1w_cases(data: Path, cache: Path, count: int) -> Iterator[Case]:
    """Two shapes in every other calibration scan."""
    detector = load_detector("combined_t1w")
    assert isinstance(detector, CombinedDetector)
    scans = published_split(data).calibration[::2][:count]
    shapes = iter(_shapes(data, 4 * count, seed=11))
    for _, prepared in cached_scans(scans, cache):
        shape = next(one for one in shapes if insert_lesion(prepared, one, 0.25).volume_ml >= _LEAST_ML)
        for change in (-0.25, 0.25):
            made = insert_lesion(prepared, shape, change)
            yield case(detector, made.prepared, made.lesion, detector.reconstruct(made.prepared))


def _shapes(data: Path, count: int, seed: int) -> list[Path]:
    shapes = lesion_shapes(data / "lesion_shapes_mni_1mm")
    return [shapes[int(index)] for index in np.random.default_rng(seed).permutation(len(shapes))[:count]]


def mean_ap(cases: Sequence[Case], weights: tuple[float, ...]) -> str:
    """Mean over the cases with any lesion in the brain; nothing for weights of a map that they do not have."""
    count = len(cases[0][1])
    if any(weights[count:]):
        return "-"
    found = [(truth, weighted_evidence(parts, weights[:count])) for truth, parts in cases if truth.any()]
    return f"{np.mean([average_precision(ranking(truth, score)) for truth, score in found]):.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="prepared scans are kept here (default: prepared anew each time)")
    parser.add_argument("--count", type=int, default=10, help="FLAIR shapes, and T1w scans")
    chosen = parser.parse_args()
    flair = healthy_head(chosen.data, "synthsr_FLAIR_1mm.nii.gz", "FLAIR")
    t2w = healthy_head(chosen.data, "rorden_T2w_1x1x2mm.nii.gz", "T2w")
    with tempfile.TemporaryDirectory() as scratch:
        groups = {
            "SOOP slices": list(soop_cases(chosen.data)),
            "FLAIR +30 %": list(single_cases(flair, chosen.data, chosen.count)),
            "FLAIR, scattered": list(scattered_cases(flair, chosen.data, chosen.count)),
            "T2w +30 %": list(single_cases(t2w, chosen.data, chosen.count)),
            "T2w, scattered": list(scattered_cases(t2w, chosen.data, chosen.count)),
            "T1w ±25 %": list(t1w_cases(chosen.data, chosen.cache or Path(scratch), chosen.count)),
        }
    sizes = [f"{name} (n = {len(cases)})" for name, cases in groups.items()]
    print(f"| Anatomy | Network | Asymmetry | Deviation | Normative | {' | '.join(sizes)} |")
    print(f"|{'---|' * (5 + len(groups))}")
    for weights in WEIGHTS:
        cells = [mean_ap(cases, weights) for cases in groups.values()]
        print(f"| {' | '.join([f'{weight:g}' for weight in weights] + cells)} |", flush=True)


if __name__ == "__main__":
    main()
