"""Several contrasts of one session: each registered to the first, detected in, and pooled to one map and one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..detection import Detection, DetectionOptions, Loader, detect_aligned, options_for, suited_detector
from ..detectors.registry import load_detector
from ..errors import OptionsError
from ..findings.contrasts_seen import with_contrasts
from ..findings.slice_profile import slice_profile
from ..findings.table import find
from ..io.geometry import Affine, FloatArray, MaskArray, inverse
from ..io.resampling import resample
from ..io.volumes import Contrast, Scan
from ..preparation.pipeline import AlignedScan, Aligner, contrast_of
from ..preparation.recipe import Recipe
from ..preparation.space.template import load_template
from ..progress import Progress, part, silent
from ..regions.naming import with_regions
from .joint_intensity import joint_evidence
from .placing import placed
from .pooling import DEFAULT_EVIDENCE, JOINT, UNIT, WEIGHTS, map_evidence, pooled

NAME, TITLE = "examination", "Several contrasts together"
_SOURCE = "what marks about 1 mL in a healthy brain, all contrasts taken together"
# Parts of the brain of these sizes say nothing (voxels).
_FEWEST = 1000


@dataclass(frozen=True, eq=False)
class Seen:
    """What one contrast shows: its detection on its own grid, and where that lies relative to the first scan."""

    contrast: Contrast
    detection: Detection
    aligned: AlignedScan
    own_from_first: Affine


def detect_examination(
    scans: Sequence[Scan],
    options: DetectionOptions | None = None,
    progress: Progress = silent,
    load: Loader = load_detector,
) -> Detection:
    """Findings of several contrasts of one session together, in the geometry of the first of ``scans``.

    Each is registered rigidly to the first one and gets the program's detector for its contrast. ``anomaly`` is the
    pooled map (``pooling.UNIT``), ``components`` hold the evidence of every contrast, below 0 where it looks darker
    than expected, and of all intensities together. The brain mask of ``options`` is the first scan's, the threshold is
    one of the pooled map. Raises BrainAnomalyError, PreparationError for scans that are not of one head.
    """
    options = (options or DetectionOptions()).checked()
    if len(scans) < 2:
        raise OptionsError("An examination needs at least two contrasts.", "Give one more scan, or detect in one.")
    options = options_for(options, scans[0])
    seen = _all_seen(scans, options, progress, load)
    progress("Pooling the contrasts", 0.95)
    result = pooled_detection(seen, options.minimum_mm3, options.threshold)
    progress("Finished", 1.0)
    return result


def _all_seen(scans: Sequence[Scan], options: DetectionOptions, progress: Progress, load: Loader) -> list[Seen]:
    aligners = [
        Aligner(scan, options.brain_mask if number == 0 else None, options.brain_mask_method)
        for number, scan in enumerate(scans)
    ]
    contrasts = _contrasts(aligners, part(progress, 0.0, 0.25))
    found: list[Seen] = []
    for number, (aligner, contrast) in enumerate(zip(aligners, contrasts, strict=True)):
        way = part(progress, *(0.25 + 0.7 * place / len(scans) for place in (number, number + 1)))
        found.append(_seen(aligner, contrast, found[0].aligned if found else None, options, way, load))
    return found


def _contrasts(aligners: Sequence[Aligner], progress: Progress) -> list[Contrast]:
    """What every scan shows. Raises OptionsError for two of the same."""
    found: list[Contrast] = []
    for number, aligner in enumerate(aligners):
        progress(f"Looking at '{aligner.scan.name}'", number / len(aligners))
        given = aligner.scan.contrast
        contrast = given if given != "unknown" else contrast_of(aligner.by(Recipe())).contrast
        if contrast in found:
            other = aligners[found.index(contrast)].scan.name
            raise OptionsError(
                f"'{other}' and '{aligner.scan.name}' are both {contrast}.",
                "Give each contrast once, or say for every scan what it shows.",
            )
        found.append(contrast)
    return found


def _seen(
    aligner: Aligner,
    contrast: Contrast,
    first: AlignedScan | None,
    options: DetectionOptions,
    progress: Progress,
    load: Loader,
) -> Seen:
    detector = load(suited_detector(aligner))
    aligned, own_from_first = aligner.by(detector.recipe), np.eye(4)
    if not detector.threshold_for(contrast).by_false_positive_rate:
        raise OptionsError(f"There is no calibrated detector for {contrast}.", "Leave that scan out.")
    if first is not None:
        progress(f"Registering '{aligner.scan.name}'", 0.0)
        own_from_first = placed(first, aligned)
        onto = own_from_first @ first.registration.scan_from_template
        aligned = replace(aligned, registration=replace(aligned.registration, scan_from_template=onto))
    own = replace(options, threshold=None)
    return Seen(contrast, detect_aligned(aligned, detector, own, part(progress, 0.0, 1.0)), aligned, own_from_first)


def pooled_detection(seen: Sequence[Seen], minimum_mm3: float, threshold: float | None) -> Detection:
    """One detection of all contrasts, on the grid of the first; ``threshold`` None for the default."""
    first = seen[0].detection
    mask, grid = first.brain_mask, first.scan.grid
    evidence: dict[str, FloatArray] = {
        one.contrast: np.where(mask, _evidence(one, first), 0.0).astype(np.float32) for one in seen
    }
    fields: dict[str, MaskArray] = {one.contrast: mask & _field(one, first) for one in seen}
    evidence[JOINT] = _joint(seen, fields, mask)
    fields[JOINT] = np.logical_and.reduce([fields[one.contrast] for one in seen])
    anomaly = pooled_map(evidence, fields)
    signs: dict[str, FloatArray] = {one.contrast: _sign(one, first) for one in seen}
    signed = {name: values * signs.get(name, np.float32(1.0)) for name, values in evidence.items()}
    limit = DEFAULT_EVIDENCE if threshold is None else threshold
    place = grid, first.template_from_native
    findings = with_contrasts(find(anomaly, *place, limit, minimum_mm3, first.residual), signed)
    return replace(
        first,
        anomaly=anomaly,
        findings=with_regions(findings, *place, first.structures),
        profile=_profile(anomaly, first),
        detector=_description(seen),
        threshold_source=_SOURCE if threshold is None else "chosen by the user",
        warnings=_warnings(seen),
        components=signed,
    )


def pooled_map(evidence: Mapping[str, FloatArray], fields: Mapping[str, MaskArray]) -> FloatArray:
    """The pooled evidence (i, j, k), at every voxel of those parts whose scans reach it; 0 where none does."""
    codes = np.zeros(next(iter(evidence.values())).shape, dtype=np.int32)
    for place, name in enumerate(evidence):
        codes |= fields[name].astype(np.int32) << place
    found = np.zeros(codes.shape, dtype=np.float32)
    for code in np.unique(codes[codes > 0]):
        here = codes == code
        names = [name for place, name in enumerate(evidence) if code >> place & 1]
        found[here] = pooled({name: evidence[name][here] for name in names})
    return found


def _evidence(one: Seen, first: Detection) -> FloatArray:
    """The contrast's evidence on the first scan's grid."""
    rates = {float(rate): value for rate, value in one.detection.detector["thresholds_by_rate"].items()}
    return _moved(map_evidence(one.detection.anomaly, rates), one, first)


def _field(one: Seen, first: Detection) -> MaskArray:
    """Where the contrast's scan reaches on the first one's grid."""
    everywhere = np.ones(one.detection.scan.grid.shape, dtype=np.float32)
    return np.asarray(_moved(everywhere, one, first) > 0.5)


def _sign(one: Seen, first: Detection) -> FloatArray:
    """1 where the contrast looks brighter than expected or as bright, -1 where darker."""
    residual = one.detection.residual
    if residual is None:
        return np.ones(first.scan.grid.shape, dtype=np.float32)
    return np.where(_moved(residual, one, first) < 0.0, -1.0, 1.0).astype(np.float32)


def _joint(seen: Sequence[Seen], fields: Mapping[str, MaskArray], mask: MaskArray) -> FloatArray:
    """How unusual all intensities are together, where every scan reaches."""
    first = seen[0].detection
    inside = np.logical_and.reduce([mask, *fields.values()])
    if np.count_nonzero(inside) < _FEWEST:
        return np.zeros(mask.shape, dtype=np.float32)
    images = [_moved(one.aligned.image.astype(np.float32, copy=False), one, first) for one in seen]
    return joint_evidence(images, inside, first.scan.grid, first.template_from_native)


def _moved(volume: FloatArray, one: Seen, first: Detection) -> FloatArray:
    """A volume of one contrast on the first scan's grid."""
    grid, onto = one.detection.scan.grid, first.scan.grid
    if one.detection is first:
        return volume
    return np.asarray(resample(volume, grid, onto, one.own_from_first), dtype=np.float32)


def _profile(anomaly: FloatArray, first: Detection) -> Any:
    """The pooled map's profile on the template's slices."""
    template = load_template("template_2mm")
    back = inverse(first.template_from_native)
    moved = resample(anomaly, first.scan.grid, template.grid, back)
    brain = resample(first.brain_mask.astype(np.float32), first.scan.grid, template.grid, back) > 0.5
    positions = template.grid.affine[2, 3] + template.grid.spacing[2] * np.arange(moved.shape[2])
    return slice_profile(moved, np.asarray(brain), positions)


def _description(seen: Sequence[Seen]) -> dict[str, Any]:
    first = seen[0].detection.detector
    return {
        "name": NAME,
        "title": TITLE,
        "unit": UNIT,
        "default_threshold": DEFAULT_EVIDENCE,
        "thresholds_by_rate": {f"{rate:g}": float(-np.log10(rate)) for rate in (0.1, 0.05, 0.01, 0.005, 0.001)},
        "package": None,
        "config": {"weights": {name: WEIGHTS[name] for name in (*(one.contrast for one in seen), JOINT)}},
        "recipe": first["recipe"],
        "contrasts": [
            {
                "contrast": one.contrast,
                "scan": one.detection.scan.name,
                "own_from_first": one.own_from_first.tolist(),
                "detector": one.detection.detector,
            }
            for one in seen
        ],
    }


def _warnings(seen: Sequence[Seen]) -> tuple[str, ...]:
    """Of every contrast, named."""
    return tuple(f"{one.contrast}: {text}" for one in seen for text in one.detection.warnings)
