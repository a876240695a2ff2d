"""Whether a scan is one the detector can judge: its contrast, histogram, brain and alignment against healthy scans.

A package keeps the features of its calibration's healthy scans. A new scan is compared with all of them together
(Mahalanobis distance with a full-conformal p-value), by its histogram (Wasserstein distance), and feature by feature
(Student-t prediction intervals), so that the verdict comes with reasons a reader can check. Where the detector says how
much of a scan its own healthy structures leave unexplained, that decides in the place of these: it differs little
between scanners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..io.geometry import Array, FloatArray
from ..io.volumes import Contrast
from ..preparation.prepared import PreparedScan
from ..preparation.space.quality import RegistrationQuality
from .conformal import p_value, refusal
from .scan_level import (
    FEATURE_NAMES,
    QUANTILES,
    Vector,
    leave_one_out_distances,
    mahalanobis,
    quantile_distance,
    scan_features,
    shrunk_covariance,
)

Verdict = Literal["in distribution", "unusual", "out of distribution"]

FEATURES_TENSOR = "guard_features"
LATENTS_TENSOR = "guard_latents"
SCORE_TENSOR_PREFIX = "scan_score_"
# Share of the variance of a scan's healthy voxels that the levels of its own structures leave unexplained.
UNEXPLAINED = "unexplained"
# Half more than the standard deviation over 18 healthy T1w heads of two scanners (0.011): others differ more.
_LEAST_SPREAD_UNEXPLAINED = 0.016
LEVEL = 0.05
FEWEST_SCANS = 3
SURE_CONTRAST = 0.7
# Two-sided probabilities, under Student's t, at which one feature alone makes a scan unusual or a foreign one.
_UNUSUAL_P, _FOREIGN_P = 1e-3, 1e-6
# How many times the farthest healthy scan's distance makes a scan a foreign one. Measured with those 15 scans as the
# bank: each of them, left out, 0.3 to 1.2; healthy T1w scans of four other scanners 1.0 to 2.3; an MS patient's T1w 3.7
# and FLAIR 4.4, another FLAIR 4.7, thick-slice and isotropic T2w 7 to 26.
_FAR = 2.5

# Spreads below these say more about a small bank than about healthy brains: about half of the standard deviation over
# 15 healthy T1w scans of two scanners (4 of IXI, 11 of OpenNeuro ds002748), in the features' own units.
_LEAST_SPREAD = {
    "log_gray_to_white": 0.04,
    "log_fluid_to_white": 0.07,
    "tissue_agreement": 0.025,
    "mask_overlap": 0.006,
    "log_brain_ml": 0.018,
    "log_median_anomaly": 0.045,
}
_LEAST_SPREAD_QUANTILE = 0.015

# Feature -> what a reader is told when it is too low and too high.
_WORDS = {
    "log_gray_to_white": (
        "Gray matter is darker, against white matter, than in the healthy scans: another contrast or protocol.",
        "Gray matter is brighter, against white matter, than in the healthy scans: another contrast or protocol.",
    ),
    "log_fluid_to_white": (
        "The fluid is darker, against white matter, than in the healthy scans: another contrast or protocol.",
        "The fluid is brighter, against white matter, than in the healthy scans: another contrast or protocol.",
    ),
    "tissue_agreement": ("The tissues agree less with the template than in the healthy scans.", ""),
    "mask_overlap": ("The brain's outline fits the template less well than in the healthy scans.", ""),
    "log_brain_ml": (
        "The brain is smaller than the healthy ones once aligned: part of it is missing or its mask is wrong.",
        "The brain is larger than the healthy ones once aligned: its mask may hold more than the brain.",
    ),
    "log_median_anomaly": (
        "",
        "The anomaly map is higher all over the brain than in the healthy scans, not only in parts.",
    ),
}


@dataclass(frozen=True, eq=False)
class GuardBank:
    """What healthy scans look like to a package.

    ``features`` (n, d) in the order of ``names``, ``scores`` scan-level scores (n,) by name, higher for less healthy,
    ``latents`` (n, z) the networks' codes if the family has them, ``contrasts`` those the package is for.
    """

    features: Vector
    scores: Mapping[str, Vector]
    contrasts: tuple[Contrast, ...] = ()
    latents: Vector | None = None
    names: tuple[str, ...] = FEATURE_NAMES

    @property
    def scans(self) -> int:
        """Number of healthy scans."""
        return len(self.features)

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays to save in ``calibration.safetensors``, by name."""
        arrays = {FEATURES_TENSOR: self.features}
        arrays |= {f"{SCORE_TENSOR_PREFIX}{name}": values for name, values in self.scores.items()}
        arrays |= {} if self.latents is None else {LATENTS_TENSOR: self.latents}
        return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in arrays.items()}

    def entries(self) -> dict[str, list[str]]:
        """What belongs into the metadata's ``calibration`` beside the tensors."""
        return {"guard_features": list(self.names), "scan_scores": list(self.scores)}


def bank_from_tensors(
    tensors: Mapping[str, Array], calibration: Mapping[str, Any], contrasts: tuple[Contrast, ...] = ()
) -> GuardBank | None:
    """The bank of a calibration's arrays and metadata entries; None if there is none or it is of other features."""
    if FEATURES_TENSOR not in tensors or tuple(calibration.get("guard_features", ())) != FEATURE_NAMES:
        return None
    names = calibration.get("scan_scores", ())
    stored = {name: tensors[key] for name in names if (key := f"{SCORE_TENSOR_PREFIX}{name}") in tensors}
    scores = {name: np.asarray(values, dtype=np.float64) for name, values in stored.items()}
    latents = np.asarray(tensors[LATENTS_TENSOR], dtype=np.float64) if LATENTS_TENSOR in tensors else None
    return GuardBank(np.asarray(tensors[FEATURES_TENSOR], dtype=np.float64), scores, contrasts, latents)


@dataclass(frozen=True)
class ScanScore:
    """A scan-level score with its conformal p-value; ``p`` is None and ``reason`` says why where there is none."""

    name: str
    value: float
    p: float | None
    reason: str = ""


@dataclass(frozen=True)
class Guard:
    """The verdict on a whole scan with plain ``reasons``, and its ``scores`` against ``scans`` healthy scans.

    The scores of the anomaly map do not decide the verdict: a lesion makes a map unusual, not a scan.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    scores: tuple[ScanScore, ...]
    scans: int

    def to_json(self) -> dict[str, Any]:
        """All entries as JSON values."""
        scores = [{**vars(score), "value": score.value if np.isfinite(score.value) else None} for score in self.scores]
        return {"verdict": self.verdict, "reasons": list(self.reasons), "scans": self.scans, "scores": scores}


def assess(
    prepared: PreparedScan,
    anomaly: FloatArray,
    scan_scores: Mapping[str, float],
    bank: GuardBank,
    latent: Array | None = None,
) -> Guard:
    """Judge a prepared scan and its cleaned anomaly map (template grid) against the healthy scans of a package.

    ``scan_scores`` (by the bank's names) and ``latent`` (z,) come from the detector.
    """
    features = scan_features(prepared, anomaly)
    evidence = [*_contrast_evidence(prepared, bank), *_registration_evidence(prepared.quality)]
    by_fit = UNEXPLAINED in bank.scores and UNEXPLAINED in scan_scores
    evidence += _fit_evidence(scan_scores[UNEXPLAINED], bank) if by_fit else _feature_evidence(features, bank)
    distances = [] if by_fit else list(_distances(features, bank, latent))
    evidence += _distance_evidence(distances, unusual=bool(evidence))
    given = [_scan_score(name, value, bank.scores.get(name)) for name, value in scan_scores.items()]
    worst = max((level for level, _ in evidence), default=0)
    ranked = sorted(evidence, key=lambda found: -found[0])
    reasons = tuple(dict.fromkeys(sentence for _, sentence in ranked))
    return Guard(_VERDICTS[worst], reasons, (*(distance.score for distance in distances), *given), bank.scans)


_VERDICTS: tuple[Verdict, ...] = ("in distribution", "unusual", "out of distribution")
_UNUSUAL, _FOREIGN = 1, 2
# How grave a finding is (an index of _VERDICTS), and a sentence for the reader.
_Evidence = tuple[int, str]


def _contrast_evidence(prepared: PreparedScan, bank: GuardBank) -> list[_Evidence]:
    """What is given counts where the intensities leave doubts; they are believed where they are sure."""
    seen, known = prepared.contrast, bank.contrasts
    meant = " or ".join(known)
    if known and prepared.given not in (*known, "unknown"):
        return [(_FOREIGN, f"The scan was given as {prepared.given}; the detector knows {meant}.")]
    if not known or seen.contrast in known:
        return []
    if seen.contrast == "unknown" or seen.confidence < SURE_CONTRAST:
        unsure = f"The contrast cannot be told for sure; the detector knows {meant}."
        return [] if prepared.given in known else [(_UNUSUAL, unsure)]
    return [(_FOREIGN, f"The scan looks like {seen.contrast}; the detector knows {meant}.")]


def _registration_evidence(quality: RegistrationQuality) -> list[_Evidence]:
    if quality.verdict == "good":
        return []
    level = _FOREIGN if quality.verdict == "failed" else _UNUSUAL
    return [(level, f"Alignment with the template is {quality.verdict}: {quality.reason}")]


def _fit_evidence(value: float, bank: GuardBank) -> list[_Evidence]:
    """More left unexplained than healthy scans leave, by Student-t prediction."""
    from scipy import stats

    if bank.scans < FEWEST_SCANS:
        return []
    healthy = bank.scores[UNEXPLAINED]
    statistic = _students_t(value, healthy, _LEAST_SPREAD_UNEXPLAINED)
    chance = float(stats.t.sf(statistic, len(healthy) - 1))
    if np.isfinite(value) and chance >= _UNUSUAL_P:
        return []
    known = " or ".join(bank.contrasts) or "that contrast"
    sentence = (
        f"The scan's own healthy structures explain {1.0 - value:.0%} of it, {1.0 - healthy.mean():.0%} of healthy "
        f"scans: artifacts, a wrong brain mask, or no {known}. Look at the mask, give the right contrast, or calibrate "
        "on healthy scans of this scanner (Brain Anomaly Training)."
    )
    return [(_UNUSUAL if chance >= _FOREIGN_P else _FOREIGN, sentence)]


def _feature_evidence(features: Vector, bank: GuardBank) -> list[_Evidence]:
    """Single features outside of their prediction intervals."""
    if not np.isfinite(features).all():
        return [(_FOREIGN, "The scan's intensities are not finite numbers.")]
    if bank.scans < FEWEST_SCANS:
        return []
    found = []
    for name, statistic, chance in zip(FEATURE_NAMES, *prediction(features, bank), strict=True):
        sentence = _WORDS.get(name, ("", ""))[int(statistic > 0)]
        if sentence and chance < _UNUSUAL_P:
            found.append((_FOREIGN if chance < _FOREIGN_P else _UNUSUAL, sentence))
    return found


def prediction(features: Vector, bank: GuardBank) -> tuple[Vector, Vector]:
    """Student's t of each feature as one more draw from the bank's normal distribution, and its two-sided chance."""
    from scipy import stats

    statistic = _students_t(features, bank.features, least_spread())
    return statistic, np.asarray(2.0 * stats.t.sf(np.abs(statistic), bank.scans - 1))


def _students_t(values: Vector | float, healthy: Vector, least: Vector | float) -> Vector:
    """t = (x - mean) / (s sqrt(1 + 1 / n)) with n - 1 degrees of freedom, of ``healthy`` (n first); s is ``least`` or
    more."""
    spread = np.maximum(healthy.std(axis=0, ddof=1), least)
    return np.asarray((values - healthy.mean(axis=0)) / (spread * np.sqrt(1.0 + 1.0 / len(healthy))))


def least_spread() -> Vector:
    """The smallest standard deviation that is believed of each feature, in the order of FEATURE_NAMES."""
    return np.asarray([_LEAST_SPREAD.get(name, _LEAST_SPREAD_QUANTILE) for name in FEATURE_NAMES])


@dataclass(frozen=True)
class _Distance:
    """A distance of the scan to all healthy scans, the largest among these, and what to say."""

    score: ScanScore
    farthest: float
    sentence: str

    def evidence(self) -> _Evidence | None:
        """What the distance says about the scan."""
        if self.farthest > 0.0 and self.score.value > _FAR * self.farthest:
            times = self.score.value / self.farthest
            return _FOREIGN, f"{self.sentence} ({times:.1f} times as far as any of them)."
        significant = self.score.p is not None and self.score.p <= LEVEL
        return (_UNUSUAL, f"{self.sentence} (p = {self.score.p:.3f}).") if significant else None


def _distance_evidence(distances: list[_Distance], unusual: bool) -> list[_Evidence]:
    """What the distances say. Only the first one's p-value makes a healthy scan unusual, so that one in 20 is."""
    told = [found for distance in distances if (found := distance.evidence()) is not None]
    first = distances[0].evidence() if distances else None
    if unusual or first is not None:
        return told
    return [found for found in told if found[0] == _FOREIGN]


def _distances(features: Vector, bank: GuardBank, latent: Array | None) -> Iterator[_Distance]:
    if not np.isfinite(features).all():
        return
    scaled = (bank.features - bank.features.mean(axis=0)) / _spread(bank.features, least_spread())
    point = (features - bank.features.mean(axis=0)) / _spread(bank.features, least_spread())
    yield _mahalanobis_distance("appearance", point, scaled, "The scan as a whole is unlike the healthy scans")
    yield _histogram_distance(features[:QUANTILES], bank.features[:, :QUANTILES])
    if latent is not None and bank.latents is not None and bank.latents.shape[1:] == np.shape(latent):
        sentence = "The network's code of the scan is unlike those of the healthy scans"
        yield _mahalanobis_distance("latent", np.asarray(latent, dtype=np.float64), bank.latents, sentence)


def _spread(rows: Vector, least: Vector) -> Vector:
    spread = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    return np.asarray(np.maximum(spread, least))


def _mahalanobis_distance(name: str, point: Vector, healthy: Vector, sentence: str) -> _Distance:
    """Every scan, the new one included, measured against all the others, so that the p-value is exact (full conformal
    prediction; Vovk et al. 2005, section 2.2)."""
    if len(healthy) < FEWEST_SCANS:
        value = float(np.linalg.norm(point - healthy.mean(axis=0)))
        return _Distance(ScanScore(name, value, None, refusal(len(healthy), LEVEL)), 0.0, sentence)
    value = mahalanobis(point, shrunk_covariance(healthy))
    together = leave_one_out_distances(np.vstack([healthy, point]))
    p = p_value(float(together[-1]), together[:-1])
    reason = refusal(len(healthy), LEVEL)
    farthest = float(leave_one_out_distances(healthy).max())
    return _Distance(ScanScore(name, value, None if reason else p, reason), farthest, sentence)


def _histogram_distance(quantiles: Vector, healthy: Vector) -> _Distance:
    """Wasserstein distance to the mean histogram of the (other) healthy scans."""
    value = quantile_distance(quantiles, healthy.mean(axis=0))
    sentence = "The histogram of the brain is unlike the healthy scans'"
    if len(healthy) < FEWEST_SCANS:
        return _Distance(ScanScore("histogram", value, None, refusal(len(healthy), LEVEL)), 0.0, sentence)
    together = np.vstack([healthy, quantiles])
    conforming = [_to_others(together, index) for index in range(len(together))]
    reason = refusal(len(healthy), LEVEL)
    p = None if reason else p_value(conforming[-1], np.asarray(conforming[:-1]))
    farthest = max(_to_others(healthy, index) for index in range(len(healthy)))
    return _Distance(ScanScore("histogram", value, p, reason), farthest, sentence)


def _to_others(rows: Vector, index: int) -> float:
    return quantile_distance(rows[index], np.delete(rows, index, axis=0).mean(axis=0))


def _scan_score(name: str, value: float, healthy: Vector | None) -> ScanScore:
    if healthy is None or len(healthy) == 0:
        return ScanScore(name, value, None, "The package holds no healthy values of this score.")
    if not np.isfinite(value):
        return ScanScore(name, value, None, "The score is not a finite number.")
    reason = refusal(len(healthy), LEVEL)
    return ScanScore(name, value, None if reason else p_value(value, healthy), reason)
