"""Scans of outlying quality and subjects of outlying burden."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scan_selection import subject_means

Values = NDArray[np.float64]
# Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993: modified z-scores and their limit.
_LIMIT, _MAD, _MEAN_DEVIATION = 3.5, 0.6745, 1.253314
OUTLIER_COLUMNS = ("contrast", "subject", "key", "kind", "value", "z", "reason")
# Fewer subjects say nothing about age.
_FEWEST_AGES = 10


def outlier_rows(table: Any) -> list[dict[str, Any]]:
    """Scans whose quality is far below that of the others or said to be bad, and subjects with far more than others.

    Burden is log(1 + mL); where ages are known of at least ten subjects of a contrast it is what a Theil-Sen line
    over age leaves.
    """
    rows: list[dict[str, Any]] = []
    for contrast, scans in table.groupby("contrast", sort=True):
        rows += [{"contrast": contrast, **row} for row in (*_by_quality(scans), *_by_burden(scans))]
    return rows


def modified_z(values: Values) -> Values:
    """Distance from the median in median absolute deviations, in mean ones where that is 0; 0 if all are equal."""
    away = values - np.median(values)
    median, mean = np.median(np.abs(away)), np.mean(np.abs(away))
    if median > 0:
        return np.asarray(_MAD * away / median)
    return np.asarray(away / (_MEAN_DEVIATION * mean)) if mean > 0 else np.zeros_like(values)


def _by_quality(scans: Any) -> list[dict[str, Any]]:
    scans = scans[scans["quality"].notna()]
    z = modified_z(scans["quality"].to_numpy(dtype=np.float64)) if len(scans) else np.zeros(0)
    rows = []
    for distance, scan in zip(z, scans.to_dict("records"), strict=True):
        bad = scan["quality_verdict"] not in ("", "good")
        if distance < -_LIMIT or bad:
            why = f"quality is {scan['quality_verdict']}" if bad else "quality is far below the others'"
            rows.append(_row(scan["subject"], scan["key"], "quality", scan["quality"], distance, why))
    return rows


def _by_burden(scans: Any) -> list[dict[str, Any]]:
    means = subject_means(scans, ("total_ml", "age"))
    burden, ages = np.log1p(means["total_ml"].to_numpy(dtype=np.float64)), means["age"].to_numpy(dtype=np.float64)
    by_age = np.isfinite(ages)
    normative = by_age.sum() >= _FEWEST_AGES and np.ptp(ages[by_age]) > 0
    if normative:
        means, burden = means[by_age], without_age(burden[by_age], ages[by_age])
    z = modified_z(burden)
    why = "more is found than in others of this age" if normative else "more is found than in the others"
    found = zip(means.index, means["total_ml"], z, strict=True)
    return [_row(name, "", "burden", total, distance, why) for name, total, distance in found if distance > _LIMIT]


def without_age(burden: Values, ages: Values) -> Values:
    """What a line over age leaves of the burden; a median of slopes does not follow outliers (Sen, JASA 1968)."""
    from scipy.stats import theilslopes

    line = theilslopes(burden, ages)
    return np.asarray(burden - (line.slope * ages + line.intercept))


def _row(subject: str, key: str, kind: str, value: float, z: float, why: str) -> dict[str, Any]:
    return {"subject": subject, "key": key, "kind": kind, "value": float(value), "z": float(z), "reason": why}
