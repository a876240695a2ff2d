"""How much is found: means, medians and shares of a group with their 95 % intervals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scan_selection import MEASURES, subject_means

Values = NDArray[np.float64]
_LEVEL, _RESAMPLES = 0.95, 9999


def summary_rows(table: Any, seed: int = 0) -> list[dict[str, Any]]:
    """For each contrast and measure: subjects, scans, mean and median with interval; subjects count once.

    Intervals are BCa bootstrap over subjects (Efron, JASA 1987). The share of subjects with a finding has Wilson's
    interval (JASA 1927).
    """
    rows = []
    for contrast, scans in table.groupby("contrast", sort=True):
        means = subject_means(scans, MEASURES)
        counts = {"contrast": contrast, "subjects": len(means), "scans": len(scans)}
        for name in MEASURES:
            values = means[name].to_numpy(dtype=np.float64)
            mean, median = interval(values, np.mean, seed), interval(values, np.median, seed)
            rows.append({**counts, "measure": name, **_named("mean", mean), **_named("median", median)})
        found = (means["findings"] > 0).to_numpy()
        rows.append({**counts, "measure": "share with findings", **_named("mean", share(found))})
    return rows


def interval(values: Values, statistic: Any, seed: int = 0) -> tuple[float, float | None, float | None]:
    """A statistic and its interval, None for fewer than three values."""
    from scipy.stats import DegenerateDataWarning, bootstrap

    value = float(statistic(values))
    if len(values) < 3:
        return value, None, None
    if np.ptp(values) == 0.0:
        return value, value, value
    random = np.random.default_rng(seed)
    options: dict[str, Any] = {"confidence_level": _LEVEL, "n_resamples": _RESAMPLES, "vectorized": True}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap((values,), statistic, random_state=random, method="BCa", **options).confidence_interval
    if not np.isfinite([found.low, found.high]).all():
        random = np.random.default_rng(seed)
        found = bootstrap((values,), statistic, random_state=random, method="percentile", **options).confidence_interval
    return value, float(found.low), float(found.high)


def share(found: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The part that is true, with Wilson's interval."""
    from scipy.stats import binomtest

    limits = binomtest(int(found.sum()), len(found)).proportion_ci(_LEVEL, method="wilson")
    return float(found.mean()), float(limits.low), float(limits.high)


def _named(name: str, values: tuple[float, float | None, float | None]) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
