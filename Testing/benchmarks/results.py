"""The README's table of results: detectors on real lesions, inserted lesions, healthy scans and shifted ones.

    python Testing/benchmarks/results.py [--data ../shared/data] [--cache CACHE] [--part mslub soop lesions healthy]

- MSLUB patient19: FLAIR, T2w and T1w through the whole program, brain voxels of the submitted scan.
- SOOP: axial FLAIR slices at 2 mm of the test subjects (``soop_slices``); thresholds from lesion-free slices of others.
- Lesions: real shapes in held-out healthy T1w scans, brighter, darker and of wrong texture, by size.
- Healthy: findings at the default threshold on held-out scans of the scanners trained on, with and without the guard,
  also after gamma, drift, noise, blur, ghosting and inversion, and on heads of scanners never seen.

Intervals are 95 % over resampled subjects. No threshold has seen the truth unless its source says oracle.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly"), str(ROOT / "BrainAnomalyTraining"), str(ROOT / "Testing")]

import soop_slices
from BrainAnomalyLib.detection import detect
from BrainAnomalyLib.detectors.baselines.histogram import equalize
from BrainAnomalyLib.detectors.baselines.tissue import TissueDetector
from BrainAnomalyLib.detectors.protocol import Detector
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.evaluation.bootstrap import Estimate, PooledCounts, estimate_mean
from BrainAnomalyLib.evaluation.scan import EvaluatedScan
from BrainAnomalyLib.evaluation.voxels import (
    average_precision,
    best_threshold,
    found_mask,
    pooled,
    quantile_grid,
    ranking,
)
from BrainAnomalyLib.io.volumes import Contrast, read_scan
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.scoring.guard import assess
from BrainAnomalyLib.scoring.residuals import cleaned
from BrainAnomalyLib.scoring.scan_level import scan_scores
from BrainAnomalyTrainingLib.cohort.cohort import CohortScan
from BrainAnomalyTrainingLib.recipes.stroke_slices import Slices, template_slice
from cached_scans import cached_scans
from inserted_lesions import LesionCase, insert_lesion, insert_texture, lesion_shapes
from published_split import published_split

T1W = ("denoising", "any_contrast", "combined")
MSLUB: tuple[tuple[str, Contrast, tuple[str, ...]], ...] = (
    ("FLAIR", "FLAIR", ("histogram", "tissue", "any_contrast", "combined")),
    ("T2", "T2w", ("histogram", "tissue", "any_contrast", "combined")),
    ("T1", "T1w", T1W),
)
SIZES_ML = ((0.1, 1.0), (1.0, 10.0), (10.0, 100.0))
_VOXEL_MM3 = 8.0
_SHAPES_PER_SCAN = 4
_FALSE_RATE = 0.01
_NEVER_SEEN = "never seen"


def table(title: str, head: str, rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table as its rows come."""
    print(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def ap_and_dice(scans: Sequence[EvaluatedScan], times: int = 500) -> tuple[Estimate, Estimate]:
    """Pooled AP and best dataset-wise Dice (an oracle, components of up to 20 mm3 dropped) with their intervals."""
    truth, scores = pooled(scans)
    ranked, counts = ranking(truth, scores), PooledCounts(scans)
    threshold, raw = best_threshold(ranked, quantile_grid(scores))
    spread, final = counts.estimate(raw, partial(best_dice, counts), times), dataset_dice(scans, threshold)
    moved = Estimate(final, spread.low + final - raw, spread.high + final - raw, spread.subjects)
    return counts.estimate(average_precision(ranked), counts.average_precision, times), moved


def best_dice(counts: PooledCounts, weights: np.ndarray) -> float:
    """Largest dataset-wise Dice of a resample (an oracle)."""
    hits, false = counts.curves(weights)
    return float(np.max(2.0 * hits / np.maximum(hits + false + hits[-1], 1.0)))


def dataset_dice(scans: Sequence[EvaluatedScan], threshold: float) -> float:
    """2 sum |found and true| / (sum |found| + sum |true|) over scans, components of up to 20 mm3 dropped."""
    pairs = [(found_mask(scan, threshold), scan.truth & scan.evaluated) for scan in scans]
    total = sum(int(found.sum()) + int(truth.sum()) for found, truth in pairs)
    return 2.0 * sum(int((found & truth).sum()) for found, truth in pairs) / total if total else float("nan")


def realised_rate(scans: Sequence[EvaluatedScan], threshold: float) -> float:
    """Mean over scans of the part of the brain above a threshold."""
    return float(np.mean([np.mean(scan.anomaly[scan.evaluated] > threshold) for scan in scans]))


def mslub(data: Path) -> None:
    """Rows of the one MSLUB scan; there is no interval over one subject."""
    folder = data / "mslub_ms" / "patient19"
    truth = read_scan(folder / "patient19_lesion_MNI.nii.gz").array > 0

    def rows() -> Iterable[Sequence[str]]:
        for name, contrast, detectors in MSLUB:
            scan = read_scan(folder / f"patient19_{name}_MNI_brain.nii.gz", contrast)
            for detector in detectors:
                found = detect(scan, load_detector(detector))
                threshold = found.findings.threshold
                one = EvaluatedScan("patient19", found.anomaly, truth, found.brain_mask, scan.grid.voxel_volume_mm3)
                precision, best = ap_and_dice([one])
                own = dataset_dice([one], threshold)
                yield contrast, f"`{detector}`", precision.text(), best.text(), f"{own:.3f}", f"{threshold:.3g}"

    head = "Scan | Detector | AP | Best Dice (oracle) | Dice at the default threshold | that threshold"
    table(f"MSLUB patient19, {truth.sum() / 1000.0:.1f} mL of lesions, one subject", head, rows())


def soop(data: Path) -> None:
    """Rows of the stroke slices."""
    calm, test = soop_slices.load(data)
    ways: dict[str, Callable[[Slices], np.ndarray]] = {
        "histogram": _equalized,
        "brain-normalized intensity": lambda slices: slices.image,
        "any_contrast": lambda slices: _both(slices)["network"],
        "tissue": lambda slices: _both(slices)["tissue"],
    }

    def rows() -> Iterable[Sequence[str]]:
        for name, way in ways.items():
            healthy, ill = _as_scans(calm, way(calm)), _as_scans(test, way(test))
            threshold = float(np.quantile(pooled(healthy)[1], 1.0 - _FALSE_RATE))
            precision, best = ap_and_dice(ill)
            own = dataset_dice(ill, threshold)
            yield f"`{name}`", precision.text(), best.text(), f"{own:.3f}", f"{realised_rate(healthy, threshold):.2%}"

    head = "Map | AP | Best Dice (oracle) | Dice at 1 % of lesion-free brain | realised there"
    count = test.image.shape[2]
    table(f"SOOP, {count} axial FLAIR slices of test subjects with and without acute lesions, 2 mm", head, rows())


def _equalized(slices: Slices) -> np.ndarray:
    planes = [
        equalize(slices.image[..., index], slices.brain_mask[..., index]) for index in range(slices.image.shape[2])
    ]
    return np.stack(planes, axis=-1)


@cache
def _both(slices: Slices) -> dict[str, np.ndarray]:
    """Maps of the network and the tissue reference, each slice for itself."""
    network, tissue = load_detector("any_contrast"), TissueDetector()
    found: dict[str, list[np.ndarray]] = {"network": [], "tissue": []}
    for index in range(slices.image.shape[2]):
        slab = soop_slices.as_slab(slices, index)
        found["network"].append(network.score(slab, network.reconstruct(slab)).anomaly[:, :, template_slice()])
        found["tissue"].append(tissue.score(slab, None).anomaly[:, :, template_slice()])
    return {name: np.stack(planes, axis=-1) for name, planes in found.items()}


def _as_scans(slices: Slices, maps: np.ndarray) -> list[EvaluatedScan]:
    return [
        EvaluatedScan(
            str(index),
            np.maximum(maps[..., [index]], 0.0).astype(np.float32),
            slices.lesion[..., [index]] & slices.brain_mask[..., [index]],
            slices.brain_mask[..., [index]],
            _VOXEL_MM3,
        )
        for index in range(maps.shape[2])
    ]


def held_out(data: Path, cache: Path, most: int) -> list[tuple[CohortScan, PreparedScan]]:
    """Prepared scans of both scanners that no embedded model was trained or calibrated on."""
    test = published_split(data).test
    chosen = [scan for name in ("IXI-HH", "ds002748") for scan in [s for s in test if s.scanner == name][:most]]
    return list(cached_scans(chosen, cache))


def other_scanners(data: Path, cache: Path) -> list[tuple[CohortScan, PreparedScan]]:
    """Healthy heads of scanners that no embedded model has seen."""
    files = {
        "ds000011": sorted((data / "ds000011_t1_t2").rglob("*_T1w.nii.gz")),
        "rorden": [data / "single_healthy" / "rorden_T1w2mm.nii.gz"],
        "brainchop": [data / "single_healthy" / "brainchop_t1_crop_1mm.nii.gz"],
        "Colin27": [data / "templates" / "colin27_mricron" / "ch2.nii.gz"],
    }
    scans = [
        CohortScan(path.name.split(".")[0], f"{_NEVER_SEEN}: {source}", path, contrast="T1w")
        for source, paths in files.items()
        for path in paths
    ]
    return list(cached_scans(scans, cache))


def anomaly_map(detector: Detector, prepared: PreparedScan) -> np.ndarray:
    """The final map on the template grid."""
    score = detector.score(prepared, detector.reconstruct(prepared))
    return cleaned(score.anomaly, score.evaluated) if detector.cleans_map else score.anomaly


def lesions(data: Path, scans: Sequence[tuple[CohortScan, PreparedScan]], names: Sequence[str]) -> None:
    """Rows of inserted lesions: pooled AP over the cases of a size and kind."""
    shapes, random = lesion_shapes(data / "lesion_shapes_mni_1mm"), np.random.default_rng(4)
    detectors = {name: load_detector(name) for name in names}
    cases: list[tuple[str, float, dict[str, EvaluatedScan]]] = []
    for scan, prepared in scans:
        for index in random.choice(len(shapes), _SHAPES_PER_SCAN, replace=False):
            for kind, case in _variants(prepared, shapes[int(index)], int(index)):
                if case.volume_ml >= SIZES_ML[0][0]:
                    maps = {
                        name: _case(scan, case, one, detector) for name, (one, detector) in _paired(detectors, case)
                    }
                    cases.append((kind, case.volume_ml, maps))
    rows = [_lesion_row(kind, bounds, cases, name) for kind, bounds, name in _groups(detectors)]
    head = "Lesion | Size | Cases | Detector | AP, pooled | AP, mean of cases | Hit at the default threshold"
    table(f"Lesion shapes inserted in {len(scans)} held-out healthy T1w scans", head, [row for row in rows if row])


def _variants(prepared: PreparedScan, shape: Path, seed: int) -> list[tuple[str, LesionCase]]:
    shifts = [(f"{gain:+.0%}", insert_lesion(prepared, shape, gain)) for gain in (-0.25, 0.25)]
    return [*shifts, ("texture", insert_texture(prepared, shape, seed))]


def _paired(detectors: dict[str, Detector], case: LesionCase) -> Iterable[tuple[str, tuple[np.ndarray, Detector]]]:
    for name, detector in detectors.items():
        yield name, (anomaly_map(detector, case.prepared), detector)


def _case(scan: CohortScan, case: LesionCase, anomaly: np.ndarray, detector: Detector) -> EvaluatedScan:
    mask, threshold = case.prepared.brain_mask, detector.threshold_for("T1w").value
    return EvaluatedScan(scan.subject, anomaly, case.lesion, mask, _VOXEL_MM3, threshold=threshold)


def _groups(detectors: dict[str, Detector]) -> Iterable[tuple[str, tuple[float, float], str]]:
    for bounds in (*SIZES_ML, (1.0, float("inf"))):
        for kind in ("-25%", "+25%", "texture"):
            for name in detectors:
                yield kind, bounds, name
    for name in detectors:
        yield "±25%", (1.0, float("inf")), name


def _lesion_row(
    kind: str, bounds: tuple[float, float], cases: list[tuple[str, float, dict[str, EvaluatedScan]]], name: str
) -> Sequence[str]:
    kinds = ("-25%", "+25%") if kind == "±25%" else (kind,)
    chosen = [maps[name] for own, size, maps in cases if own in kinds and bounds[0] <= size < bounds[1]]
    if not chosen:
        return ()
    each = [average_precision(ranking(*pooled([case]))) for case in chosen]
    hits = [float((case.anomaly[case.truth] > case.threshold).mean() >= 0.1) for case in chosen]
    size = f"{bounds[0]:g}-{bounds[1]:g} mL" if np.isfinite(bounds[1]) else f">{bounds[0]:g} mL"
    counts = PooledCounts(chosen)
    whole = counts.estimate(average_precision(ranking(*pooled(chosen))), counts.average_precision, 200)
    return kind, size, str(len(chosen)), f"`{name}`", whole.text(), f"{np.mean(each):.3f}", f"{np.mean(hits):.0%}"


def healthy(scans: Sequence[tuple[CohortScan, PreparedScan]], names: Sequence[str]) -> None:
    """Rows of false positives on healthy scans as they are, and after changes that scanners make."""
    shifts: dict[str, Callable[[PreparedScan], PreparedScan]] = {"as it is": lambda prepared: prepared, **SHIFTS}

    def rows() -> Iterable[Sequence[str]]:
        for name in names:
            detector = load_detector(name)
            for scanner, own in _by_scanner(scans).items():
                known = not scanner.startswith(_NEVER_SEEN)
                for shift, change in (shifts if known else {"as it is": shifts["as it is"]}).items():
                    yield _healthy_row(detector, scanner, shift, [(scan, change(one)) for scan, one in own])

    head = (
        "Detector | Scanner | Change | Scans | mL of findings per scan | the same, scans passed by the guard"
        " | Passed | Realised at promised 1 % | at 5 %"
    )
    table("Healthy held-out T1w scans at the default threshold", head, rows())


def _by_scanner(scans: Sequence[tuple[CohortScan, PreparedScan]]) -> dict[str, list[tuple[CohortScan, PreparedScan]]]:
    """The scans of every scanner, at last those of all scanners never seen together."""
    groups: dict[str, list[tuple[CohortScan, PreparedScan]]] = {}
    for pair in sorted(scans, key=lambda pair: pair[0].scanner):
        groups.setdefault(pair[0].scanner, []).append(pair)
    strange = [pair for name, own in groups.items() if name.startswith(_NEVER_SEEN) for pair in own]
    return {**groups, f"{_NEVER_SEEN}: all {len(strange)}": strange} if strange else groups


def _healthy_row(
    detector: Detector, scanner: str, shift: str, scans: Sequence[tuple[CohortScan, PreparedScan]]
) -> Sequence[str]:
    made, passed = [], []
    for scan, prepared in scans:
        reconstruction = detector.reconstruct(prepared)
        assert reconstruction is not None
        score = detector.score(prepared, reconstruction)
        anomaly = cleaned(score.anomaly, score.evaluated) if detector.cleans_map else score.anomaly
        nothing = np.zeros_like(prepared.brain_mask)
        made.append(EvaluatedScan(scan.subject, anomaly, nothing, prepared.brain_mask, _VOXEL_MM3))
        bank = detector.guard_for("T1w")
        assert bank is not None
        scores = {**scan_scores(anomaly, prepared.brain_mask), **reconstruction.scan_scores}
        passed.append(assess(prepared, anomaly, scores, bank, reconstruction.latent).verdict)
    advice, known = detector.threshold_for("T1w"), [verdict == "in distribution" for verdict in passed]
    volumes = [one.ml(found_mask(one, advice.value)) for one in made]
    kept = [volume for volume, own in zip(volumes, known, strict=True) if own]
    rates = [f"{realised_rate(made, advice.by_false_positive_rate[rate]):.2%}" for rate in (0.01, 0.05)]
    alike = estimate_mean(volumes, 500).text(2)
    return (
        *(f"`{detector.name}`", scanner, shift, str(len(made)), alike),
        estimate_mean(kept, 500).text(2) if kept else "-",
        f"{sum(known)} of {len(known)}",
        *rates,
    )


def _changed(prepared: PreparedScan, image: np.ndarray) -> PreparedScan:
    """White matter is 1 again after a change, as the preparation would have it."""
    sure = prepared.brain_mask & (prepared.template.white_matter > 0.8)
    scaled = image / max(float(np.median(image[sure])), 1e-6)
    return replace(prepared, image=np.where(prepared.brain_mask, scaled, 0.0).astype(np.float32))


def _drift(shape: tuple[int, ...]) -> np.ndarray:
    coarse = np.random.default_rng(0).standard_normal((3, 3, 3))
    return np.exp(0.15 * ndimage.zoom(coarse, [size / 3 for size in shape], order=1))


SHIFTS: dict[str, Callable[[PreparedScan], PreparedScan]] = {
    "gamma 0.7": lambda one: _changed(one, np.maximum(one.image, 0.0) ** 0.7),
    "gamma 1.5": lambda one: _changed(one, np.maximum(one.image, 0.0) ** 1.5),
    "drift 15 %": lambda one: _changed(one, one.image * _drift(one.image.shape)),
    "noise 6 %": lambda one: _changed(
        one, one.image + 0.06 * np.random.default_rng(0).standard_normal(one.image.shape)
    ),
    "blur 2.4 mm": lambda one: _changed(one, ndimage.gaussian_filter(one.image, 1.2)),
    "ghost 30 %": lambda one: _changed(one, one.image + 0.3 * np.roll(one.image, one.image.shape[1] // 3, axis=1)),
    "inverted": lambda one: _changed(one, np.maximum(1.5 - one.image, 0.0)),
}


def main() -> None:
    """Print every table that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="prepared scans are kept here (default: prepared anew each time)")
    parser.add_argument("--cases", type=int, default=9, help="held-out scans of each scanner")
    parts = ("mslub", "soop", "lesions", "healthy")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--detector", nargs="+", choices=T1W, default=T1W, help="of the parts lesions and healthy")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if "mslub" in chosen.part:
            mslub(chosen.data)
        if "soop" in chosen.part:
            soop(chosen.data)
        if {"lesions", "healthy"} & set(chosen.part):
            scans = held_out(chosen.data, chosen.cache or Path(scratch), chosen.cases)
            if "healthy" in chosen.part:
                healthy([*scans, *other_scanners(chosen.data, chosen.cache or Path(scratch))], chosen.detector)
            if "lesions" in chosen.part:
                lesions(chosen.data, scans, chosen.detector)


if __name__ == "__main__":
    main()
