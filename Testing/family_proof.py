"""The proof that a family of trained detectors learns: shared healthy scans, a short training, an inserted lesion.

``prove`` trains a family's small preset on a few real healthy scans and measures on scans it has not seen what a
reconstruction is good for: that it is near the scan (against the untrained network and against the mean of the training
scans for everyone), that it is this scan's and not any brain's, that it leaves an inserted lesion out, and that the raw
score rises in the lesion. Tests assert on the numbers it returns; times are processor time.
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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
# What a coarse proof looks at: every other slice about the lesion, in voxels of 4 mm.
_COARSE_SLICES = slice(26, 30)
_COARSE_CROP = (48, 48, 16)
# What goes with voxels twice as large: noise of the same wavelength, patches, tokens and averaged blocks as before.
_COARSE: dict[str, dict[str, Any]] = {
    "residual_autoencoder": {"coarsening": 1},
    "spatial_autoencoder": {"coarsening": 1},
    "context_autoencoder": {"patch": 8},
    "adversarial_autoencoder": {"coarseness": 2},
    "f_anogan": {"coarseness": 2},
    "vq_transformer": {"channels": (16, 32), "threshold": 0.05},
    "simplex_diffusion": {"frequency": 16.0, "octaves": 4},
    "conditioned_diffusion": {"frequency": 16.0, "octaves": 4},
    "patched_diffusion": {"frequency": 16.0, "octaves": 4, "patch": 24},
}


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

    ``others_error`` is that of the reconstructions to the other held-out scans: it equals ``trained_error`` if the
    reconstruction is the same for everyone. Of a dark and a bright lesion: ``lesion_ratios`` are the mean raw score
    inside over that of the same voxels before, ``lesion_kept`` the part of the change that the reconstruction follows
    (1 for a copy of the scan, 0 if it is the healthy scan's).
    """

    detector: LearnedDetector
    untrained_error: float
    trained_error: float
    others_error: float
    mean_image_error: float
    lesion_ratios: tuple[float, float]
    lesion_kept: tuple[float, float]
    repeats: bool
    training_seconds: float
    seconds_per_scan: float


@dataclass(frozen=True)
class Limits:
    """What a short training must reach: largest errors and part of a lesion followed, smallest rises of the score.

    ``of_mean`` and ``of_others`` are ``trained_error`` over ``mean_image_error`` and over ``others_error``; ``kept``
    holds for both lesions, and so does each of the rises ``dark`` and ``bright`` for its own. None: so short a training
    says nothing of it, the benchmark of families does. The limits leave room above the worst of the seeds tried.
    """

    of_mean: float
    of_others: float
    kept: float
    dark: float | None
    bright: float | None

    def broken(self, proof: Proof) -> list[str]:
        """The statements that a proof does not keep, with its numbers."""
        dark, bright = proof.lesion_ratios
        kept = max(map(abs, proof.lesion_kept))
        statements = {
            f"error {proof.trained_error:.3f} of the mean image's {proof.mean_image_error:.3f}": (
                proof.trained_error < self.of_mean * proof.mean_image_error
            ),
            f"error {proof.trained_error:.3f} of {proof.others_error:.3f} to other brains": (
                proof.trained_error < self.of_others * proof.others_error
            ),
            f"part {kept:.2f} of the lesion is kept": kept < self.kept,
            f"a dark lesion raises the score by {dark:.2f}": self.dark is None or dark > self.dark,
            f"a bright lesion raises the score by {bright:.2f}": self.bright is None or bright > self.bright,
            "a second run gives the same": proof.repeats,
        }
        return [statement for statement, holds in statements.items() if not holds]


@lru_cache(maxsize=4)
def prepared_healthy(
    count: int,
    recipe: Recipe = Recipe(grid="template_2mm"),  # noqa: B008
    kept: Path | None = None,
) -> tuple[PreparedScan, ...]:
    """The first ``count`` shared healthy T1w scans (of 26), prepared, or read from the folder ``kept``."""
    return tuple(_prepared(path, recipe, kept) for path in sorted(SCANS.glob("*_T1w.nii.gz"))[:count])


@lru_cache(maxsize=2)
def healthy_scan(index: int) -> PreparedScan:
    """One of the shared healthy T1w scans, prepared at 2 mm."""
    return _prepared(sorted(SCANS.glob("*_T1w.nii.gz"))[index], Recipe(grid="template_2mm"), None)


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
    center: tuple[float, ...] = _LESION_CENTER,
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


def prove(detector_class: type[LearnedDetector], kept: Path | None = None) -> Proof:
    """Train the small preset on 8 shared healthy scans at 2 mm and measure on 2 others: minutes."""
    preset = detector_class.presets["small"]
    recipe = detector_class.recipe_for(preset.config)
    return proof_on(prepared_healthy(TRAINING_SCANS + HELD_OUT_SCANS, recipe, kept), detector_class, preset)


def try_out(detector_class: type[LearnedDetector], steps: int, seed: int = 0, **changes: Any) -> Proof:
    """The same in seconds, on made brains; ``changes`` are of the small preset's configuration."""
    preset = coarse_preset(detector_class)
    preset = replace(preset, config=replace(preset.config, **changes))
    return proof_on(made_brains(), detector_class, preset, steps, seed)


def proof_on(
    scans: Sequence[PreparedScan],
    detector_class: type[LearnedDetector],
    chosen: Preset,
    steps: int | None = None,
    seed: int = 0,
) -> Proof:
    """Train on all but the last two scans and measure on these."""
    training, held_out = scans[:-HELD_OUT_SCANS], scans[-HELD_OUT_SCANS:]
    started = time.process_time()
    detector = train_small(detector_class, [ArrayScan(scan) for scan in training], steps, seed, chosen)
    trained = time.process_time()
    healthy = [detector.reconstruct(scan) for scan in held_out]
    per_scan = (time.process_time() - trained) / len(held_out)
    torch.manual_seed(seed)
    untrained = detector_class(detector_class.build(chosen.config), chosen.config)
    lesions = [_lesion(detector, held_out[0], change, healthy[0]) for change in (-0.4, 0.4)]
    return Proof(
        detector=detector,
        untrained_error=reconstruction_error(untrained, held_out[:1]),
        trained_error=_mean_error(detector, held_out, healthy),
        others_error=_mean_error(detector, held_out, healthy[::-1]),
        mean_image_error=mean_image_error(detector, training, held_out),
        lesion_ratios=(lesions[0][0], lesions[1][0]),
        lesion_kept=(lesions[0][1], lesions[1][1]),
        repeats=repeats(detector, held_out[0], healthy[0]),
        training_seconds=trained - started,
        seconds_per_scan=per_scan,
    )


def coarse_preset(detector_class: type[LearnedDetector]) -> Preset:
    """The small preset for images in voxels of 4 mm."""
    preset = detector_class.presets["small"]
    config = preset.config
    changes = _COARSE.get(detector_class.name, {})
    return replace(preset, config=replace(config, crop=_COARSE_CROP[: len(config.crop)], **changes))


@lru_cache(maxsize=1)
def made_brains() -> tuple[PreparedScan, ...]:
    """16 brains to learn from and 2 others: the template's tissues in voxels of 4 mm, four slices about the lesion.

    White matter is 1; gray matter (0.5 to 1.3) and fluid (0.1 to 0.9) differ from brain to brain, so that the mean of
    all brains is nobody's, and all of it is two numbers that a network can learn in seconds.
    """
    random = np.random.default_rng(0)
    grays, fluids = random.permutation(np.linspace(0.5, 1.3, 18)), random.permutation(np.linspace(0.1, 0.9, 18))
    return tuple(_made_brain(gray, fluid, random) for gray, fluid in zip(grays, fluids, strict=True))


def _made_brain(gray: float, fluid: float, random: np.random.Generator) -> PreparedScan:
    template = load_template("template_2mm")
    white, gray_matter, csf = map(_blocks, (template.white_matter, template.gray_matter, template.cerebrospinal_fluid))
    mask = _blocks(template.brain_mask) > 0.5
    mask[:, :, : _COARSE_SLICES.start] = mask[:, :, _COARSE_SLICES.stop :] = False
    image = white + gray * gray_matter + fluid * csf + random.normal(0.0, 0.01, mask.shape)
    whole = on_template(template.brain, template.brain_mask, Recipe(grid="template_2mm"))
    return replace(whole, image=np.where(mask, image, 0.0).astype(np.float32), brain_mask=mask)


def _blocks(volume: NDArray[Any]) -> FloatArray:
    """Means of blocks of 2 x 2 x 2 voxels."""
    i, j, k = (size // 2 for size in volume.shape)
    return volume.astype(np.float32).reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))


def reconstruction_error(detector: LearnedDetector, scans: Sequence[PreparedScan]) -> float:
    """Mean absolute difference between scans and their reconstructions in the brain the network sees."""
    return float(np.mean([_error(detector, scan, detector.reconstruct(scan)) for scan in scans]))


def _error(detector: LearnedDetector, scan: PreparedScan, reconstruction: Reconstruction) -> float:
    return float(np.abs(reconstruction.pseudo_healthy - scan.image)[_seen(detector, scan)].mean())


def _mean_error(
    detector: LearnedDetector, scans: Sequence[PreparedScan], reconstructions: Sequence[Reconstruction]
) -> float:
    """Mean error over pairs, in the brain that all of the scans have, so that the order does not matter."""
    seen = np.logical_and.reduce([_seen(detector, scan) for scan in scans])
    pairs = zip(scans, reconstructions, strict=True)
    return float(np.mean([np.abs(found.pseudo_healthy - scan.image)[seen].mean() for scan, found in pairs]))


def mean_image_error(
    detector: LearnedDetector, training: Sequence[PreparedScan], held_out: Sequence[PreparedScan]
) -> float:
    """The same error for the voxel-wise mean of the training scans as everyone's reconstruction."""
    total = np.sum([scan.image for scan in training], axis=0)
    mean = total / np.maximum(np.sum([scan.brain_mask for scan in training], axis=0), 1)
    return float(np.mean([np.abs(mean - scan.image)[_seen(detector, scan)].mean() for scan in held_out]))


def _lesion(
    detector: LearnedDetector, scan: PreparedScan, change: float, healthy: Reconstruction
) -> tuple[float, float]:
    """Ratio of the raw scores and part of the change that the reconstruction follows, inside an inserted lesion."""
    finer = load_template(scan.recipe.grid).grid.shape[0] // scan.image.shape[0]
    ill, lesion = with_blob(scan, change, tuple(place / finer for place in _LESION_CENTER), _LESION_RADIUS / finer)
    found = detector.reconstruct(ill)
    before, after = (
        detector.raw_map(each.image, scan.brain_mask, restored)[lesion].mean()
        for each, restored in ((scan, healthy), (ill, found))
    )
    followed = (found.pseudo_healthy - healthy.pseudo_healthy)[lesion].mean()
    return float(after / max(before, 1e-6)), float(followed / (ill.image - scan.image)[lesion].mean())


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


def _prepared(path: Path, recipe: Recipe, folder: Path | None) -> PreparedScan:
    if folder is None:
        return prepare(read_scan(path, "T1w"), recipe)
    kept = folder / f"{hashlib.sha256(path.read_bytes() + recipe.identity().encode()).hexdigest()[:24]}.npz"
    if not kept.is_file():
        _keep(prepare(read_scan(path, "T1w"), recipe), kept)
    with np.load(kept, allow_pickle=False) as arrays:
        return on_template(arrays["image"], arrays["mask"], recipe)


def _keep(prepared: PreparedScan, kept: Path) -> None:
    """Written aside and moved, so that tests at the same time do not read half a file."""
    unfinished = kept.with_name(f"{kept.stem}.{os.getpid()}.npz")
    np.savez_compressed(unfinished, image=prepared.image, mask=prepared.brain_mask)
    unfinished.replace(kept)
