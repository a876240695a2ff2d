"""Split-conformal p-values of scan-level scores (Vovk, Gammerman & Shafer 2005, 'Algorithmic learning in a random
world'; Laxhammar & Falkman 2010 for anomalies).

If a scan is healthy and exchangeable with n calibrated healthy scans, the probability of p <= alpha is at most alpha.
p cannot fall below 1 / (n + 1), so a level alpha needs n >= 1 / alpha - 1 scans: 19 for 5 %, 99 for 1 %.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionsError
from ..io.geometry import Array

LEVELS = (0.1, 0.05, 0.01)
_ROUNDING = 1e-9


def p_value(score: float, healthy: Array) -> float:
    """p = (1 + number of healthy scores >= ``score``) / (n + 1), in [1 / (n + 1), 1]; higher scores are less healthy.

    Raises OptionsError for a score or bank that is not finite.
    """
    bank = _bank(healthy)
    if not math.isfinite(score):
        raise OptionsError("A scan-level score is not a finite number.", "Check the scan.")
    return float((1 + np.count_nonzero(bank >= score)) / (bank.size + 1))


def needed_scans(level: float) -> int:
    """Healthy scans without which no p-value can reach ``level``: the least n with 1 / (n + 1) <= level."""
    if not 0.0 < level < 1.0:
        raise OptionsError("A significance level lies between 0 and 1.", "Use 0.05 for 5 %.")
    return math.ceil(1.0 / level - 1.0 - _ROUNDING)


def refusal(scans: int, level: float) -> str:
    """Why ``scans`` healthy scans allow no statement at ``level``, in plain words; empty if they do."""
    needed = needed_scans(level)
    if scans >= needed:
        return ""
    return f"A statement at {100 * level:g} % needs {needed} calibrated healthy scans; there are {scans}."


def _bank(healthy: Array) -> NDArray[np.float64]:
    bank = np.asarray(healthy, dtype=np.float64)
    if bank.ndim != 1 or bank.size == 0 or not np.isfinite(bank).all():
        raise OptionsError("The calibrated healthy scores are missing or not finite.", "Calibrate the package again.")
    return bank
