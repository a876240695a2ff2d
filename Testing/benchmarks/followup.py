"""Changes between two dates: the truth of MSLUB, a scan compared with itself, and changes put in.

    python Testing/benchmarks/followup.py [--part truth|repeated|inserted] [--data ../shared/data] [--cache FOLDER]

- truth: patients 03 and 12, FLAIRs of both dates as acquired. A change of the truth is found where a changed region
  touches it, a region is right where it touches one. Its direction is that of the mean difference of both dates there,
  brought to one scale. Each patient by the settings that were best on the other, and by the program's.
- repeated: each FLAIR against itself, turned by 5 degrees, resampled and renoised (3 % of the brain's median): what the
  settings leave; the maps are turned along.
- inserted: the same, with single lesions of multiple sclerosis put into one date: how many of which size are found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly")]

from BrainAnomalyLib.detection import Detection, detect
from BrainAnomalyLib.findings.changes import CORE, REACH, changed
from BrainAnomalyLib.followup.follow_up import follow_up
from BrainAnomalyLib.io.geometry import LPS_FROM_RAS, Affine, apply_affine, inverse
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.io.volumes import read_array, read_scan
from BrainAnomalyLib.output.folder import SUMMARY, read_results, write_results

PATIENTS, STUDIES = ("patient03", "patient12"), ("study2", "study1")
CORES, REACHES, SIZES = (2.5, 3.0, 3.5, 4.0), (1.5, 2.0), (8.0, 15.0)
SIZE_CLASSES_MM3 = ((0.0, 25.0), (25.0, 50.0), (50.0, 100.0), (100.0, np.inf))
_TURN_DEGREES, _NOISE = 5.0, 0.03
_WHOLE = np.ones((3, 3, 3))
Settings = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Truth:
    """Changes of a patient: labels of the voxels of the truth (n), where they lie on the later scan (n, 3), sizes."""

    labels: np.ndarray
    places: np.ndarray
    sizes_mm3: np.ndarray


def detection(data: Path, cache: Path, patient: str, study: str) -> Detection:
    """The program's detection of a FLAIR, kept in ``cache``."""
    scan = read_scan(data / "mslub_longitudinal" / patient / f"{study}_FLAIR.nii.gz", "FLAIR")
    folder = cache / f"{patient}_{study}"
    if not (folder / SUMMARY).is_file():
        write_results(detect(scan), folder, pictures=False)
    return read_results(folder, scan)


def common_from(data: Path, patient: str, study: str) -> Affine:
    """The map from the truth's space to a study's FLAIR, both RAS mm."""
    text = (data / "mslub_longitudinal" / patient / f"{study}_FLAIR_to_common_space.txt").read_text()
    numbers, fixed = (
        [float(value) for value in text.split(f"\n{name}: ")[1].split("\n")[0].split()]
        for name in ("Parameters", "FixedParameters")
    )
    found = np.eye(4)
    found[:3, :3] = np.reshape(numbers[:9], (3, 3))
    found[:3, 3] = np.asarray(numbers[9:]) + fixed - found[:3, :3] @ fixed
    return np.asarray(LPS_FROM_RAS @ found @ LPS_FROM_RAS)


def truth_of(data: Path, patient: str, now: Detection) -> Truth:
    """What changed, as voxels of the later scan's grid."""
    marked, grid = read_array(data / "mslub_longitudinal" / patient / "gt.nii.gz")
    labels, count = ndimage.label(marked > 0, structure=_WHOLE)
    points = apply_affine(common_from(data, patient, "study2"), grid.to_world(np.argwhere(labels > 0)))
    places = np.rint(now.scan.grid.to_index(points)).astype(int)
    places = np.clip(places, 0, np.asarray(now.scan.array.shape) - 1)
    return Truth(
        labels[labels > 0], places, np.bincount(labels.ravel(), minlength=count + 1)[1:] * grid.voxel_volume_mm3
    )


def regions(now: Detection, settings: Settings) -> np.ndarray:
    """Changed voxels by ``settings`` (core, reach, smallest mm3): 1 more, -1 less."""
    assert now.prior is not None
    core, reach, smallest = settings
    more, less = changed(now.anomaly, now.prior, now.scan.grid, now.findings.threshold, core, reach, smallest / 1000.0)
    return more.astype(np.int8) - less.astype(np.int8)


def directions(truth: Truth, now: Detection) -> np.ndarray:
    """1 for a change that is brighter at the later date on the mean, -1 for a darker one."""
    assert now.prior is not None
    values = now.prior.growth[tuple(truth.places.T)]
    sums = np.bincount(truth.labels, weights=values, minlength=len(truth.sizes_mm3) + 1)[1:]
    return np.sign(sums)


@dataclass(frozen=True)
class Score:
    """Found changes of the truth (booleans by change), directions that are right, regions and those that are right."""

    found: np.ndarray
    right: int
    regions: int
    true_regions: int

    @property
    def f1(self) -> float:
        """Harmonic mean of the share of changes found and the share of regions that are right."""
        recall, precision = self.found.mean(), self.true_regions / max(self.regions, 1)
        return float(2.0 * recall * precision / max(recall + precision, 1e-9))


def score(truth: Truth, now: Detection, settings: Settings) -> Score:
    """One patient by one setting."""
    signed, count, true, found, right = regions(now, settings), 0, 0, np.zeros(len(truth.sizes_mm3), bool), 0
    places, signs = tuple(truth.places.T), directions(truth, now)
    for sign in (1, -1):
        labels, number = ndimage.label(signed == sign, structure=_WHOLE)
        count += number
        true += len(np.unique(labels[places][labels[places] > 0]))
        for change in np.unique(truth.labels[labels[places] > 0]):
            right += int(signs[change - 1] == sign and not found[change - 1])
            found[change - 1] = True
    return Score(found, right, count, true)


def all_settings() -> Iterator[Settings]:
    """Every setting that is tried."""
    return ((core, reach, size) for core in CORES for reach in REACHES for size in SIZES)


def shipped(now: Detection) -> Settings:
    """Those of the program."""
    assert now.prior is not None
    return CORE, REACH, 1000.0 * now.prior.smallest_ml


def report_truth(data: Path, cache: Path) -> None:
    """Print what is found of the truth: by settings chosen on the other patient, and by the program's."""
    cases = {}
    for patient in PATIENTS:
        now = follow_up(detection(data, cache, patient, "study2"), detection(data, cache, patient, "study1"))
        cases[patient] = now, truth_of(data, patient, now)
    tried = {name: {how: score(truth, now, how) for how in all_settings()} for name, (now, truth) in cases.items()}
    print(
        "| Patient | Core, reach, mm3 | Regions, right | Found | F1 | Direction right | By size |\n"
        "|---|---|---|---|---|---|---|"
    )
    for patient, (now, truth) in cases.items():
        other = next(name for name in PATIENTS if name != patient)
        best = max(tried[other], key=lambda how: tried[other][how].f1)
        own = max(tried[patient], key=lambda how: tried[patient][how].f1)
        for name, how in {"best on the other": best, "the program's": shipped(now), "best here (oracle)": own}.items():
            print(f"| {patient} | {name}: {how} | {_row(score(truth, now, how), truth)} |", flush=True)


def _row(found: Score, truth: Truth) -> str:
    sizes = [
        f"{found.found[inside].sum()}/{inside.sum()} of {low:g} to {high:g} mm3"
        for low, high in SIZE_CLASSES_MM3
        if (inside := (truth.sizes_mm3 >= low) & (truth.sizes_mm3 < high)).any()
    ]
    cells = f"{found.regions}, {found.true_regions}", f"{found.found.sum()}/{len(found.found)}", f"{found.f1:.2f}"
    return " | ".join((*cells, f"{found.right}/{found.found.sum()}", "; ".join(sizes)))


def turned(now: Detection, seed: int) -> Detection:
    """The same head turned, resampled and renoised, as a detection of another date; its maps are turned along."""
    grid, random = now.scan.grid, np.random.default_rng(seed)
    center = grid.to_world(np.argwhere(now.brain_mask)).mean(axis=0)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.radians(_TURN_DEGREES) * np.array([0.6, 0.5, 0.62])).as_matrix()
    turn[:3, 3] = center - turn[:3, :3] @ center + random.uniform(-2.0, 2.0, 3)

    def moved(volume: np.ndarray) -> np.ndarray:
        return np.asarray(resample(volume.astype(np.float32), grid, grid, turn))

    assert now.pseudo_healthy is not None
    assert now.residual is not None
    level = _NOISE * float(np.median(now.pseudo_healthy[now.brain_mask]))
    noise = level * random.standard_normal(grid.shape, dtype=np.float32)
    mask = moved(now.brain_mask) > 0.5
    return replace(
        now,
        scan=replace(now.scan, array=moved(now.scan.array), name="turned"),
        anomaly=moved(now.anomaly),
        pseudo_healthy=moved(now.pseudo_healthy),
        residual=np.where(mask, moved(now.residual) + noise, 0.0).astype(np.float32),
        brain_mask=mask,
        template_from_native=now.template_from_native @ turn,
    )


def report_repeated(data: Path, cache: Path) -> None:
    """Print what is left between a scan and itself, by how large a core and a region must be."""
    print("| Scan | Changed regions by the program's settings | by core and smallest mm3 |\n|---|---|---|")
    for patient in PATIENTS:
        for study in STUDIES:
            before = detection(data, cache, patient, study)
            now = follow_up(before, turned(before, seed=1))
            counts = {
                (core, size): ndimage.label(regions(now, (core, REACH, size)) != 0, structure=_WHOLE)[1]
                for core in CORES
                for size in SIZES
            }
            own = ndimage.label(regions(now, shipped(now)) != 0, structure=_WHOLE)[1]
            print(f"| {patient} {study} | {own} | {counts} |", flush=True)


def report_inserted(data: Path, cache: Path, count: int = 40) -> None:
    """Print how many lesions of each size are found that were put into one of two dates."""
    stored = np.load(data / "ms_lesion_shapes_mni_1mm" / "ms_lesion_shapes.npz")
    shapes = np.split(stored["voxels"], stored["offsets"][1:-1])
    print("| Scan | Put in, found, right direction by size | Other regions |\n|---|---|---|")
    for patient in PATIENTS:
        for study in STUDIES:
            print(
                f"| {patient} {study} | {_inserted(detection(data, cache, patient, study), shapes, stored, count)} |",
                flush=True,
            )


def _inserted(before: Detection, shapes: list[np.ndarray], stored: np.lib.npyio.NpzFile, count: int) -> str:
    random, grid = np.random.default_rng(7), before.scan.grid
    to_voxel = inverse(grid.affine) @ inverse(before.template_from_native) @ stored["affine_ras"]
    quiet = ndimage.binary_erosion(before.brain_mask, iterations=3) & (before.anomaly < 0.3 * before.findings.threshold)
    labels = np.zeros(grid.shape, dtype=np.int32)
    for number in random.permutation(len(shapes)):
        voxels = np.unique(np.rint(apply_affine(to_voxel, shapes[number])).astype(int), axis=0)
        if len(shapes[number]) > 400 or not ((voxels >= 0) & (voxels < grid.shape)).all():
            continue
        if quiet[tuple(voxels.T)].mean() > 0.9 and not labels[tuple(voxels.T)].any():
            labels[tuple(voxels.T)] = labels.max() + 1
        if labels.max() == count:
            break
    assert before.residual is not None
    assert before.pseudo_healthy is not None
    spread = float(before.pseudo_healthy[before.brain_mask].std())
    soft = ndimage.gaussian_filter((labels > 0).astype(np.float32), 0.5 / np.asarray(grid.spacing))
    lit = replace(
        before,
        residual=(before.residual + 1.2 * spread * soft).astype(np.float32),
        anomaly=np.maximum(before.anomaly, before.findings.threshold * soft).astype(np.float32),
        scan=replace(before.scan, array=before.scan.array + 1.2 * spread * soft),
    )
    now = follow_up(lit, turned(before, seed=2))
    signed = regions(now, shipped(now))
    found = np.unique(labels[signed != 0])
    sizes = np.bincount(labels.ravel())[1:] * grid.voxel_volume_mm3
    hit = np.isin(np.arange(1, len(sizes) + 1), found)
    right = np.array([np.sign(signed[labels == number].sum()) == 1 for number in range(1, len(sizes) + 1)])
    rows = [
        f"{low:g} to {high:g} mm3: {inside.sum()}, {hit[inside].sum()}, {right[inside].sum()}"
        for low, high in SIZE_CLASSES_MM3
        if (inside := (sizes >= low) & (sizes < high)).any()
    ]
    near = ndimage.binary_dilation(labels > 0, iterations=2)
    other, number = ndimage.label(signed != 0, structure=_WHOLE)
    return f"{'; '.join(rows)} | {number - len(np.unique(other[near & (other > 0)]))}"


_PARTS = {"truth": report_truth, "repeated": report_repeated, "inserted": report_inserted}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=tuple(_PARTS), help="default: all")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="detections are kept here (default: made anew each time)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.part or _PARTS:
            print(f"\n{name}\n")
            _PARTS[name](chosen.data, chosen.cache or Path(scratch))


if __name__ == "__main__":
    main()
