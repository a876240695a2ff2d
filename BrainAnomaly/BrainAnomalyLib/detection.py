"""The whole way of a scan in one sentence: prepare, reconstruct, score, bring back, find."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .detectors.protocol import Detector, Reconstruction, Score, ThresholdAdvice
from .detectors.registry import detector_for, load_detector
from .devices import processor_count
from .errors import OptionsError
from .findings.changes import PriorDate, followed
from .findings.contrasts_seen import with_contrasts
from .findings.slice_profile import SliceProfile, slice_profile
from .findings.table import Findings, find
from .io.geometry import Affine, Array, FloatArray, MaskArray
from .io.volumes import Scan, checked_mask
from .preparation.intensity.contrast import ContrastGuess
from .preparation.pipeline import AlignedScan, Aligner, contrast_of, into_template
from .preparation.prepared import PreparedScan
from .preparation.recipe import Recipe
from .preparation.space.quality import RegistrationQuality
from .progress import Progress, part, silent
from .regions.naming import structures_on, with_regions
from .scoring.guard import Guard, assess
from .scoring.residuals import cleaned, signed_residual
from .scoring.scan_level import scan_scores

# Name of a detector to the detector.
Loader = Callable[[str], Detector]
# Part of a run after which the scan is aligned.
ALIGNED_FRACTION = 0.5
# Stands before the name of a component among all volumes of a result.
_PART = "component "
# Where the structures come from by which regions are named.
FROM_NETWORK, FROM_TEMPLATE = "the structure network", "the template"


@dataclass(frozen=True, eq=False)
class DetectionOptions:
    """What the user may choose for a run; None means the detector's default.

    ``threshold`` in the anomaly map's unit, ``minimum_mm3`` the size a finding must exceed, ``brain_mask`` (i, j, k
    on the scan's grid) replaces the brain extraction named by ``brain_mask_method`` (of ``brain.methods.CHOICES``).
    """

    threshold: float | None = None
    minimum_mm3: float = 20.0
    brain_mask: MaskArray | None = None
    brain_mask_method: str | None = None

    def checked(self) -> DetectionOptions:
        """These options, or OptionsError."""
        if self.threshold is not None and not (np.isfinite(self.threshold) and self.threshold >= 0.0):
            raise OptionsError("The threshold must be zero or more.", "Anomaly maps have no negative values.")
        if not (np.isfinite(self.minimum_mm3) and self.minimum_mm3 >= 0.0):
            raise OptionsError("The minimum size must be zero or more.", "Give it in cubic millimeters.")
        return self


@dataclass(frozen=True, eq=False)
class Detection:
    """Everything a run yields, on the submitted scan's own grid (i, j, k) and in its own geometry.

    ``pseudo_healthy``, ``uncertainty`` and ``residual`` (scan minus pseudo-healthy, signed) are in the bias-corrected
    scan's intensity units and None for detectors that score directly; ``anomaly`` is in the detector's unit, 0 where
    nothing was evaluated. ``profile`` has one entry per axial template slice. ``guard`` says whether the
    detector knows scans like this one, None for detectors without a calibration. ``components`` are the maps that a
    combined detector's map is made of, by name; of an examination the evidence of each contrast. ``structures``
    (i, j, k; places in ``detectors.anatomy.structures``) belong at every voxel by ``structures_source``: the structure
    network, or the template where it did not look; None where they are not known. ``prior`` is an earlier date of the
    same person that the findings were followed from.
    """

    scan: Scan
    anomaly: FloatArray
    pseudo_healthy: FloatArray | None
    uncertainty: FloatArray | None
    residual: FloatArray | None
    brain_mask: MaskArray
    findings: Findings
    profile: SliceProfile
    template_from_native: Affine
    contrast: ContrastGuess
    quality: RegistrationQuality
    brain_mask_method: str
    detector: dict[str, Any]
    threshold_source: str
    warnings: tuple[str, ...] = field(default=())
    guard: Guard | None = None
    components: dict[str, FloatArray] = field(default_factory=dict)
    structures: Array | None = None
    structures_source: str = ""
    prior: PriorDate | None = None

    def with_threshold(self, threshold: float, minimum_mm3: float) -> Detection:
        """The same maps cut at another threshold; only findings change, nothing is run again."""
        place = self.scan.grid, self.template_from_native
        how = *place, threshold, minimum_mm3, self.residual
        findings = find(self.anomaly, *how) if self.prior is None else followed(self.anomaly, self.prior, *how)
        named = with_regions(with_contrasts(findings, self.components), *place, self.structures)
        return replace(self, findings=named, threshold_source="chosen by the user")


def detect(
    scan: Scan,
    detector: Detector | str | None = None,
    options: DetectionOptions | None = None,
    progress: Progress = silent,
    load: Loader = load_detector,
) -> Detection:
    """Findings of ``scan``, in the scan's own geometry, by ``detector`` or the detector of that name.

    Without one, the detector that suits the scan's contrast is taken: the given one, or what the aligned scan looks
    like. ``load`` makes a detector of a name. Raises BrainAnomalyError in plain words, ScanError for a brain mask that
    does not fit the scan.
    """
    options = options_for((options or DetectionOptions()).checked(), scan)
    way = part(progress, 0.0, ALIGNED_FRACTION)
    aligner = Aligner(scan, options.brain_mask, options.brain_mask_method, way)
    guessed = detector is None and scan.contrast == "unknown"
    found = _loaded(detector or suited_detector(aligner), load, progress, ALIGNED_FRACTION if guessed else 0.0)
    return detect_aligned(aligner.by(found.recipe), found, options, progress)


def suited_detector(aligner: Aligner) -> str:
    """Name of the detector that suits a scan: by its given contrast, else by what it looks like when aligned."""
    given = aligner.scan.contrast
    return detector_for(given if given != "unknown" else contrast_of(aligner.by(Recipe())).contrast)


def options_for(options: DetectionOptions, scan: Scan) -> DetectionOptions:
    """The options with a brain mask that fits the scan. Raises ScanError."""
    if options.brain_mask is None:
        return options
    return replace(options, brain_mask=checked_mask(np.asarray(options.brain_mask), scan.grid, scan, "brain mask"))


def _loaded(detector: Detector | str, load: Loader, progress: Progress, fraction: float) -> Detector:
    if not isinstance(detector, str):
        return detector
    progress("Loading the detector", fraction)
    return load(detector)


def detect_aligned(
    aligned: AlignedScan, detector: Detector, options: DetectionOptions, progress: Progress = silent
) -> Detection:
    """The second half of ``detect``; ``progress`` goes on from ``ALIGNED_FRACTION``."""
    progress("Bringing the scan into template space", ALIGNED_FRACTION)
    prepared = into_template(aligned, detector.recipe)
    progress("Reconstructing a healthy brain", 0.6)
    reconstruction = detector.reconstruct(prepared, part(progress, 0.6, 0.85))
    progress("Scoring differences", 0.85)
    score = detector.score(prepared, reconstruction)
    anomaly = cleaned(score.anomaly, score.evaluated) if detector.cleans_map else score.anomaly
    progress("Collecting findings", 0.92)
    result = _collect(aligned.scan, detector, prepared, reconstruction, replace(score, anomaly=anomaly), options)
    progress("Finished", 1.0)
    return result


def _collect(
    scan: Scan,
    detector: Detector,
    prepared: PreparedScan,
    reconstruction: Reconstruction | None,
    score: Score,
    options: DetectionOptions,
) -> Detection:
    anomaly = score.anomaly
    volumes = {**_in_scan_units(prepared, reconstruction), **{f"{_PART}{n}": v for n, v in score.components.items()}}
    with ThreadPoolExecutor(processor_count()) as threads:
        guarded = threads.submit(_guard, detector, prepared, anomaly, reconstruction)
        native, *brought = threads.map(prepared.to_native, [anomaly, *volumes.values()])
        guard = guarded.result()
    maps = dict(zip(volumes, brought, strict=True))
    advice = detector.threshold_for(prepared.shown)
    threshold = advice.value if options.threshold is None else options.threshold
    source = advice.source if options.threshold is None else "chosen by the user"
    positions = prepared.template.grid.affine[2, 3] + prepared.template.grid.spacing[2] * np.arange(anomaly.shape[2])
    place, seen = (scan.grid, prepared.template_from_native), reconstruction.structures if reconstruction else None
    structures = structures_on(*place, seen)
    findings = find(native, *place, threshold, options.minimum_mm3, maps.get("residual"))
    return Detection(
        scan=scan,
        anomaly=native,
        pseudo_healthy=maps.get("pseudo_healthy"),
        uncertainty=maps.get("uncertainty"),
        residual=maps.get("residual"),
        brain_mask=prepared.native_brain_mask,
        findings=with_regions(findings, *place, structures),
        profile=slice_profile(anomaly, prepared.brain_mask, positions, detector.slice_means_for(prepared.shown)),
        template_from_native=prepared.template_from_native,
        contrast=prepared.contrast,
        quality=prepared.quality,
        brain_mask_method=prepared.brain_mask_method,
        detector=description(detector, advice),
        threshold_source=source,
        warnings=tuple(dict.fromkeys(prepared.warnings + _detector_warnings(detector, prepared, guard))),
        guard=guard,
        components={name.removeprefix(_PART): maps[name] for name in maps if name.startswith(_PART)},
        structures=structures,
        structures_source=FROM_TEMPLATE if seen is None else FROM_NETWORK,
    )


def _guard(
    detector: Detector, prepared: PreparedScan, anomaly: FloatArray, reconstruction: Reconstruction | None
) -> Guard | None:
    """The verdict on the scan as a whole, where the detector has healthy scans to compare it with."""
    bank = detector.guard_for(prepared.shown)
    if bank is None:
        return None
    own, latent = (reconstruction.scan_scores, reconstruction.latent) if reconstruction else ({}, None)
    scores = {**scan_scores(anomaly, prepared.brain_mask), **own}
    return assess(prepared, anomaly, scores, bank, latent)


def _in_scan_units(prepared: PreparedScan, reconstruction: Reconstruction | None) -> dict[str, FloatArray]:
    """Pseudo-healthy volume, signed residual and uncertainty on the template grid in the scan's intensity units."""
    if reconstruction is None:
        return {}
    scale, mask = prepared.intensity_scale, prepared.brain_mask
    healthy, spread = reconstruction.pseudo_healthy, reconstruction.uncertainty
    made = {
        "pseudo_healthy": np.where(mask, scale.undo(healthy), np.float32(0.0)),
        "residual": signed_residual(prepared.image, healthy, mask) * np.float32(scale.factor),
    }
    return made if spread is None else {**made, "uncertainty": spread * np.float32(scale.factor)}


def description(detector: Detector, advice: ThresholdAdvice) -> dict[str, Any]:
    """Name, settings and recipe of a detector as JSON values, for results and reports."""
    return {
        "name": detector.name,
        "title": detector.title,
        "unit": detector.unit,
        "default_threshold": advice.value,
        "thresholds_by_rate": {f"{rate:g}": value for rate, value in advice.by_false_positive_rate.items()},
        "package": detector.package_identity,
        "config": asdict(detector.config),
        "recipe": {**asdict(detector.recipe), "identity": detector.recipe.identity()},
    }


def _detector_warnings(detector: Detector, prepared: PreparedScan, guard: Guard | None) -> tuple[str, ...]:
    """What the user should know before believing the map."""
    if guard is not None:
        return () if guard.verdict == "in distribution" else (f"This scan is {guard.verdict}.", *guard.reasons)
    if prepared.shown in (*detector.contrasts, "unknown"):
        return ()
    meant, told = " or ".join(detector.contrasts), "looks like" if prepared.given == "unknown" else "was given as"
    return (f"This detector is meant for {meant}; the scan {told} {prepared.shown}. Its map may mean nothing.",)
