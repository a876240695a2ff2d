"""All metrics of one detector on a set of scans under one protocol, as rows with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OptionsError
from .bootstrap import Estimate, PooledCounts, estimate_ratio, resamples
from .healthy import RATES, rate_thresholds
from .healthy_rows import calibration_rows, healthy_rows, reconstruction_rows
from .lesions import FROC_RATES, LEAST_OVERLAP, SIZES_ML, LesionCounts, froc_part, froc_points, lesion_counts
from .protocols import EvaluationProtocol, applied, protocol_named
from .rows import NOT_KNOWN, Row, common_threshold, plain
from .scan import EvaluatedScan
from .slices import as_ranked_scan, slice_counts, slice_metrics
from .voxels import (
    auroc,
    auroc_with_background,
    average_precision,
    best_dice_of_scan,
    best_threshold,
    bisected_threshold,
    dice,
    fixed_grid,
    found_mask,
    linear_grid,
    pooled,
    quantile_grid,
    ranking,
    trapezoid_auprc,
)

__all__ = ["Row", "lesion_threshold_of", "summarize"]
_FROC_RESAMPLES = 200


def summarize(
    scans: Sequence[EvaluatedScan],
    protocol: EvaluationProtocol | str = "default",
    healthy: Sequence[EvaluatedScan] = (),
    bootstrap: int = 1000,
    lesion_threshold: float | None = None,
) -> list[Row]:
    """Every metric that the scans allow: those with lesions against the truth, those without as false positives.

    ``healthy`` are further healthy scans for FPR-limited thresholds, which are never part of the pooled scores;
    ``lesion_threshold`` was chosen on other scans with lesions. Intervals of Dice and of findings are for the threshold
    as it is, not for its search. Raises OptionsError without scans.
    """
    chosen = protocol_named(protocol) if isinstance(protocol, str) else protocol
    if not scans:
        raise OptionsError("There is no scan to evaluate.")
    made, calm = ([applied(chosen, scan) for scan in part] for part in (scans, healthy))
    rows: list[Row] = []
    if any(not scan.healthy for scan in made):
        rows += _Pool(made, calm, chosen, bootstrap, lesion_threshold).rows()
    if "healthy" in chosen.groups:
        rows += healthy_rows([scan for scan in made if scan.healthy] + calm, chosen, bootstrap)
    return rows + (reconstruction_rows(made, bootstrap) if "reconstruction" in chosen.groups else [])


def lesion_threshold_of(scans: Sequence[EvaluatedScan], protocol: EvaluationProtocol | str = "default") -> float:
    """The threshold of the largest dataset-wise Dice of validation scans with lesions, on the protocol's grid.

    Raises OptionsError where no scan has a lesion.
    """
    chosen = protocol_named(protocol) if isinstance(protocol, str) else protocol
    made = [applied(chosen, scan) for scan in scans]
    if all(scan.healthy for scan in made):
        raise OptionsError("The validation cohort has no lesion.", "Give scans with lesions, or leave it out.")
    return _Pool(made, (), chosen, 0, None).oracle()


@dataclass(frozen=True, eq=False)
class _Choice:
    """A threshold for every scan and where it comes from."""

    source: str
    thresholds: tuple[float, ...]


class _Pool:
    """Scans, of which some have lesions, with their voxels sorted once."""

    def __init__(
        self,
        scans: Sequence[EvaluatedScan],
        calm: Sequence[EvaluatedScan],
        protocol: EvaluationProtocol,
        bootstrap: int,
        lesion_threshold: float | None,
    ) -> None:
        self.scans, self.calm, self.protocol, self.bootstrap = scans, calm, protocol, bootstrap
        self.lesion_threshold = lesion_threshold
        truth, scores = pooled(scans)
        self.ranked, self.prevalence = ranking(truth, scores), float(truth.mean())
        self.grids = {"linear": linear_grid(scores), "quantile": quantile_grid(scores)}
        self.range = float(scores.min()), float(scores.max())
        self.subjects = [scan.subject for scan in scans]
        self.least = [protocol.minimum_mm3(scan) for scan in scans]

    def rows(self) -> list[Row]:
        """All groups of metrics of the protocol."""
        groups, rows = self.protocol.groups, self._voxel_rows()
        oracle_of_scan = [best_dice_of_scan(scan) for scan in self.scans]
        rows += [self._row("Dice per scan", self._mean(oracle_of_scan), NOT_KNOWN, "oracle-volume")]
        for choice in self._choices():
            rows += self._rows_at(choice)
        rows += self._froc_rows() if "lesions" in groups else []
        rows += self._slice_rows() if "slices" in groups and self._many_slices() else []
        return rows + (calibration_rows(self.scans) if "calibration" in groups else [])

    def _row(self, metric: str, estimate: Estimate, threshold: float = NOT_KNOWN, source: str = "") -> Row:
        return Row(metric, estimate, threshold, source, len(self.scans))

    def _mean(self, values: Sequence[float]) -> Estimate:
        known = ~np.isnan(np.asarray(values))
        return self._ratio(np.where(known, values, 0.0).tolist(), known.astype(float).tolist())

    def _ratio(self, above: Sequence[float], below: Sequence[float]) -> Estimate:
        return estimate_ratio(above, below, self.subjects, self.bootstrap)

    def _voxel_rows(self) -> list[Row]:
        counts, ranked, times = PooledCounts(self.scans), self.ranked, self.bootstrap
        whole = self.protocol.background
        area, trapezoids = auroc(ranked), trapezoid_auprc(ranked)
        rows = [
            self._row("AP", counts.estimate(average_precision(ranked), counts.average_precision, times)),
            self._row("AUPRC, trapezoid", counts.estimate(trapezoids, counts.average_precision, times)),
            self._row(
                "AUROC, whole image" if whole else "AUROC in the brain", counts.estimate(area, counts.auroc, times)
            ),
            self._row("prevalence (AP of chance)", plain(self.prevalence, self.scans)),
        ]
        if not whole:
            background = sum(scan.outside for scan in self.scans)
            inflated, fraction = auroc_with_background(area, ranked.negatives, background)
            name = f"AUROC with background (brain is {fraction:.2f} of the negatives)"
            rows.append(self._row(name, plain(inflated, self.scans)))
        return rows + [self._best_row(name, *found) for name, found in self._optima().items()]

    def _optima(self) -> dict[str, tuple[float, float]]:
        """Search -> (threshold, dataset-wise Dice before small components are dropped)."""
        found = {f"{name} grid": best_threshold(self.ranked, grid) for name, grid in self.grids.items()}
        if self.protocol.grid == "fixed":
            found["fixed grid"] = best_threshold(self.ranked, fixed_grid())
        if self.protocol.grid == "bisection":
            found["bisection"] = bisected_threshold(self.ranked, *self.range)
        return found

    def _best_row(self, name: str, threshold: float, _: float) -> Row:
        """Dataset-wise Dice at the optimum, small components dropped."""
        overlaps, sizes = np.zeros(len(self.scans)), np.zeros(len(self.scans))
        for index, (scan, least) in enumerate(zip(self.scans, self.least, strict=True)):
            mask, truth = found_mask(scan, threshold, least), scan.truth & scan.evaluated
            overlaps[index] = 2.0 * np.count_nonzero(mask & truth)
            sizes[index] = np.count_nonzero(mask) + np.count_nonzero(truth)
        estimate = self._ratio(overlaps.tolist(), sizes.tolist())
        return self._row(f"best Dice, {name}", estimate, threshold, "oracle-dataset")

    def oracle(self) -> float:
        """The threshold of the largest dataset-wise Dice by the protocol's own search."""
        searches = {"linear": "linear grid", "quantile": "quantile grid", "fixed": "fixed grid"}
        return self._optima()[searches.get(self.protocol.grid, "bisection")][0]

    def _choices(self) -> list[_Choice]:
        count = len(self.scans)
        found = [_Choice("oracle-dataset", (self.oracle(),) * count)]
        if self.lesion_threshold is not None:
            found.append(_Choice("lesion-validation", (self.lesion_threshold,) * count))
        own = tuple(scan.threshold for scan in self.scans)
        found += [] if np.isnan(own).any() else [_Choice("package default", own)]
        by_rate = rate_thresholds(self.calm, RATES) if self.calm else {}
        return found + [_Choice(f"healthy-quantile {rate:.1%}", (at,) * count) for rate, at in by_rate.items()]

    def _rows_at(self, choice: _Choice) -> list[Row]:
        at = common_threshold(choice.thresholds)
        each = list(zip(self.scans, choice.thresholds, self.least, strict=True))
        dices = [float("nan") if s.healthy else dice(found_mask(s, t, m), s.truth & s.evaluated) for s, t, m in each]
        known = [value for value in dices if not np.isnan(value)] or [float("nan")]
        estimates = {
            "Dice per scan": self._mean(dices),
            "Dice per scan, median": plain(float(np.median(known)), self.scans),
            "Dice per scan, standard deviation": plain(float(np.std(known)), self.scans),
        }
        if "lesions" in self.protocol.groups:
            estimates |= self._lesions([lesion_counts(*one) for one in each])
        if "slices" in self.protocol.groups and self._many_slices():
            hit, ill, spared, clean = (list(part) for part in zip(*(slice_counts(*o) for o in each), strict=True))
            estimates |= {
                "slice sensitivity (Luo)": self._ratio(hit, ill),
                "slice specificity": self._ratio(spared, clean),
            }
        return [self._row(name, estimate, at, choice.source) for name, estimate in estimates.items()]

    def _lesions(self, own: Sequence[LesionCounts]) -> dict[str, Estimate]:
        lesions, findings = [c.sizes_ml.size for c in own], [c.purity.size for c in own]
        estimates = {
            "lesion-wise F1": self._mean([count.f1() for count in own]),
            "lesions hit (10 % overlap)": self._ratio([int(c.hit().sum()) for c in own], lesions),
            "lesions hit (any voxel)": self._ratio([int(c.hit(0.0).sum()) for c in own], lesions),
            "findings that are lesions": self._ratio([int((c.purity >= LEAST_OVERLAP).sum()) for c in own], findings),
            "findings that touch lesions": self._ratio([int((c.purity > 0.0).sum()) for c in own], findings),
            "false findings per scan": self._mean([c.false_findings() for c in own]),
        }
        for low, high in SIZES_ML:
            chosen = [(c.sizes_ml >= low) & (c.sizes_ml < high) for c in own]
            number = sum(int(part.sum()) for part in chosen)
            name = f"{low:g}-{high:g} mL" if np.isfinite(high) else f">{low:g} mL"
            hits = [int((c.hit() & part).sum()) for c, part in zip(own, chosen, strict=True)]
            estimates[f"lesions hit, {name} (n = {number})"] = self._ratio(hits, [int(p.sum()) for p in chosen])
        return estimates

    def _froc_rows(self) -> list[Row]:
        points = froc_points(self.scans, self.least)
        names = sorted(set(self.subjects))
        index = [names.index(name) for name in self.subjects]
        curve = froc_part(points, np.ones(len(self.scans)))
        times = min(self.bootstrap, _FROC_RESAMPLES) if len(names) > 1 else 0
        drawn = [froc_part(points, weights[index].astype(np.float64)) for weights in resamples(len(names), times)]
        rows = []
        for rate in FROC_RATES:
            values = np.asarray([one[rate] for one in drawn])
            low, high = np.nanpercentile(values, (2.5, 97.5)) if values.size > 1 else (NOT_KNOWN, NOT_KNOWN)
            estimate = Estimate(curve[rate], float(low), float(high), len(names))
            rows.append(self._row(f"FROC: lesions hit at {rate:g} false findings per scan", estimate, source="curve"))
        return rows

    def _many_slices(self) -> bool:
        return any(scan.anomaly.shape[2] > 1 for scan in self.scans) or len(self.scans) > 1

    def _slice_rows(self) -> list[Row]:
        seen = slice_metrics(self.scans)
        abnormal, normal = (PooledCounts([as_ranked_scan(s, side) for s in self.scans]) for side in (False, True))
        by_area = abnormal.estimate(seen.auroc, abnormal.auroc, self.bootstrap)
        luo = normal.estimate(seen.auprc_normal, normal.average_precision, self.bootstrap)
        usual = abnormal.estimate(seen.ap_abnormal, abnormal.average_precision, self.bootstrap)
        return [
            self._row("slice AUROC", by_area),
            self._row("slice AUPRC, normal slices positive (Luo)", luo),
            self._row(f"slice AP, abnormal slices positive (chance {seen.prevalence:.3f})", usual),
        ]
