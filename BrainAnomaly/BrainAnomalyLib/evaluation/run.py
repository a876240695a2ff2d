"""Running detectors over a cohort and collecting what the metrics need, one scan's maps in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..detection import ALIGNED_FRACTION, Detection, DetectionOptions, detect_aligned, suited_detector
from ..detectors.protocol import Detector
from ..detectors.registry import load_detector
from ..errors import BrainAnomalyError, Cancelled, OptionsError, PackageError
from ..io.geometry import Affine, Array, MaskArray
from ..io.volumes import read_mask, read_scan
from ..packages.read import read_metadata
from ..preparation.pipeline import Aligner
from ..progress import Progress, part, silent
from .cases import Case, read_truth
from .scan import EvaluatedScan, box_of, margins_of


@dataclass(frozen=True)
class Failure:
    """A scan that could not be evaluated, and why."""

    case: Case
    reason: str


@dataclass(eq=False)
class Collected:
    """Files of the evaluated scans by detector, in ``scratch``, and the scans that failed."""

    scratch: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def scans(self, detector: str) -> list[EvaluatedScan]:
        """A detector's scans, read from the disk; each volume is cut to the box around its brain."""
        return [_read(file) for file in self.files[detector]]


def collect(
    cases: Sequence[Case],
    detectors: Sequence[str],
    scratch: Path,
    package: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Collected:
    """Every case by every detector (``auto``: the one that suits the contrast). A failing case is told, never fatal.

    Raises OptionsError and PackageError for detectors that cannot be loaded, Cancelled when the user stops.
    """
    collected = Collected(scratch, {name: [] for name in detectors})
    loaded = {name: load_detector(name, package, device) for name in detectors if name != "auto"}
    for index, case in enumerate(cases):
        own = part(progress, index / len(cases), (index + 1) / len(cases))
        try:
            for name, detection, truth in _detections(case, detectors, loaded, package, device, own):
                file = scratch / f"{index:05d}_{name}.npz"
                _write(file, case, detection, truth)
                collected.files[name].append(file)
        except (OptionsError, PackageError, Cancelled, MemoryError):
            raise
        except Exception as error:  # whatever is wrong with one scan, the others are evaluated
            collected.failures.append(Failure(case, _reason(error)))
            _forget(collected, index)
    if not any(collected.files.values()):
        reasons = collected.failures[0].reason if collected.failures else ""
        raise OptionsError(f"No scan of the cohort could be evaluated. {reasons}")
    return collected


def _detections(
    case: Case,
    detectors: Sequence[str],
    loaded: dict[str, Detector],
    package: Path | None,
    device: str,
    progress: Progress,
) -> Iterator[tuple[str, Detection, MaskArray]]:
    scan = read_scan(case.scan, case.contrast)
    truth = np.zeros(scan.array.shape, dtype=bool) if case.truth is None else read_truth(case.truth, scan)
    mask = None if case.mask is None else read_mask(case.mask, scan)
    aligner = Aligner(scan, mask, "auto", part(progress, 0.0, ALIGNED_FRACTION))
    for name in detectors:
        detector = loaded.get(name) or load_detector(_suited(aligner, package), package, device)
        yield name, detect_aligned(aligner.by(detector.recipe), detector, DetectionOptions(), progress), truth


def _suited(aligner: Aligner, package: Path | None) -> str:
    return suited_detector(aligner) if package is None else str(read_metadata(package)["detector"])


def _write(file: Path, case: Case, detection: Detection, truth: MaskArray) -> None:
    """The box around brain and lesions and its margins in the field of view, axes turned so that k runs upwards."""
    inside = detection.brain_mask
    box = box_of(inside | truth)
    grid = detection.scan.grid
    order, flipped = _upright(grid.affine)

    def turned(volume: Array) -> Array:
        moved = np.transpose(volume[box], order)
        return np.ascontiguousarray(np.flip(moved, tuple(axis for axis in range(3) if flipped[axis])))

    margins = margins_of(box, inside.shape)
    volumes: dict[str, Array] = {
        "anomaly": turned(detection.anomaly).astype(np.float32),
        "truth": turned(truth),
        "evaluated": turned(inside),
        "image": turned(_image(detection)).astype(np.float32),
    }
    if detection.pseudo_healthy is not None:
        volumes["pseudo_healthy"] = turned(detection.pseudo_healthy).astype(np.float32)
    np.savez(
        file,
        subject=np.array(case.subject),
        group=np.array(case.group),
        spacing=np.asarray(grid.spacing, dtype=np.float64)[list(order)],
        threshold=np.array(detection.findings.threshold),
        promised=np.array([(float(rate), at) for rate, at in _promised(detection).items()]).reshape(-1, 2),
        p_value=np.array(_p_value(detection)),
        name=np.array(detection.scan.name),
        margins=np.array([margins[axis][:: -1 if flipped[place] else 1] for place, axis in enumerate(order)]),
        **volumes,  # type: ignore[arg-type]
    )


def _reason(error: Exception) -> str:
    if isinstance(error, BrainAnomalyError):
        return error.sentence()
    return f"It failed unexpectedly ({type(error).__name__}: {' '.join(str(error).split())})."


def _image(detection: Detection) -> Array:
    """The scan in the units of its reconstruction, where there is one: bias-corrected."""
    if detection.pseudo_healthy is None or detection.residual is None:
        return detection.scan.array
    return detection.pseudo_healthy + detection.residual


def _promised(detection: Detection) -> dict[str, float]:
    return dict(detection.detector.get("thresholds_by_rate", {}))


def _p_value(detection: Detection) -> float:
    """The conformal p-value of the highest 0.1 % of the map, NaN without a calibration."""
    scores = detection.guard.scores if detection.guard else ()
    return next((score.p for score in scores if score.name == "top_anomaly" and score.p is not None), float("nan"))


def _upright(affine: Affine) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which axis of the scan runs most along right, anterior and superior, and whether it runs against it."""
    from scipy.optimize import linear_sum_assignment

    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = tuple(int(axis) for axis in linear_sum_assignment(-np.abs(directions))[1])
    return order, tuple(bool(directions[row, axis] < 0.0) for row, axis in enumerate(order))


def _read(file: Path) -> EvaluatedScan:
    with np.load(file, allow_pickle=False) as stored:
        return EvaluatedScan(
            subject=str(stored["subject"]),
            anomaly=stored["anomaly"],
            truth=stored["truth"],
            evaluated=stored["evaluated"],
            voxel_mm3=float(np.prod(stored["spacing"])),
            image=stored["image"],
            pseudo_healthy=stored.get("pseudo_healthy", None),
            threshold=float(stored["threshold"]),
            group=str(stored["group"]),
            promised={float(rate): float(at) for rate, at in stored["promised"]},
            p_value=float(stored["p_value"]),
            name=str(stored["name"]),
            margins=tuple((int(before), int(after)) for before, after in stored["margins"]),  # type: ignore[arg-type]
            spacing=tuple(float(size) for size in stored["spacing"]),  # type: ignore[arg-type]
        )


def _forget(collected: Collected, index: int) -> None:
    """Take a case that failed for one detector out for all, so that all are compared on the same scans."""
    for files in collected.files.values():
        for file in [file for file in files if file.name.startswith(f"{index:05d}_")]:
            files.remove(file)
            with suppress(OSError):
                file.unlink()
