"""Two groups of subjects: how much is found in each, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionsError
from ..io.geometry import FloatArray
from .frequency import masks_at
from .permutation import Comparison, compare
from .scan_selection import MEASURES, subject_means

# A place where few subjects have a finding cannot differ: Sperber & Karnath, Human Brain Mapping 2017.
_LEAST_SHARE, _LEAST_SUBJECTS = 0.05, 3
_FEWEST_OF_A_GROUP = 2


class Split(NamedTuple):
    """Two groups: their names, and which subjects (in order) belong to the first."""

    names: tuple[str, str]
    scans: Any
    first: NDArray[np.bool_]


class VoxelComparison(NamedTuple):
    """Maps (i, j, k on the template's 2 mm grid): z of the shares with a finding, corrected p-values (1 elsewhere)."""

    z: FloatArray
    corrected: FloatArray
    tested: int
    permutations: int


def split(scans: Any, column: str, names: Sequence[str] = ()) -> Split:
    """The scans (of one contrast) of two groups by a column. Raises OptionsError where these are not two groups."""
    if column not in scans.columns:
        raise OptionsError(f"There is no column '{column}'.", f"There are {', '.join(sorted(scans.columns))}.")
    values = scans[column].astype(str).str.strip()
    found = sorted(set(values) - {""})
    chosen = tuple(names) or tuple(found)
    if len(chosen) != 2:
        raise OptionsError(
            f"'{column}' names {len(chosen)} groups: {', '.join(chosen[:6])}.", "Give two with --groups."
        )
    kept = scans[values.isin(chosen)]
    groups = kept.groupby("subject", sort=True)[column].agg(lambda one: tuple(sorted(set(one.str.strip()))))
    mixed = [str(subject) for subject, one in groups.items() if len(one) > 1]
    if mixed:
        raise OptionsError(f"Subjects are in both groups of '{column}': {', '.join(mixed[:5])}.", "Compare subjects.")
    first = np.asarray([one[0] == chosen[0] for one in groups], dtype=np.bool_)
    if min(first.sum(), (~first).sum()) < _FEWEST_OF_A_GROUP:
        raise OptionsError(f"A group of '{column}' has fewer than two subjects.", "Choose another column or groups.")
    return Split((chosen[0], chosen[1]), kept, first)


def burden_rows(groups: Split, permutations: int, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each measure: both means, the difference with interval, p alone and corrected for all measures.

    Volumes and counts are compared as log(1 + value), which few large ones do not rule.
    """
    means = subject_means(groups.scans, MEASURES)
    values = np.log1p(means[list(MEASURES)].to_numpy(dtype=np.float64))
    together = compare(values, groups.first, permutations, seed)
    rows = []
    for index, name in enumerate(MEASURES):
        alone = compare(values[:, [index]], groups.first, permutations, seed)
        rows.append({"measure": name, **_means(means[name].to_numpy(dtype=np.float64), groups, seed)})
        rows[-1] |= {"z": float(together.z[index]), "p": float(alone.corrected[0])}
        rows[-1] |= {"p_corrected": float(together.corrected[index]), "permutations": together.permutations}
    return rows


def _means(values: NDArray[np.float64], groups: Split, seed: int) -> dict[str, Any]:
    from scipy.stats import bootstrap

    one, other = values[groups.first], values[~groups.first]
    row: dict[str, Any] = {"first": groups.names[0], "first_subjects": len(one), "first_mean": float(one.mean())}
    row |= {"second": groups.names[1], "second_subjects": len(other), "second_mean": float(other.mean())}
    row |= {"difference": float(one.mean() - other.mean()), "difference_low": None, "difference_high": None}
    if np.ptp(one) > 0 or np.ptp(other) > 0:
        drawn = bootstrap(
            (one, other),
            lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
            method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
        row |= {"difference_low": float(drawn.low), "difference_high": float(drawn.high)}
    return row


def voxel_comparison(
    out: Path, groups: Split, frequency: FloatArray, permutations: int, seed: int = 0
) -> VoxelComparison | None:
    """The shares with a finding compared at every voxel; None where too few subjects have findings at one place.

    ``frequency`` is that of all subjects of both groups.
    """
    subjects = len(groups.first)
    places = frequency >= max(_LEAST_SHARE, _LEAST_SUBJECTS / subjects) - 1e-6
    if not places.any():
        return None
    found: Comparison = compare(masks_at(out, groups.scans, places), groups.first, permutations, seed)
    z, corrected = np.zeros(frequency.shape, dtype=np.float32), np.ones(frequency.shape, dtype=np.float32)
    z[places], corrected[places] = found.z, found.corrected
    return VoxelComparison(z, corrected, int(places.sum()), found.permutations)
