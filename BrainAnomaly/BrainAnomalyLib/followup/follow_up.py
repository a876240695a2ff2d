"""A detection followed up: the same findings with what became of them since an earlier date."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..detection import Detection
from ..errors import OptionsError
from ..findings.changes import SMALLEST_MM3, PriorDate
from ..io.geometry import Affine, FloatArray, Grid, inverse
from ..preparation.space.pair_registration import BrainImage
from ..preparation.space.same_head import registered_heads, require_same_head, surplus
from ..progress import Progress, silent
from .change_map import change_map, sampling_error
from .halfway import Halfway, halfway_space, inside_both
from .one_scale import on_one_scale

# A change is no smaller than so many voxels of the coarser date.
_FEWEST_VOXELS = 4.0


def follow_up(now: Detection, before: Detection, progress: Progress = silent) -> Detection:
    """``now`` with every finding new, growing, stable, shrinking or gone since ``before``, and the earlier date beside.

    Both dates are registered to each other and compared halfway between them. Raises OptionsError where they cannot be
    compared (another contrast, detector or version of it, the same scan twice), PreparationError for another person.
    """
    _require_comparable(now, before)
    progress("Registering both dates", 0.0)
    later, earlier = brain_image(now), brain_image(before)
    by_template = inverse(before.template_from_native) @ now.template_from_native
    found = registered_heads(later, earlier, by_template)
    require_same_head(surplus(later, earlier, found), now.scan.name, before.scan.name)
    progress("Comparing both dates", 0.8)
    prior = _prior_date(now, before, later, earlier, found)
    result = replace(now, prior=prior).with_threshold(now.findings.threshold, now.findings.minimum_mm3)
    result = replace(result, threshold_source=now.threshold_source)
    progress("Finished", 1.0)
    return result


def brain_image(detection: Detection) -> BrainImage:
    """What the detector saw of the scan's brain, corrected for drift: the healthy brain and what differs from it."""
    if detection.pseudo_healthy is None or detection.residual is None:
        return BrainImage(detection.scan.array, detection.brain_mask, detection.scan.grid)
    seen = (detection.pseudo_healthy + detection.residual).astype(np.float32)
    return BrainImage(seen, detection.brain_mask, detection.scan.grid)


def _prior_date(
    now: Detection, before: Detection, later: BrainImage, earlier: BrainImage, before_from_now: Affine
) -> PriorDate:
    """The earlier date as the later one's grid has it."""
    space = halfway_space(later, before_from_now)
    inside = inside_both(space, later, earlier)
    first, second = on_one_scale(
        space.of_now(later.image, later.grid), space.of_before(earlier.image, earlier.grid), inside
    )
    sampled = sampling_error(
        (first, space.of_before(space.on_before(first, earlier.grid), earlier.grid)),
        (second, space.of_now(space.on_now(second, later.grid), later.grid)),
    )
    growth = change_map(first, second, sampled, inside) * _direction(now, before, space)

    def moved(volume: FloatArray) -> FloatArray:
        return np.where(now.brain_mask, space.on_now(volume, now.scan.grid), 0.0).astype(np.float32)

    return PriorDate(
        name=before.scan.name,
        scan=moved(second),
        anomaly=moved(space.of_before(before.anomaly, before.scan.grid)),
        growth=moved(growth),
        difference=moved(first - second),
        smallest_ml=_smallest_ml(now.scan.grid, before.scan.grid),
        before_from_now=before_from_now,
    )


def _direction(now: Detection, before: Detection, space: Halfway) -> FloatArray:
    """1 where what differs from healthy is bright over both dates, so that brighter is more; -1 where it is dark."""
    if now.residual is None or before.residual is None:
        return np.ones(space.grid.shape, dtype=np.float32)
    both = space.of_now(now.residual, now.scan.grid) + space.of_before(before.residual, before.scan.grid)
    return np.where(both < 0.0, -1.0, 1.0).astype(np.float32)


def _smallest_ml(*grids: Grid) -> float:
    """The size that a changed region must exceed, for the coarser of two grids."""
    return max(SMALLEST_MM3, _FEWEST_VOXELS * max(grid.voxel_volume_mm3 for grid in grids)) / 1000.0


def _require_comparable(now: Detection, before: Detection) -> None:
    for name, (one, other) in {
        "detector": (now.detector["name"], before.detector["name"]),
        "model package": (now.detector["package"], before.detector["package"]),
        "preparation": (now.detector["recipe"]["identity"], before.detector["recipe"]["identity"]),
        "choice of contrasts": (_contrasts(now), _contrasts(before)),
    }.items():
        if one != other:
            raise OptionsError(
                f"The earlier result '{before.scan.name}' was made with another {name}.",
                "Give the earlier scan itself, so that both dates are treated alike.",
            )
    if now.scan.grid.same_as(before.scan.grid) and np.array_equal(now.scan.array, before.scan.array):
        raise OptionsError(f"'{before.scan.name}' is the same scan twice.", "Give the scan of an earlier date.")


def _contrasts(detection: Detection) -> list[str]:
    """The contrasts of an examination, none of a single scan."""
    return [str(one["contrast"]) for one in detection.detector.get("contrasts", ())]
