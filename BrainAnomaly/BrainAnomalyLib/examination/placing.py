"""Where a further contrast lies relative to the first one: registered rigidly, checked, refused with the reason."""

from __future__ import annotations

import numpy as np

from ..io.geometry import Affine, inverse
from ..preparation.pipeline import AlignedScan
from ..preparation.space.pair_registration import BrainImage
from ..preparation.space.same_head import registered_heads, require_same_head, surplus


def placed(first: AlignedScan, other: AlignedScan) -> Affine:
    """The 4x4 map from the first scan's RAS mm to the other's.

    Raises PreparationError where they do not fit: another person, or a registration that failed.
    """
    one, two = brain_image(first), brain_image(other)
    by_template = other.registration.scan_from_template @ inverse(first.registration.scan_from_template)
    found = registered_heads(one, two, by_template)
    require_same_head(surplus(one, two, found), first.scan.name, other.scan.name)
    return found


def brain_image(aligned: AlignedScan) -> BrainImage:
    """A scan's corrected image and brain, as registrations want them."""
    return BrainImage(aligned.image.astype(np.float32, copy=False), aligned.brain.mask, aligned.scan.grid)
