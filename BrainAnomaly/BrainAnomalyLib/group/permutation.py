"""Two groups compared in many columns at once, by permuting who belongs to which."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32] | NDArray[np.float64]
# Ties of rounding count as ties, as in scipy.
_TIE = 1e-9
# Elements of the weights of one batch of permutations times columns that are held at a time.
_BATCH = 2e7


@dataclass(frozen=True, eq=False)
class Comparison:
    """For each column: the difference of the means (first - second), its z and the p-value corrected for all columns.

    ``permutations`` is how many were drawn, all there are if ``exact``.
    """

    difference: NDArray[np.float64]
    z: NDArray[np.float64]
    corrected: NDArray[np.float64]
    permutations: int
    exact: bool


def compare(values: Values, first: NDArray[np.bool_], permutations: int = 9999, seed: int = 0) -> Comparison:
    """Compare rows of ``values`` (subjects, columns) where ``first`` is true with the others, two-sided.

    The statistic is the difference of the means over the columns' spread among all subjects, which no permutation
    changes: of a column of zeros and ones the score z of two proportions, of any other a monotone function of Student's
    t. P-values are those of the largest statistic of all columns (Westfall & Young 1993; for images Nichols & Holmes,
    Human Brain Mapping 2002). The permutations are scipy's: all there are, if these are not more than asked for.
    """
    from scipy.stats import permutation_test

    spread = np.asarray(values.std(axis=0, dtype=np.float64))
    scaled = np.asarray(values / np.where(spread > 0, spread, np.inf), dtype=np.float32)
    members, others = np.flatnonzero(first), np.flatnonzero(~first)
    unit = np.sqrt(1.0 / len(members) + 1.0 / len(others))

    def z_of(one: Any, other: Any) -> Any:
        weights = np.zeros((*one.shape[:-1], len(first)), dtype=np.float32)
        np.put_along_axis(weights, one, 1.0 / one.shape[-1], axis=-1)
        np.put_along_axis(weights, other, -1.0 / other.shape[-1], axis=-1)
        return weights @ scaled / unit

    def largest(one: Any, other: Any, axis: int = -1) -> Any:
        return np.abs(z_of(one, other)).max(axis=-1)

    drawn = permutation_test(
        (members, others),
        largest,
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, int(_BATCH / max(1, scaled.shape[1] + len(first)))),
        alternative="greater",
        random_state=np.random.default_rng(seed),
    )
    null = np.sort(np.asarray(drawn.null_distribution, dtype=np.float64).ravel())
    z = np.asarray(z_of(members, others), dtype=np.float64)
    above = len(null) - np.searchsorted(null, np.abs(z) * (1.0 - _TIE), side="left")
    exact = comb(len(first), len(members)) <= permutations
    corrected = np.asarray(above / len(null) if exact else (above + 1.0) / (len(null) + 1.0), dtype=np.float64)
    difference = values[first].mean(axis=0, dtype=np.float64) - values[~first].mean(axis=0, dtype=np.float64)
    return Comparison(difference, z, corrected, len(null), exact)
