"""The proof that a family of trained detectors learns: shared healthy scans, a short training, an inserted lesion.

``prove`` trains a family's small preset on a few real healthy scans and measures, on scans it has not seen, the
reconstruction error before and after training, the raw score inside a lesion before and after it is inserted, and
whether two runs agree. Tests assert on the numbers it returns; times are processor time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from BrainAnomalyLib.detectors.fitting import slices_with_brain, undo_fit
from BrainAnomalyLib.detectors.learned import LearnedDetector
from BrainAnomalyLib.detectors.learning import HealthyScan, Preset
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.io.geometry import FloatArray, MaskArray
from BrainAnomalyLib.io.volumes import read_scan
from BrainAnomalyLib.preparation.intensity.contrast import guess_contrast
from BrainAnomalyLib.preparation.intensity.scale import IntensityScale
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.quality import RegistrationQuality
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyTrainingLib.run.run_folder import RunFolder
from BrainAnomalyTrainingLib.train.trainer import Trainer
from BrainAnomalyTrainingLib.train.training_options import TrainingOptions
from shared_data import FOLDER

SCANS = FOLDER / "ds002748_t1_brain_2mm"
TRAINING_SCANS, HELD_OUT_SCANS = 8, 2
_LESION_CENTER, _LESION_RADIUS = (62, 56, 56), 5.0


@dataclass(frozen=True, eq=False)
class ArrayScan:
    """A prepared scan as the trainer wants it."""

    prepared: PreparedScan

    def image(self) -> FloatArray:
        return self.prepared.image

    def mask(self) -> MaskArray:
        return self.prepared.brain_mask


@dataclass(frozen=True, eq=False)
class Proof:
    """What a family's proof measured; errors are mean absolute differences in the brain (white matter is 1).

    ``lesion_ratios`` are the mean raw score inside a dark and a bright lesion over that of the same voxels before.
    """

    detector: LearnedDetector
    untrained_error: float
    trained_error: float
    mean_image_error: float
    lesion_ratios: tuple[float, float]
    repeats: bool
    training_seconds: float
    seconds_per_scan: float


@lru_cache(maxsize=4)
def prepared_healthy(count: int, recipe: Recipe = Recipe(grid="template_2mm")) -> tuple[PreparedScan, ...]:  # noqa: B008
    """The first ``count`` shared healthy T1w scans (of 26), prepared; kept on disk by content and recipe."""
    return tuple(_prepared(path, recipe) for path in sorted(SCANS.glob("*_T1w.nii.gz"))[:count])


def on_template(image: FloatArray, mask: MaskArray, recipe: Recipe) -> PreparedScan:
    """A prepared scan from arrays on the recipe's grid, as if the submitted scan had lain there."""
    template = load_template(recipe.grid)
    return PreparedScan(
        image=np.where(mask, image, 0.0).astype(np.float32),
        brain_mask=mask,
        template=template,
        recipe=recipe,
        native_grid=template.grid,
        native_brain_mask=mask,
        native_from_template=np.eye(4),
        contrast=guess_contrast(image, mask, template),
        quality=RegistrationQuality(1.0, 1.0, 1.0, "good", ""),
        brain_mask_method="given",
        intensity_scale=IntensityScale(0.0, 1.0),
    )


def with_blob(
    prepared: PreparedScan,
    change: float,
    center: tuple[int, int, int] = _LESION_CENTER,
    radius: float = _LESION_RADIUS,
) -> tuple[PreparedScan, MaskArray]:
    """The scan with intensities times ``1 + change`` inside a soft ball (voxels), and the ball."""
    distance = np.linalg.norm(np.indices(prepared.image.shape).T - np.array(center), axis=-1).T
    soft = np.clip(radius + 0.5 - distance, 0.0, 1.0)
    image = (prepared.image * (1.0 + change * soft)).astype(np.float32)
    return replace(prepared, image=image), (soft > 0.5) & prepared.brain_mask


def train_small(
    detector_class: type[LearnedDetector],
    scans: Sequence[HealthyScan],
    steps: int | None = None,
    seed: int = 0,
    preset: str | Preset = "small",
) -> LearnedDetector:
    """The uncalibrated detector after a preset's training on ``scans``, by the trainer that users' trainings have.

    The images are not varied: a minute is too short to learn from variation.
    """
    chosen = detector_class.presets[preset] if isinstance(preset, str) else preset
    chosen = replace(chosen, steps=steps or chosen.steps, augments=False)
    last = chosen.steps
    options = TrainingOptions(
        last, chosen.batch, seed, device="cpu", validate_every=last, log_every=last, checkpoint_every=last
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(detector_class, chosen, options, RunFolder(Path(folder)))
        trainer.fit(scans, scans[:1])
        return trainer.detector()


def prove(detector_class: type[LearnedDetector], steps: int | None = None, preset: str | Preset = "small") -> Proof:
    """Train on 8 shared healthy scans and measure on 2 others."""
    chosen = detector_class.presets[preset] if isinstance(preset, str) else preset
    scans = prepared_healthy(TRAINING_SCANS + HELD_OUT_SCANS, detector_class.recipe_for(chosen.config))
    training, held_out = scans[:TRAINING_SCANS], scans[TRAINING_SCANS:]
    started = time.process_time()
    detector = train_small(detector_class, [ArrayScan(scan) for scan in training], steps, preset=chosen)
    trained = time.process_time()
    healthy = [detector.reconstruct(scan) for scan in held_out]
    per_scan = (time.process_time() - trained) / len(held_out)
    pairs = list(zip(held_out, healthy, strict=True))
    torch.manual_seed(0)
    untrained = detector_class(detector_class.build(chosen.config), chosen.config)
    return Proof(
        detector=detector,
        untrained_error=reconstruction_error(untrained, held_out[:1]),
        trained_error=float(np.mean([_error(detector, *pair) for pair in pairs])),
        mean_image_error=mean_image_error(detector, training, held_out),
        lesion_ratios=(
            lesion_ratio(detector, held_out[0], -0.4, healthy[0]),
            lesion_ratio(detector, held_out[0], 0.4, healthy[0]),
        ),
        repeats=repeats(detector, *pairs[0]),
        training_seconds=trained - started,
        seconds_per_scan=per_scan,
    )


def reconstruction_error(detector: LearnedDetector, scans: Sequence[PreparedScan]) -> float:
    """Mean absolute difference between scans and their reconstructions in the brain the network sees."""
    return float(np.mean([_error(detector, scan, detector.reconstruct(scan)) for scan in scans]))


def _error(detector: LearnedDetector, scan: PreparedScan, reconstruction: Reconstruction) -> float:
    return float(np.abs(reconstruction.pseudo_healthy - scan.image)[_seen(detector, scan)].mean())


def mean_image_error(
    detector: LearnedDetector, training: Sequence[PreparedScan], held_out: Sequence[PreparedScan]
) -> float:
    """The same error for the voxel-wise mean of the training scans as everyone's reconstruction."""
    total = np.sum([scan.image for scan in training], axis=0)
    mean = total / np.maximum(np.sum([scan.brain_mask for scan in training], axis=0), 1)
    return float(np.mean([np.abs(mean - scan.image)[_seen(detector, scan)].mean() for scan in held_out]))


def lesion_ratio(
    detector: LearnedDetector, scan: PreparedScan, change: float, healthy: Reconstruction | None = None
) -> float:
    """Mean raw score inside an inserted lesion over that of the same voxels without it (``healthy`` if known)."""
    ill, lesion = with_blob(scan, change)
    healthy = healthy or detector.reconstruct(scan)
    before = detector.raw_map(scan.image, scan.brain_mask, healthy)[lesion].mean()
    return float(raw_map(detector, ill)[lesion].mean() / max(before, 1e-6))


def repeats(detector: LearnedDetector, scan: PreparedScan, first: Reconstruction) -> bool:
    """Whether a second run gives the raw map and reconstruction of the first, bit for bit."""
    second = detector.reconstruct(scan)
    maps = [detector.raw_map(scan.image, scan.brain_mask, each) for each in (first, second)]
    return np.array_equal(*maps) and np.array_equal(first.pseudo_healthy, second.pseudo_healthy)


def raw_map(detector: LearnedDetector, scan: PreparedScan) -> FloatArray:
    """The detector's score of a scan before calibration."""
    return detector.raw_map(scan.image, scan.brain_mask, detector.reconstruct(scan))


def _seen(detector: LearnedDetector, scan: PreparedScan) -> MaskArray:
    """The brain inside the crop and, for networks of slices, on the slices that are looked at."""
    crop = detector.config.crop
    reached = undo_fit(np.ones((*crop, scan.image.shape[2])[:3], dtype=bool), scan.image.shape[: len(crop)])
    if len(crop) == 2:
        reached[:, :, np.setdiff1d(np.arange(scan.image.shape[2]), slices_with_brain(scan.brain_mask))] = False
    return scan.brain_mask & reached


def _prepared(path: Path, recipe: Recipe) -> PreparedScan:
    key = hashlib.sha256(path.read_bytes() + recipe.identity().encode()).hexdigest()[:24]
    kept = Path(tempfile.gettempdir()) / "brain_anomaly_prepared" / f"{key}.npz"
    if not kept.is_file():
        _keep(prepare(read_scan(path, "T1w"), recipe), kept)
    with np.load(kept, allow_pickle=False) as arrays:
        return on_template(arrays["image"], arrays["mask"], recipe)


def _keep(prepared: PreparedScan, kept: Path) -> None:
    """Written aside and moved, so that tests at the same time do not read half a file."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_name(f"{kept.stem}.{os.getpid()}.npz")
    np.savez_compressed(unfinished, image=prepared.image, mask=prepared.brain_mask)
    unfinished.replace(kept)
